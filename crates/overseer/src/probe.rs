//! Probe: how one finds out whether a program is ready, and whether it is well.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A question that is asked of a running program: is it ready, or still well?
///
/// For [`Program::ready`](crate::Program::ready) it is asked until the first success. For
/// [`Program::health`](crate::Program::health) it is asked as long as the program is ready, and after several failures
/// in a row the run has failed: it is stopped, and started again by its policy.
///
/// Two probes of one program never overlap, and a stop waits for none.
///
/// ```
/// use std::time::Duration;
/// use pm_overseer::{Probe, Program};
///
/// let redis = Program::new("redis-server")
///     .ready(Probe::log("Ready to accept connections"))
///     .health(Probe::exec("redis-cli", ["ping"]).period(Duration::from_secs(5)));
/// # drop(redis);
/// ```
#[derive(Debug, Clone)]
pub struct Probe {
    pub(crate) check: Check,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Check {
    Tcp(String),
    Http(String),
    Exec(String, Vec<String>),
    Log(String),
    Own(Ask),
}

/// A question of the program's own.
#[derive(Clone)]
pub(crate) struct Ask(pub(crate) Arc<dyn Fn() -> Answer + Send + Sync>);

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a question of the program's own")
    }
}

impl Probe {
    fn new(check: Check) -> Self {
        Probe { check, period: Duration::from_secs(1), timeout: Duration::from_secs(1), failures: 3 }
    }

    /// It accepts a connection at this address: `localhost:6379`.
    pub fn tcp(addr: impl Into<String>) -> Self {
        Probe::new(Check::Tcp(addr.into()))
    }

    /// It answers a GET with a status from 200 to 299: `http://localhost:8000/health`. Plain HTTP, and no redirects.
    pub fn http(url: impl Into<String>) -> Self {
        Probe::new(Check::Http(url.into()))
    }

    /// This command exits with 0. It runs in a process group of its own, which is killed when the time is over. What it
    /// prints is thrown away.
    pub fn exec(command: impl Into<String>, args: impl IntoIterator<Item: Into<String>>) -> Self {
        Probe::new(Check::Exec(command.into(), args.into_iter().map(Into::into).collect()))
    }

    /// It has printed a line that contains this text, on either of its outputs, which must be piped. Only to be ready.
    pub fn log(text: impl Into<String>) -> Self {
        Probe::new(Check::Log(text.into()))
    }

    /// This future is an answer, or says what is wrong. It runs on the thread of the actors, which nothing may block: what
    /// blocks belongs on a thread of its own. Dropping it, when its time is over or the program ends, must do no harm.
    ///
    /// ```
    /// let is_up = || async { std::fs::exists("/run/web.ready").ok().filter(|yes| *yes).map(drop).ok_or("no file".into()) };
    /// let probe = pm_overseer::Probe::by(is_up);
    /// # drop(probe);
    /// ```
    pub fn by<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Probe::new(Check::Own(Ask(Arc::new(move || Box::pin(ask())))))
    }

    /// How long after the end of one probe the next begins: 1 s unless set, 10 ms at least. A program that is to become
    /// ready is asked at once; the first probe of its health comes one period after it is ready.
    pub fn period(self, period: Duration) -> Self {
        Probe { period: period.max(Duration::from_millis(10)), ..self }
    }

    /// A probe that takes longer has failed: 1 s unless set.
    pub fn timeout(self, timeout: Duration) -> Self {
        Probe { timeout, ..self }
    }

    /// How many failures in a row make a program unwell: 3 unless set. Of a program that is to become ready they count
    /// for nothing: see [`Program::ready_within`](crate::Program::ready_within).
    pub fn failures(self, failures: u32) -> Self {
        Probe { failures: failures.max(1), ..self }
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self, of_health: bool, is_piped: bool) -> Option<String> {
        match &self.check {
            Check::Log(_) if of_health => Some("a line of the log tells that it is ready, not that it is well".into()),
            Check::Log(_) if !is_piped => Some("its output is not piped, so no line of it can be seen".into()),
            Check::Http(url) => http_target(url).err(),
            Check::Exec(command, _) if command.is_empty() => Some("the command of a probe is empty".into()),
            Check::Tcp(addr) if !addr.contains(':') => Some(format!("'{addr}' has no port: use host:port")),
            _ => None,
        }
    }
}

/// The address and the path of a URL.
pub(crate) fn http_target(url: &str) -> Result<(String, hyper::Uri), String> {
    let wrong = || format!("'{url}' is no URL of plain HTTP: use http://host:port/path");
    let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong());
    }
    let host = uri.host().ok_or_else(wrong)?;
    Ok((format!("{host}:{}", uri.port_u16().unwrap_or(80)), uri))
}
