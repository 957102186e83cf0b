//! PendingKill: a kill that was accepted. Adds `ProcList::{request_kill, kill}`, `Handle::kill`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::columns::Printed;
use crate::entry::{Entry, FamilyReply, KillReply};
use crate::kill::{Ending, Kill, Request};
use crate::killed::KillError;
use crate::list::{ProcList, Shared};
use crate::peer::Peer;
use crate::task::Handle;
use crate::timer;
use crate::waiters::Key;

/// A kill that was accepted: tells what becomes of it.
///
/// Dropping it changes nothing: the kill goes on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pm::KillError> {
/// let list = pm::ProcList::new();
/// let task = list.start("import0");
/// task.set_status("copying");
///
/// let pending = list.request_kill("import0", "too slow")?;
/// assert_eq!((pending.id(), pending.status()), ("import0", "copying"));
/// assert!(pending.try_outcome().is_none());
///
/// task.check().unwrap_err();
/// drop(task);
/// let ending = pending.outcome().await;
/// assert_eq!((ending.outcome, ending.status.as_str()), (pm::Outcome::Killed, "copying"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it tells what becomes of the kill; `kill` does not wait for that"]
pub struct PendingKill {
    kill: Arc<Kill>,
}

impl ProcList {
    /// Requests that the task that runs under `id` stop, and returns at once. The task ends at its
    /// next kill point or await, and stays in the list until then.
    ///
    /// `message` is the reason, for [`Killed::message`](crate::Killed::message) and the program's
    /// log. It may be empty, and is cut at 512 bytes with `…`.
    ///
    /// No runtime is needed.
    ///
    /// # Errors
    ///
    /// [`NoSuchProcess`](KillError::NoSuchProcess), [`Forbidden`](KillError::Forbidden), or
    /// [`AlreadyKilled`](KillError::AlreadyKilled): the first of several kills stands.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// let pending = list.request_kill("req1", "too slow")?;
    /// drop(task); // it never looked
    /// assert_eq!(pending.try_outcome().unwrap().outcome, pm::Outcome::Ended);
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn request_kill(&self, id: &str, message: impl Into<String>) -> Result<PendingKill, KillError> {
        let reply = self.find(id).map_or(KillReply::Ended, |entry| self.request(&entry, message.into(), None));
        reply.accepted(id).map(|kill| PendingKill { kill })
    }

    /// [`request_kill`](Self::request_kill) for a program that does not ask what becomes of it.
    ///
    /// # Errors
    ///
    /// Those of `request_kill`.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// list.kill("req1", "too slow")?;
    /// assert_eq!(list.kill("req1", "me too").unwrap_err().to_string(), r#"already killing req1: "too slow""#);
    ///
    /// assert!(task.check().is_err()); // now it knows
    /// assert_eq!(task.done().outcome, Some(pm::Outcome::Killed));
    /// assert_eq!(list.kill("req1", "").unwrap_err().to_string(), "no such process 'req1'");
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn kill(&self, id: &str, message: impl Into<String>) -> Result<(), KillError> {
        self.request_kill(id, message).map(drop)
    }

    pub(crate) fn request(&self, entry: &Entry, message: String, by: Option<Arc<Peer>>) -> KillReply {
        self.shared.request(entry, message, by)
    }
}

impl Handle {
    /// Kills the task from inside the program: [`ProcList::kill`] for code that has the handle and no list.
    ///
    /// # Errors
    ///
    /// [`NoSuchProcess`](KillError::NoSuchProcess) after its end, [`Forbidden`](KillError::Forbidden), or
    /// [`AlreadyKilled`](KillError::AlreadyKilled): the first of several kills stands.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// task.kill("its budget is spent")?;
    /// assert_eq!(task.check().unwrap_err().message(), "its budget is spent");
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn kill(&self, message: impl Into<String>) -> Result<(), KillError> {
        let (entry, message) = (&self.entry, message.into());
        let reply = match entry.list() {
            Some(list) => list.kill(entry, message, None),
            None => entry.kill_unlisted(Request { message, ..Request::default() }),
        };
        reply.accepted(self.id()).map(drop)
    }
}

impl Shared {
    /// The one door for kills: all of them go through it, and into the audit. `by` is `None` if the
    /// program itself asks. The kill of a task reaches those below it.
    pub(crate) fn request(&self, entry: &Entry, message: String, by: Option<Arc<Peer>>) -> KillReply {
        self.request_all(entry, message, by).reply
    }

    /// The same, with what was answered for each task below it.
    pub(crate) fn request_all(&self, entry: &Entry, message: String, by: Option<Arc<Peer>>) -> FamilyReply {
        // The kill that it was born under came first.
        entry.look_at_inheritance();
        self.request_family(entry, Request { message, by, ..Request::default() })
    }

    /// Kills a task if this is still its deadline.
    pub(crate) fn request_at_deadline(&self, entry: &Entry, message: String, key: timer::Key) -> KillReply {
        entry.look_at_inheritance();
        self.request_family(entry, Request { message, deadline: Some(key), ..Request::default() }).reply
    }

    /// Kills a task as `kill` has killed one that it is below.
    pub(crate) fn inherit(&self, entry: &Entry, kill: Arc<Kill>) {
        let family = self.request_family(entry, Request::below(kill));
        if let KillReply::Accepted(kill) = family.reply {
            kill.reaches(1);
        }
    }

    fn request_family(&self, entry: &Entry, request: Request) -> FamilyReply {
        // Before the kill: the task may end at once.
        let columns = if request.above.is_some() { Printed::default() } else { self.printed(entry) };
        entry.kill_family(Request { columns, ..request }, |kill| self.audit().kill_accepted(kill))
    }
}

impl KillReply {
    /// The kill, or why there is none of the task known by `id`.
    fn accepted(self, id: &str) -> Result<Arc<Kill>, KillError> {
        let id = || id.to_string();
        match self {
            KillReply::Accepted(kill) => Ok(kill),
            KillReply::Already(kill) => Err(KillError::AlreadyKilled { id: id(), message: kill.message.clone() }),
            KillReply::Forbidden => Err(KillError::Forbidden { id: id() }),
            KillReply::Independent | KillReply::Ended => Err(KillError::NoSuchProcess { id: id() }),
        }
    }
}

impl PendingKill {
    /// The id of the task.
    pub fn id(&self) -> &str {
        &self.kill.id
    }

    /// The status in which the kill met the task.
    pub fn status(&self) -> &str {
        &self.kill.status
    }

    /// How the task ended; `None` as long as it is in the list.
    pub fn try_outcome(&self) -> Option<Ending> {
        self.kill.ending().cloned()
    }

    /// Waits until the task has ended and left the list.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it: the next call returns the same.
    pub fn outcome(&self) -> WaitOutcome {
        WaitOutcome::new(&self.kill)
    }
}

impl fmt::Debug for PendingKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingKill").field("id", &self.id()).field("outcome", &self.kill.ending()).finish()
    }
}

/// The future of [`PendingKill::outcome`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitOutcome {
    kill: Arc<Kill>,
    key: Option<Key>,
}

impl WaitOutcome {
    pub(crate) fn new(kill: &Arc<Kill>) -> Self {
        WaitOutcome { kill: Arc::clone(kill), key: None }
    }
}

impl Future for WaitOutcome {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        let this = self.get_mut();
        match (this.kill.poll_ending(&mut this.key, cx.waker()), this.kill.ending()) {
            (Poll::Ready(()), Some(ending)) => Poll::Ready(ending.clone()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for WaitOutcome {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.kill.forget_waiter(key);
        }
    }
}
