//! Call: one call of a command of the program's own, for a client.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use crate::access::Role;
use crate::audit;
use crate::clock::Moment;
use crate::entry::{Depth, Entry};
use crate::escape;
use crate::list::ProcList;
use crate::peer::Peer;
use crate::port_command::{Body, Invocation, PortCommand, Reply};

/// After so long a client is told that a command is still running.
pub(crate) const STILL_RUNNING: Duration = Duration::from_secs(5);

pub(crate) struct Call {
    pub(crate) command: PortCommand,
    pub(crate) args: String,
    pub(crate) peer: Arc<Peer>,
    pub(crate) role: Role,
    /// The tasks that a command for rows is called for.
    pub(crate) tasks: Option<Vec<Arc<Entry>>>,
    pub(crate) list: ProcList,
}

/// What came of a call.
pub(crate) enum Called {
    Text(String),
    /// Lines, which the session has been given to follow.
    Lines,
    Error(String),
    Panicked,
}

impl Called {
    fn outcome(&self) -> &'static str {
        match self {
            Called::Text(_) | Called::Lines => "ended",
            Called::Error(_) => "failed",
            Called::Panicked => "panicked",
        }
    }
}

impl Call {
    /// # Cancel safety
    ///
    /// The audit says of a call that is dropped that it was stopped.
    pub(crate) async fn run(self) -> (Called, Option<Followed>) {
        let task = match self.tasks.as_deref() {
            None => None,
            Some([task]) => Some(task),
            Some(tasks) => return (Called::Text(self.each(tasks).await), None),
        };
        let record = Record::new(&self, task);
        match self.one(task).await {
            Ok(Reply(Body::Lines(lines))) => {
                let verb = self.command.name;
                (Called::Lines, Some(Followed { lines, record, verb, has_panicked: false }))
            }
            Ok(Reply(Body::Text(text))) => {
                record.ended("ended");
                (Called::Text(text), None)
            }
            Err(called) => {
                record.ended(called.outcome());
                (called, None)
            }
        }
    }

    /// Calls it once, for this task if there is one.
    async fn one(&self, task: Option<&Arc<Entry>>) -> Result<Reply, Called> {
        let mut proc = None;
        if let Some(task) = task {
            let snapshot = task.snapshot(Role::clearance(Some(self.role)), Depth::All, Moment::now());
            if snapshot.end.is_some() {
                return Err(Called::Error(format!("{} has ended", escape::id(task.id()))));
            }
            proc = Some(snapshot.proc);
        }
        let (args, peer) = (self.args.clone(), Peer::clone(&self.peer));
        let invocation = Invocation { args, peer, role: self.role, task: proc };
        // The error is the program's too.
        let call = async { self.command.call(invocation).await.map_err(|error| Called::Error(error.to_string())) };
        AssertUnwindSafe(call).catch_unwind().await.unwrap_or(Err(Called::Panicked))
    }

    /// Calls it for each of these, one after the other.
    async fn each(&self, tasks: &[Arc<Entry>]) -> String {
        let (mut lines, mut done) = (Vec::new(), 0);
        for task in tasks {
            let record = Record::new(self, Some(task));
            let result = self.one(Some(task)).await;
            record.ended(result.as_ref().map_or_else(Called::outcome, |_| "ended"));
            done += usize::from(result.is_ok());
            let told = match result {
                Ok(Reply(Body::Text(text))) => text,
                Ok(Reply(Body::Lines(_))) => "it answers with lines that follow: call it for one task".to_string(),
                Err(Called::Error(error)) => error,
                Err(_) => "panicked".to_string(),
            };
            lines.extend(told.lines().map(|line| format!("{}: {line}", escape::id(task.id()))));
        }
        lines.push(format!("{done} of {} done", tasks.len()));
        lines.join("\n")
    }
}

/// The lines of a reply that a session follows.
pub(crate) struct Followed {
    lines: BoxStream<'static, String>,
    record: Record,
    verb: String,
    has_panicked: bool,
}

impl Stream for Followed {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let this = &mut *self;
        if this.has_panicked {
            return Poll::Ready(None);
        }
        match std::panic::catch_unwind(AssertUnwindSafe(|| this.lines.poll_next_unpin(cx))) {
            Ok(Poll::Ready(None)) => {
                this.record.ended("ended");
                Poll::Ready(None)
            }
            Ok(poll) => poll,
            Err(_panic) => {
                this.record.ended("panicked");
                this.has_panicked = true;
                Poll::Ready(Some(format!("{} panicked", this.verb)))
            }
        }
    }
}

/// The record of a call in the audit, if it needs the role to kill.
struct Record(Option<Arc<audit::Call>>);

impl Record {
    fn new(call: &Call, task: Option<&Arc<Entry>>) -> Self {
        let id = task.map_or_else(String::new, |task| format!("{} ", escape::id(task.id())));
        let line = || format!("{} {id}{}", call.command.name, call.args).trim_end().to_string();
        let is_kept = call.command.role == Role::Kill;
        Record(is_kept.then(|| call.list.audit().called(&call.peer, line())))
    }

    fn ended(&self, outcome: &'static str) {
        if let Some(call) = &self.0 {
            call.ended(outcome);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.ended("stopped");
    }
}
