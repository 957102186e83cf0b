//! Program: what is to be run, and how it is kept running.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::output::Output;
use crate::probe::Probe;

/// A program to run: what it is, where its output goes, and what happens when it ends.
///
/// Nothing is started by making one. [`Overseer::add`](crate::Overseer::add) puts it under supervision;
/// [`spawn`](Self::spawn) runs it once. Its standard input is /dev/null, it leads a process group of its own, and it
/// sees no descriptor but 0 to 2, no signal mask, and no ignored signal.
///
/// ```
/// use std::time::Duration;
/// use pm_overseer::{Backoff, Probe, Program, Restart};
///
/// let web = Program::new("python3")
///     .args(["-m", "http.server", "8000"])
///     .dir("/srv/www")
///     .restart(Restart::Always)
///     .backoff(Backoff { base: Duration::from_millis(200), ..Backoff::default() })
///     .ready(Probe::tcp("localhost:8000"))
///     .grace(Duration::from_secs(10));
/// # drop(web);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a program does nothing until it is added or spawned"]
pub struct Program {
    pub(crate) command: String,
    pub(crate) args: Vec<Arg>,
    pub(crate) group: Option<String>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) env_clear: bool,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) max_line: usize,
    pub(crate) ready: Option<Probe>,
    pub(crate) health: Vec<Probe>,
    pub(crate) before: Option<Before>,
    /// There is no process.
    pub(crate) is_nothing: bool,
    pub(crate) parent: Option<String>,
    pub(crate) die_with_parent: bool,
    pub(crate) policy: Policy,
}

#[derive(Debug, Clone)]
pub(crate) struct Arg {
    pub(crate) value: OsString,
    pub(crate) is_secret: bool,
}

/// What of a program decides when it is started and stopped.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    pub(crate) retries: Option<u32>,
    pub(crate) reset_after: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) delay_start: Duration,
    pub(crate) grace: Duration,
    pub(crate) success_codes: Vec<i32>,
    pub(crate) has_probe: bool,
    pub(crate) ready_within: Option<Duration>,
    /// Something is done before each start.
    pub(crate) has_before: bool,
}

/// What is done before each start.
#[derive(Clone)]
pub(crate) struct Before(pub(crate) Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>);

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something")
    }
}

/// When a program that has ended is started again.
///
/// A failure is an exit code that is no success, a signal, or a start that did not come about. A run that was stopped
/// by its own probe, or was not ready in time, has failed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Never.
    Never,
    /// After a failure.
    #[default]
    OnFailure,
    /// After a success as well.
    Always,
    /// Not by itself, but again each time its parent has become ready: what is to be done once for each run of that.
    WithParent,
}

/// How long a program waits before it is started again: `base` after the first run, then `factor` times as long each
/// time, at most `max`. Back to `base` after a run of [`Program::reset_after`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait: 1 s by default.
    pub base: Duration,
    /// How much longer the next one is: 2 by default. Less than 1, or not a number, counts as 1.
    pub factor: f64,
    /// The longest: 30 s by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// How long to wait before restart number `n`, counted from 1.
    pub(crate) fn delay(&self, n: u32) -> Duration {
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
        // Nothing, however often doubled: not what no time can be.
        if self.base.is_zero() {
            return Duration::ZERO;
        }
        let seconds = self.base.as_secs_f64() * factor.powi(exponent);
        Duration::try_from_secs_f64(seconds).map_or(self.max, |delay| delay.min(self.max))
    }
}

/// The longest time that is waited for: a hundred years. A sum with it is always a time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Program {
    /// No program: it has no process, is ready at once, or when its probe says so, and runs until it is stopped. To depend
    /// on, with [`before`](Self::before) or a [probe](Self::ready).
    pub fn nothing() -> Self {
        Program { is_nothing: true, stdout: Output::Null, stderr: Output::Null, ..Program::new("") }
    }

    /// The program at this path, or of this name on `PATH`. No shell comes between.
    pub fn new(command: impl Into<String>) -> Self {
        Program {
            command: command.into(),
            args: Vec::new(),
            group: None,
            dir: None,
            env: BTreeMap::new(),
            env_clear: false,
            stdout: Output::Ring,
            stderr: Output::Ring,
            max_line: 16 << 10,
            ready: None,
            health: Vec::new(),
            before: None,
            is_nothing: false,
            parent: None,
            die_with_parent: false,
            policy: Policy {
                restart: Restart::default(),
                retries: None,
                reset_after: Duration::from_secs(60),
                backoff: Backoff::default(),
                delay_start: Duration::ZERO,
                grace: Duration::from_secs(5),
                success_codes: vec![0],
                has_probe: false,
                ready_within: None,
                has_before: false,
            },
        }
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item: Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(|value| Arg { value: value.into(), is_secret: false }));
        self
    }

    /// One more argument, which status and row show as `***`. Users of the machine can still read it in /proc.
    pub fn secret_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(Arg { value: arg.into(), is_secret: true });
        self
    }

    /// A name that it shares with others: the column `group` of its row.
    pub fn group(self, group: impl Into<String>) -> Self {
        Program { group: Some(group.into()), ..self }
    }

    /// The directory in which it runs. This program's own unless set.
    pub fn dir(self, dir: impl Into<PathBuf>) -> Self {
        Program { dir: Some(dir.into()), ..self }
    }

    /// A variable of its environment, beside those of this program.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// It gets the variables that were set by [`env`](Self::env) alone.
    pub fn env_clear(self) -> Self {
        Program { env_clear: true, ..self }
    }

    /// Where its standard output goes.
    pub fn stdout(self, output: Output) -> Self {
        Program { stdout: output, ..self }
    }

    /// Where its errors go.
    pub fn stderr(self, output: Output) -> Self {
        Program { stderr: output, ..self }
    }

    /// A line that is longer comes in pieces of so many bytes: 16 KiB unless set, 64 bytes at least and 1 MiB at most.
    pub fn max_line(self, bytes: usize) -> Self {
        Program { max_line: bytes.clamp(64, 1 << 20), ..self }
    }

    /// How it is known that it is ready. Without one, it is ready when its exec has succeeded.
    pub fn ready(mut self, probe: Probe) -> Self {
        self.policy.has_probe = true;
        Program { ready: Some(probe), ..self }
    }

    /// A run that is not ready after so long has failed, and is stopped. Without one, it has all the time there is.
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.policy.ready_within = Some(time.min(LONGEST));
        self
    }

    /// How it is known that it is well, once it is ready. Of several, each has its own period, and one that fails is
    /// enough; no two of one program are asked at the same time.
    pub fn health(mut self, probe: Probe) -> Self {
        self.health.push(probe);
        self
    }

    /// What is done before each start: the program waits for this future. It runs on the thread of the actors, which
    /// nothing may block. It is dropped when the program is stopped meanwhile, or its parent is no longer ready.
    pub fn before<F>(mut self, each: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.policy.has_before = true;
        Program { before: Some(Before(Arc::new(move || Box::pin(each())))), ..self }
    }

    /// It runs only while that program is ready, and is stopped before that one is. The parent must have been added
    /// before.
    pub fn parent(self, id: impl Into<String>) -> Self {
        Program { parent: Some(id.into()), ..self }
    }

    /// Whether the children are killed when this program is gone without a chance to stop them: `kill -9`, an abort, an
    /// exit. A small `sh` waits for that. Off unless set. One that is being started in that moment is killed too, if it
    /// has an output that goes through a pipe.
    pub fn die_with_parent(self, yes: bool) -> Self {
        Program { die_with_parent: yes, ..self }
    }

    /// When it is started again: [`Restart::OnFailure`] unless set.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// How often it is started again at most. Without end unless set.
    pub fn retries(mut self, retries: u32) -> Self {
        self.policy.retries = Some(retries);
        self
    }

    /// After a run of so long, its retries and its backoff begin anew: 60 s unless set.
    pub fn reset_after(mut self, time: Duration) -> Self {
        self.policy.reset_after = time;
        self
    }

    /// How long it waits before it is started again.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = Backoff { max: backoff.max.min(LONGEST), ..backoff };
        self
    }

    /// How long it waits before its first run. No time unless set.
    pub fn delay_start(mut self, delay: Duration) -> Self {
        self.policy.delay_start = delay.min(LONGEST);
        self
    }

    /// How long after TERM what is left of it is killed: 5 s unless set.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.policy.grace = grace.min(LONGEST);
        self
    }

    /// The exit codes that are no failure: 0 unless set.
    pub fn success_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.policy.success_codes = codes.into_iter().collect();
        self
    }

    /// The command and its arguments, as they may be seen.
    pub(crate) fn shown(&self) -> Vec<String> {
        let arg = |arg: &Arg| if arg.is_secret { "***".to_string() } else { arg.value.to_string_lossy().into_owned() };
        std::iter::once(self.command.clone()).chain(self.args.iter().map(arg)).collect()
    }

    pub(crate) fn check(&self, id: &str) -> Result<(), Error> {
        if self.command.trim().is_empty() && !self.is_nothing {
            return Err(Error::EmptyProgram { id: id.to_string() });
        }
        let is_piped = self.stdout.is_piped() || self.stderr.is_piped();
        let of_health = || self.health.iter().find_map(|probe| probe.fault(true, is_piped));
        match self.ready.as_ref().and_then(|probe| probe.fault(false, is_piped)).or_else(of_health) {
            Some(why) => Err(Error::InvalidProbe { id: id.to_string(), why }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_grows_to_its_longest_and_none_stays_none() {
        let seconds = |backoff: Backoff, n| backoff.delay(n).as_secs();
        assert_eq!([1, 2, 3, 5, 6, 5000].map(|n| seconds(Backoff::default(), n)), [1, 2, 4, 16, 30, 30]);
        let none = Backoff { base: Duration::ZERO, ..Backoff::default() };
        assert_eq!([1, 5000, u32::MAX].map(|n| seconds(none, n)), [0, 0, 0]);
        let even = Backoff { factor: f64::NAN, ..Backoff::default() };
        assert_eq!([1, 5000].map(|n| seconds(even, n)), [1, 1]);
    }
}
