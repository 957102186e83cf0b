//! PortCommand: a command of the program's own, for the people at its port.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use crate::access::Role;
use crate::escape;
use crate::peer::Peer;
use crate::proc::Proc;

/// A command of the program's own at the port of a list, for
/// [`Server::command`](crate::Server::command): reload, drain, log level, cache flush.
///
/// It is listed in `help`, answers like the built-in ones, and what it prints is escaped like
/// everything else. One runs at a time in a session. After 5 s the client is told that it is still
/// running. When the client leaves, its future is dropped: 5 s after the end of its input at the latest.
///
/// # Examples
///
/// ```
/// use pm::{Invocation, PortCommand, Role};
///
/// # fn set_level(_level: &str) {}
/// let loglevel = PortCommand::new("loglevel", |call: Invocation| async move {
///     match call.args.as_str() {
///         "debug" | "info" | "warn" => set_level(&call.args),
///         other => return Err(format!("no such level '{other}'").into()),
///     }
///     Ok(format!("log level {}", call.args))
/// })
/// .usage("loglevel <debug|info|warn>")
/// .help("how much is logged, until the next restart")
/// .role(Role::Kill);
///
/// let server = pm::ProcList::new().server().command(loglevel);
/// # drop(server);
/// ```
///
/// A command [for rows](Self::on_rows) is called once for each task that the client has chosen:
///
/// ```
/// # use pm::{Invocation, PortCommand};
/// # fn raise_priority(_id: &str) {}
/// let hurry = PortCommand::new("hurry", |call: Invocation| async move {
///     let task = call.task.ok_or("it is for rows")?;
///     raise_priority(&task.id);
///     Ok("done")
/// })
/// .on_rows(); // `hurry req1`, or `hurry where uri~/export` and then `hurry @7f3a`
/// # drop(hurry);
/// ```
#[derive(Clone)]
#[must_use = "a command does nothing until a server has it"]
pub struct PortCommand {
    pub(crate) name: String,
    pub(crate) usage: String,
    pub(crate) help: String,
    pub(crate) role: Role,
    pub(crate) is_on_rows: bool,
    pub(crate) is_row_optional: bool,
    run: Arc<Run>,
}

type Run = dyn Fn(Invocation) -> BoxFuture<'static, Result<Reply, BoxError>> + Send + Sync;

type BoxError = Box<dyn Error + Send + Sync>;

/// One call of a [`PortCommand`].
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The rest of the line, as it was typed, without the blanks around it.
    pub args: String,
    /// The client that called it.
    pub peer: Peer,
    /// What that client may do: at least what the command [needs](PortCommand::role).
    pub role: Role,
    /// The task that it is called for, if it is a command [for rows](PortCommand::on_rows).
    pub task: Option<Proc>,
}

/// What a [`PortCommand`] answers.
pub struct Reply(pub(crate) Body);

pub(crate) enum Body {
    Text(String),
    Lines(BoxStream<'static, String>),
}

impl PortCommand {
    /// A command that is called as `name`, in any case, and calls `run`.
    ///
    /// `run` returns a text, or an error, which is told to the client as a fault. It runs where the
    /// sessions of the server run, so it must not block. A panic is told to the client, and ends
    /// nothing.
    pub fn new<F, R>(name: impl Into<String>, run: impl Fn(Invocation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<R, BoxError>> + Send + 'static,
        R: Into<Reply>,
    {
        let name = name.into();
        let run = move |call: Invocation| -> BoxFuture<'static, Result<Reply, BoxError>> {
            let future = run(call);
            Box::pin(async move { future.await.map(Into::into) })
        };
        PortCommand {
            usage: name.clone(),
            name,
            help: String::new(),
            role: Role::See,
            is_on_rows: false,
            is_row_optional: false,
            run: Arc::new(run),
        }
    }

    /// How it is typed: `loglevel <debug|info|warn>`. The name alone unless given.
    pub fn usage(self, usage: impl Into<String>) -> Self {
        PortCommand { usage: usage.into(), ..self }
    }

    /// One line for `help`.
    pub fn help(self, help: impl Into<String>) -> Self {
        PortCommand { help: help.into(), ..self }
    }

    /// The role that it needs: [`Role::See`] unless given. What needs [`Role::Kill`] is in the audit,
    /// with its outcome.
    pub fn role(self, role: Role) -> Self {
        PortCommand { role, ..self }
    }

    /// Makes it a command for rows: `name <id> [args]` calls it for that task, and
    /// `name where <expression>` shows the tasks that match; `name @7f3a [args]` then calls it for each
    /// of these, one after the other.
    pub fn on_rows(self) -> Self {
        let is_given = self.usage != self.name;
        let usage = if is_given { self.usage } else { format!("{} <id>, or where <expression>", self.name) };
        PortCommand { is_on_rows: true, usage, ..self }
    }

    /// Of a command [for rows](Self::on_rows): a line that begins with the id of no task calls it as well, with no task,
    /// and with the whole line as [`args`](Invocation::args). For what may have a row or not, like a process that has
    /// ended and whose output is asked for, and for options before the id.
    ///
    /// ```
    /// # use pm::{Invocation, PortCommand};
    /// let logs = PortCommand::new("logs", |call: Invocation| async move {
    ///     Ok(match call.task {
    ///         Some(task) => format!("{} with '{}'", task.id, call.args), // `logs req1 20`
    ///         None => format!("no row, with '{}'", call.args),           // `logs -f req1`, `logs req0`
    ///     })
    /// })
    /// .on_rows()
    /// .optional_row();
    /// # drop(logs);
    /// ```
    pub fn optional_row(self) -> Self {
        PortCommand { is_row_optional: true, ..self }
    }

    pub(crate) fn call(&self, call: Invocation) -> BoxFuture<'static, Result<Reply, BoxError>> {
        (self.run)(call)
    }

    /// # Errors
    ///
    /// Its name cannot be typed, or is taken.
    pub(crate) fn check(&self, is_taken: bool) -> io::Result<()> {
        let name = &self.name;
        let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic());
        if is_word && !is_taken {
            return Ok(());
        }
        let why = if is_word { "the name is taken" } else { "its name must be one word of printable ASCII" };
        let what = format!("the command {} cannot be added: {why}", escape::quoted(name));
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }
}

impl Invocation {
    /// The id that a table prints as this text, for a command that takes ids among its [`args`](Self::args): a blank in
    /// an id prints as `\x20`. `None` if no id prints so.
    ///
    /// ```
    /// use pm::Invocation;
    ///
    /// assert_eq!(Invocation::parse_id(r"nightly\x20import").as_deref(), Some("nightly import"));
    /// assert_eq!(Invocation::parse_id(r"nightly\x62"), None);
    /// ```
    pub fn parse_id(text: &str) -> Option<String> {
        escape::parse_id(text)
    }
}

impl Reply {
    /// Lines that come one by one, like `tail -f`. Enter, the next command or the end of the
    /// client stops them.
    ///
    /// ```
    /// use pm::{Invocation, PortCommand, Reply};
    ///
    /// let count = PortCommand::new("count", |_: Invocation| async {
    ///     Ok(Reply::lines(futures_util::stream::iter(1..=3).map(|n: i32| n.to_string())))
    /// });
    /// # use futures_util::StreamExt;
    /// # drop(count);
    /// ```
    pub fn lines(lines: impl Stream<Item = String> + Send + 'static) -> Self {
        Reply(Body::Lines(lines.boxed()))
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Reply(Body::Text(text))
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

/// `done`.
impl From<()> for Reply {
    fn from((): ()) -> Self {
        "done".into()
    }
}

impl fmt::Debug for PortCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortCommand").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Body::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Body::Lines(_) => f.write_str("Lines(..)"),
        }
    }
}
