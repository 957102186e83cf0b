//! Audit: the last kills and other commands with consequences: who gave them, and what came of them.
//!
//! It holds the kill and not a line about it, so it says what is known when it is asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::escape;
use crate::kill::{Ending, Kill};
use crate::peer::Peer;

/// How many records are kept.
const KEPT: usize = 256;

/// The audit of one list.
#[derive(Default)]
pub(crate) struct Audit {
    records: Mutex<VecDeque<Record>>,
}

/// The outcome of a command that has none yet.
const RUNNING: &str = "running";

enum Record {
    Kill(Arc<Kill>),
    /// A command of the program's own.
    Command(Arc<Call>),
}

/// A command of the program's own that needs the role to kill.
pub(crate) struct Call {
    time: SystemTime,
    by: Arc<Peer>,
    line: String,
    outcome: Mutex<&'static str>,
}

impl Audit {
    /// Records a kill that has been accepted. One that came with that of another task is in its record: else the kill of a
    /// large family would push out all others.
    pub(crate) fn kill_accepted(&self, kill: &Arc<Kill>) {
        if !kill.is_below() {
            self.push(Record::Kill(Arc::clone(kill)));
        }
        log::kill_accepted(kill);
    }

    /// Records the end of a killed task. Called once, when it has left the list.
    pub(crate) fn kill_ended(&self, kill: &Arc<Kill>, ending: &Ending) {
        log::kill_ended(kill, ending);
    }

    /// Records that a command has been called. The caller tells the [outcome](Call::ended).
    pub(crate) fn called(&self, by: &Arc<Peer>, line: String) -> Arc<Call> {
        let (time, outcome) = (SystemTime::now(), Mutex::new(RUNNING));
        let call = Arc::new(Call { time, by: Arc::clone(by), line, outcome });
        self.push(Record::Command(Arc::clone(&call)));
        call
    }

    fn push(&self, record: Record) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if records.len() == KEPT { records.pop_front() } else { None };
        records.push_back(record);
        drop(records);
        drop(oldest);
    }

    /// A line for each, the last one last.
    pub(crate) fn render(&self) -> String {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = records.iter().map(Record::line).collect();
        if lines.is_empty() { "no kills".to_string() } else { lines.join("\n") }
    }
}

impl Call {
    /// Tells what came of it, once: `ended`, `failed`, `panicked`, `stopped`.
    pub(crate) fn ended(&self, outcome: &'static str) {
        let mut known = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == RUNNING {
            *known = outcome;
            drop(known);
            log::call_ended(&self.by, &self.line, outcome);
        }
    }
}

impl Record {
    fn line(&self) -> String {
        match self {
            Record::Kill(kill) => kill_line(kill),
            Record::Command(call) => {
                let outcome = call.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                let (time, line) = (humantime::format_rfc3339_seconds(call.time), escape::quoted(&call.line));
                format!("{time} {}: {line}: {outcome}", call.by)
            }
        }
    }
}

fn kill_line(kill: &Kill) -> String {
    let time = humantime::format_rfc3339_seconds(kill.time);
    let by = kill.by.as_ref().map_or("by the program".to_string(), ToString::to_string);
    let outcome = match kill.ending() {
        None => format!("being killed for {:.1}s", kill.at.elapsed().as_secs_f64()),
        Some(Ending { outcome, after, suffix, .. }) => {
            format!("{outcome} after {:.1}s{suffix}", after.as_secs_f64())
        }
    };
    let below = if kill.below() > 0 { format!(", and {} below it", kill.below()) } else { String::new() };
    format!("{time} {by}: {} {}{below}: {outcome}{}", escape::id(&kill.id), escape::quoted(&kill.message), kill.columns)
}

/// The same as events of `tracing`, under the target `pm::audit`.
///
/// They are sent by a thread of ours: what takes them in is code of the program's.
#[cfg(feature = "tracing")]
mod log;

#[cfg(not(feature = "tracing"))]
mod log {
    use super::{Ending, Kill, Peer};

    pub(super) fn kill_accepted(_: &Kill) {}

    pub(super) fn kill_ended(_: &Kill, _: &Ending) {}

    pub(super) fn call_ended(_: &Peer, _: &str, _: &'static str) {}
}
