use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::{Ending, Kill, Peer};

/// An event when it is asked for, because a kill may never come to its end.
pub(super) fn kill_accepted(kill: &Kill) {
    send(|| {
        let by = by(kill.by.as_deref());
        tracing::info!(target: "pm::audit", peer = by, victim = kill.id, reason = kill.message, "kill requested");
    });
}

pub(super) fn kill_ended(kill: &Kill, ending: &Ending) {
    send(|| {
        let (by, outcome) = (by(kill.by.as_deref()), ending.outcome.as_str());
        tracing::info!(
            target: "pm::audit",
            peer = by, victim = kill.id, reason = kill.message, outcome, seconds = ending.after.as_secs_f64(),
            note = ending.note, "kill ended"
        );
    });
}

pub(super) fn call_ended(peer: &Peer, line: &str, outcome: &str) {
    send(|| tracing::info!(target: "pm::audit", peer = by(Some(peer)), command = line, outcome, "command ended"));
}

fn by(peer: Option<&Peer>) -> String {
    peer.map_or("the program".to_string(), ToString::to_string)
}

/// A task may end while its thread unwinds. There a panic of what takes the events in would end the
/// program.
fn send(event: impl FnOnce()) {
    if !thread::panicking() {
        return event();
    }
    // Nothing can be done about it.
    let _ = catch_unwind(AssertUnwindSafe(event));
}
