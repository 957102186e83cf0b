//! Signals: what procmon itself gets.

use std::fmt;
use std::io::{self, IsTerminal};

use tokio::signal::unix::{self, SignalKind, signal};

use crate::config::Signal;

/// A signal that has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    /// `None`: SIGQUIT, which no task can be run on.
    pub(crate) signal: Option<Signal>,
    /// Without a task, it stops everything.
    pub(crate) is_end: bool,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.signal {
            Some(Signal::Hup) => "SIGHUP",
            Some(Signal::Int) => "SIGINT",
            Some(Signal::Term) => "SIGTERM",
            Some(Signal::Usr1) => "SIGUSR1",
            Some(Signal::Usr2) => "SIGUSR2",
            None => "SIGQUIT",
        })
    }
}

#[derive(Debug)]
pub(crate) struct Signals(Vec<(Came, unix::Signal)>);

impl Signals {
    /// Catches them from now on. A SIGHUP that was ignored stays so: that is what nohup is for.
    pub(crate) fn new() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        let mut all = vec![
            (Some(Signal::Int), SignalKind::interrupt(), true),
            (Some(Signal::Term), SignalKind::terminate(), true),
            (Some(Signal::Usr1), SignalKind::user_defined1(), false),
            (Some(Signal::Usr2), SignalKind::user_defined2(), false),
            (None, SignalKind::quit(), true),
        ];
        if ignored & 1 == 0 {
            all.push((Some(Signal::Hup), SignalKind::hangup(), io::stdin().is_terminal()));
        }
        let caught = all.into_iter().map(|(which, kind, is_end)| Ok((Came { signal: which, is_end }, signal(kind)?)));
        caught.collect::<io::Result<_>>().map(Signals)
    }

    pub(crate) async fn next(&mut self) -> Came {
        std::future::poll_fn(|cx| {
            for (came, signal) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*came);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
