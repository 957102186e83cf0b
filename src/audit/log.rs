use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, PoisonError};
use std::thread;

use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};
use tracing::subscriber::NoSubscriber;

use super::{Ending, Kill, Peer};

/// How many events wait while the subscriber takes its time. What comes then is lost, and that is told.
const WAITING: usize = 1024;

static LOST: AtomicU64 = AtomicU64::new(0);

/// None if the system has no more threads.
static THREAD: LazyLock<Option<SyncSender<Event>>> = LazyLock::new(|| {
    let (sender, events) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("pm-audit".to_string()).spawn(move || send_all(&events));
    thread.is_ok().then_some(sender)
});

struct Event {
    /// Where it goes to: a program may have a subscriber for one scope only.
    to: Dispatch,
    what: What,
}

enum What {
    Requested(Arc<Kill>),
    Ended(Arc<Kill>, Ending),
    Called { by: Arc<Peer>, line: String, outcome: &'static str },
}

/// An event when it is asked for, because a kill may never come to its end.
pub(super) fn kill_accepted(kill: &Arc<Kill>) {
    after_request(kill, || {});
}

/// The task may have ended before the thread that asked gets to its event.
pub(super) fn kill_ended(kill: &Arc<Kill>, ending: &Ending) {
    after_request(kill, || send(What::Ended(Arc::clone(kill), ending.clone())));
}

fn after_request(kill: &Arc<Kill>, send_more: impl FnOnce()) {
    let mut is_logged = kill.is_logged.lock().unwrap_or_else(PoisonError::into_inner);
    if !std::mem::replace(&mut *is_logged, true) {
        send(What::Requested(Arc::clone(kill)));
    }
    send_more();
}

pub(super) fn call_ended(by: &Arc<Peer>, line: &str, outcome: &'static str) {
    send(What::Called { by: Arc::clone(by), line: line.to_string(), outcome });
}

/// A task may end inside a callback of the subscriber, where an event would be dropped, or while its thread
/// unwinds, where a panic of the subscriber would end the program.
fn send(what: What) {
    let event = Event { to: get_default(Dispatch::clone), what };
    match &*THREAD {
        Some(thread) => {
            if let Err(TrySendError::Full(_)) = thread.try_send(event) {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => event.send(),
    }
}

fn send_all(events: &Receiver<Event>) {
    for event in events {
        let lost = LOST.swap(0, Ordering::Relaxed);
        // Nothing can be done about a subscriber that panics, also when it is dropped here.
        let _panic = catch_unwind(AssertUnwindSafe(move || {
            if lost > 0 {
                event.at_destination(|| tracing::warn!(target: "pm::audit", lost, "the subscriber is too slow"));
            }
            event.send();
        }));
    }
}

impl Event {
    fn send(&self) {
        self.at_destination(|| self.what.event());
    }

    /// Nothing can be done about a subscriber that panics.
    fn at_destination(&self, send: impl FnOnce()) {
        let _panic = catch_unwind(AssertUnwindSafe(|| match self.to.is::<NoSubscriber>() {
            // Inside a callback it cannot be told. This is that of the whole program.
            true => send(),
            false => with_default(&self.to, send),
        }));
    }
}

impl What {
    fn event(&self) {
        match self {
            What::Requested(kill) => tracing::info!(
                target: "pm::audit",
                peer = by(kill.by.as_deref()), victim = kill.id, reason = kill.message, "kill requested"
            ),
            What::Ended(kill, ending) => tracing::info!(
                target: "pm::audit",
                peer = by(kill.by.as_deref()), victim = kill.id, reason = kill.message,
                outcome = ending.outcome.as_str(), seconds = ending.after.as_secs_f64(), note = ending.note,
                "kill ended"
            ),
            What::Called { by: peer, line, outcome } => {
                tracing::info!(target: "pm::audit", peer = by(Some(peer)), command = line, outcome, "command ended");
            }
        }
    }
}

fn by(peer: Option<&Peer>) -> String {
    peer.map_or("the program".to_string(), ToString::to_string)
}
