//! Client: asks the HTTP server of a processlist.
//!
//! It speaks to [`Server::http`](crate::Server::spawn_http), and to the Go package VividCortex/pm as well.
//!
//! ```no_run
//! # async fn example() -> Result<(), pm::client::Error> {
//! use std::time::Duration;
//!
//! let client = pm::client::Client::new("http://127.0.0.1:8082");
//! if let Some(oldest) = client.processes().await?.first() {
//!     println!("{} in {:?} for {:?}", oldest.id, oldest.status, oldest.in_status);
//!     let waited = client.kill_and_wait(&oldest.id, "too slow", Duration::from_secs(5)).await?;
//!     println!("{waited:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod error;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode, redirect};

use crate::kill::Ending;
use crate::proc::{Outcome, Proc};
use crate::wire;
use answer::Answer;
pub use error::Error;

/// How long a connection may take, and an answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

/// The longest time that a server waits for the outcome of a kill.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// What stands for itself in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.');

/// A client of one server.
///
/// Its methods take `&self`, and connections are kept between calls. All of them
/// need a tokio runtime. Dropping one of their futures gives the answer up; a kill may have arrived all the same.
#[derive(Debug)]
pub struct Client {
    /// Without a slash at its end.
    base: String,
    token: Option<String>,
    http: reqwest::Client,
    /// Whether the server is one of this crate: [`UNKNOWN`] until it has answered.
    kind: AtomicU8,
}

const UNKNOWN: u8 = 0;
const OURS: u8 = 1;
const OTHER: u8 = 2;

/// The statuses of a task, from [`Client::history`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The statuses with the time at which each was entered, oldest first. A kill request is among them, as
    /// `[cancel request: <message>]`.
    pub steps: Vec<(SystemTime, String)>,
    /// How many there were before these.
    pub folded: u64,
    /// The time of the server.
    pub server_time: SystemTime,
}

/// What is known of a kill after the time that was to be waited.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The task has ended.
    Ended(Ending),
    /// It is still running.
    Running {
        /// Its status.
        status: String,
        /// Whether one of its kill points has seen the kill: then it is cleaning up.
        seen: bool,
    },
    /// The server has accepted the kill, and does not tell outcomes: the Go package's.
    Untold,
}

impl Client {
    /// A client of the server at this address: `http://127.0.0.1:8082`, or below a path. An address that is none is
    /// [`Unreachable`](Error::Unreachable).
    ///
    /// `https` needs the feature `client-tls`. Proxies are not asked, and redirects are not followed: neither shall
    /// learn the token.
    ///
    /// # Panics
    ///
    /// With the feature `client-tls`, if TLS cannot be set up.
    pub fn new(address: impl Into<String>) -> Self {
        let builder = reqwest::Client::builder().connect_timeout(CONNECT).redirect(redirect::Policy::none()).no_proxy();
        #[allow(clippy::expect_used, reason = "without TLS there is nothing that fails")]
        let http = builder.build().expect("TLS can be set up");
        let address = address.into();
        // What stands behind these would be asked in the place of the paths.
        let is_base = !address.contains(['?', '#']);
        let base = if is_base { address.trim_end_matches('/').to_string() } else { String::new() };
        Client { base, token: None, http, kind: AtomicU8::new(UNKNOWN) }
    }

    /// Sends this token with each request.
    pub fn token(self, token: impl Into<String>) -> Self {
        Client { token: Some(token.into()), ..self }
    }

    /// The running tasks: longest running first, ties by id.
    ///
    /// The ages are by the server's clock. What a list does not tell stays empty: the call site, the history, the
    /// profile. Of a task that is being killed the status is `[cancel request: <message>]` until it sets another one.
    ///
    /// # Errors
    ///
    /// All of [`Error`] but `NotFound`.
    pub async fn processes(&self) -> Result<Vec<Proc>, Error> {
        let list: wire::List = self.list().await?.json()?;
        let mut procs: Vec<Proc> = list.procs.into_iter().map(|row| row.into_proc(list.server_time)).collect();
        procs.sort_by(|a, b| a.started.cmp(&b.started).then_with(|| a.id.cmp(&b.id)));
        Ok(procs)
    }

    /// One running task, with all that is known of it. The Go package's server does not tell it: `NotFound`.
    ///
    /// # Errors
    ///
    /// All of [`Error`].
    pub async fn process(&self, id: &str) -> Result<Proc, Error> {
        let whole: wire::Whole = self.task(Method::GET, id, "", |request| request).await?.json()?;
        Ok(whole.into_proc())
    }

    /// The statuses of a running task.
    ///
    /// # Errors
    ///
    /// All of [`Error`].
    pub async fn history(&self, id: &str) -> Result<History, Error> {
        let wire::History { history, folded, server_time } =
            self.task(Method::GET, id, "/history", |request| request).await?.json()?;
        Ok(History { steps: history.into_iter().map(|step| (step.ts, step.status)).collect(), folded, server_time })
    }

    /// Asks to kill a task, and does not wait. A task that is being killed already keeps its first message.
    ///
    /// # Errors
    ///
    /// All of [`Error`].
    pub async fn kill(&self, id: &str, message: &str) -> Result<(), Error> {
        self.task(Method::DELETE, id, "", |request| with_message(request, message)).await.map(drop)
    }

    /// Asks to kill a task, and waits for the outcome: for so long, and 60 s at most.
    ///
    /// # Errors
    ///
    /// All of [`Error`].
    pub async fn kill_and_wait(&self, id: &str, message: &str, wait: Duration) -> Result<Waited, Error> {
        let wait = wait.min(WAIT_AT_MOST);
        let suffix = format!("?wait={}ms", wait.as_millis());
        let request = |request| with_message(request, message).timeout(wait + ANSWER);
        let answer = self.task(Method::DELETE, id, &suffix, request).await?;
        if answer.is_empty() {
            return Ok(Waited::Untold);
        }
        let result: wire::KillResult = answer.json()?;
        let outcome = match result.outcome.as_str() {
            "ended" => Outcome::Ended,
            "killed" => Outcome::Killed,
            "panicked" => Outcome::Panicked,
            _ => return Ok(Waited::Running { status: result.status, seen: result.seen.unwrap_or_default() }),
        };
        let after = Duration::try_from_secs_f64(result.seconds).unwrap_or_default();
        let (status, note) = (result.status, result.note);
        Ok(Waited::Ended(Ending { outcome, after, status, note, suffix: String::new() }))
    }

    async fn list(&self) -> Result<Answer, Error> {
        let answer = self.ask(self.request(Method::GET, "/procs/")).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(Error::not_pm("it has no /procs/")),
            _ => Err(answer.error()),
        }
    }

    /// Asks for one task, or what is below it.
    async fn task(
        &self,
        method: Method,
        id: &str,
        suffix: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let not_found = || Error::NotFound { id: id.to_string() };
        // In an address they mean other places, however they are written.
        if matches!(id, "" | "." | "..") || (id.contains('/') && !self.is_ours().await?) {
            return Err(not_found());
        }
        let path = format!("/procs/{}{suffix}", utf8_percent_encode(id, SEGMENT));
        let answer = self.ask(with(self.request(method, &path))).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            // Any web server says that.
            StatusCode::NOT_FOUND => match self.list().await?.json::<wire::List>() {
                Ok(_) => Err(not_found()),
                Err(not_pm) => Err(not_pm),
            },
            _ => Err(answer.error()),
        }
    }

    /// Whether the server is one of this crate, in which every id can be addressed.
    async fn is_ours(&self) -> Result<bool, Error> {
        if self.kind.load(Ordering::Relaxed) == UNKNOWN {
            self.list().await?;
        }
        Ok(self.kind.load(Ordering::Relaxed) == OURS)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(ANSWER);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let answer = Answer::of(request).await?;
        self.kind.store(if answer.is_ours { OURS } else { OTHER }, Ordering::Relaxed);
        Ok(answer)
    }
}

fn with_message(request: RequestBuilder, message: &str) -> RequestBuilder {
    request.header("content-type", "application/json").body(wire::kill_message(message))
}
