//! Config: what the file says, with all names replaced and all mistakes found.

mod duration;
mod expand;
mod fault;
mod load;
mod monitor;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use fault::Fault;
pub(crate) use load::{Given, load};
pub(crate) use monitor::Check;

#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    /// What a task gets beside the environment of procmon.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) logger: Logger,
    /// What must hold before anything starts, with its name.
    pub(crate) prologue: Vec<(String, Check)>,
    /// In the order of the file: a parent comes before its children.
    pub(crate) tasks: Vec<Task>,
    /// The delay before the first restart.
    pub(crate) restart_delay: Duration,
    /// How long a stop of everything may take.
    pub(crate) shutdown_max: Duration,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Logger {
    pub(crate) output: Output,
    pub(crate) format: Format,
    pub(crate) level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Where something is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    Suppress,
    File(String),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// Empty: nothing is run, but for what is run before it.
    pub(crate) path: String,
    pub(crate) args: Vec<String>,
    pub(crate) kind: Kind,
    /// Tasks that are run to their end before each start, by their place in the list.
    pub(crate) prerun: Vec<usize>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) max_startup: Duration,
    pub(crate) max_shutdown: Duration,
    /// It ends by itself, and is not started again.
    pub(crate) is_onetime: bool,
    /// Everything is stopped before it runs.
    pub(crate) shutdown: bool,
    /// procmon ends after it.
    pub(crate) terminate: bool,
    pub(crate) ready: Option<Check>,
    pub(crate) health: Vec<Health>,
}

/// When a task is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// When procmon gets this signal.
    Signal(Signal),
    /// When the task at this place in the list is ready.
    Child(usize),
    /// Every so often.
    Periodic(Duration),
    /// At once.
    Root,
    /// Only before tasks that name it.
    Prerun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    Hup,
    Int,
    Term,
    Usr1,
    Usr2,
}

/// What is asked while a task runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Health {
    pub(crate) name: String,
    pub(crate) check: Check,
    pub(crate) period: Duration,
    /// Failures in a row.
    pub(crate) retries: u32,
}

impl std::str::FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "SIGHUP" | "HUP" => Signal::Hup,
            "SIGINT" | "INT" => Signal::Int,
            "SIGTERM" | "TERM" => Signal::Term,
            "SIGUSR1" | "USR1" => Signal::Usr1,
            "SIGUSR2" | "USR2" => Signal::Usr2,
            _ => {
                let shown = text.escape_debug();
                return Err(format!("'{shown}' is no signal: use SIGHUP, SIGINT, SIGTERM, SIGUSR1 or SIGUSR2"));
            }
        })
    }
}

#[cfg(test)]
mod tests;
