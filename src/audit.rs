//! Audit: who killed what, and what came of it.

#[cfg(feature = "tracing")]
mod log;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::escape;
use crate::killed::{self, Kill};
use crate::proc::Outcome;

/// How many kills are remembered.
const KEPT: usize = 256;

/// The last kills that were asked for at the port, with what came of them so far.
#[derive(Default)]
pub(crate) struct Audit {
    records: Mutex<VecDeque<Record>>,
    #[cfg(feature = "tracing")]
    log: log::Log,
}

struct Record {
    time: SystemTime,
    kill: Arc<Kill>,
}

impl Audit {
    /// Remembers a kill that has been accepted.
    pub(crate) fn record(&self, kill: &Arc<Kill>) {
        let record = Record { time: SystemTime::now(), kill: Arc::clone(kill) };
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if records.len() == KEPT { records.pop_front() } else { None };
        records.push_back(record);
        drop(records);
        drop(oldest);
        #[cfg(feature = "tracing")]
        self.log.follow(kill);
    }

    /// A line for each, the last one last.
    pub(crate) fn render(&self) -> String {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = records.iter().map(Record::line).collect();
        if lines.is_empty() { "no kills".to_string() } else { lines.join("\n") }
    }
}

impl Record {
    fn line(&self) -> String {
        let Kill { id, message, by, at, .. } = &*self.kill;
        let time = humantime::format_rfc3339_seconds(self.time);
        let by = by.as_deref().unwrap_or("the program itself");
        let outcome = match self.kill.ending() {
            None => format!("being killed for {:.1}s", Instant::now().saturating_duration_since(*at).as_secs_f64()),
            Some(ending) => {
                let outcome = format!("{} after {:.1}s", name(ending.outcome), ending.after.as_secs_f64());
                if ending.passed > 0 { format!("{outcome}, {}", killed::passed(ending.passed)) } else { outcome }
            }
        };
        let (by, id, message) = (escape::plain(by), escape::id(id), escape::quoted(message));
        format!("{time} {by}: {id} {message}: {outcome}")
    }
}

/// What an outcome is called.
fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Killed => "killed",
        Outcome::Ended => "ended by itself",
        Outcome::Panicked => "panicked",
    }
}
