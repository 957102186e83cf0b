//! Wait: futures that resolve when a task is killed or has ended. Adds `Handle::{killed, ended}`.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::entry::{Awaited, Entry};
use crate::killed::Killed;
use crate::task::Handle;
use crate::waiters::Key;

impl Handle {
    /// Resolves when this task is killed: for a `select!` of one's own.
    ///
    /// A kill that was accepted is reported for ever, also when the task has ended since. After
    /// an end without a kill it waits for ever: [`ended`](Self::ended) tells.
    ///
    /// A kill that this reports has been seen: from then on the end of the task counts as
    /// [`Killed`](crate::Outcome::Killed). To watch without that, use [`is_being_killed`](Self::is_being_killed)
    /// or [`ended`](Self::ended).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it: the next call sees the same kill.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let task = list.start("conn1");
    /// list.kill("conn1", "maintenance").unwrap();
    /// tokio::select! {
    ///     killed = task.killed() => assert_eq!(killed.message(), "maintenance"),
    ///     () = std::future::pending() => {}
    /// }
    /// # }
    /// ```
    #[track_caller]
    pub fn killed(&self) -> WaitKilled {
        self.entry.goes_on();
        WaitKilled { waiting: Waiting::new(&self.entry), location: Location::caller(), since: self.entry.statuses() }
    }

    /// Resolves when this task has ended and left the list, killed or not: for its helpers.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let task = list.start("conn1");
    /// let helper = tokio::spawn(task.ended());
    /// drop(task);
    /// helper.await.unwrap();
    /// # }
    /// ```
    pub fn ended(&self) -> WaitEnded {
        WaitEnded { waiting: Waiting::new(&self.entry) }
    }
}

/// A future that waits for something to come upon a task.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) entry: Arc<Entry>,
    key: Option<Key>,
}

impl Waiting {
    pub(crate) fn new(entry: &Arc<Entry>) -> Self {
        Waiting { entry: Arc::clone(entry), key: None }
    }

    /// Whether it has come; else the future of `cx` is woken when it does.
    pub(crate) fn poll(&mut self, awaited: Awaited, cx: &Context<'_>) -> Poll<()> {
        self.entry.poll(awaited, &mut self.key, cx.waker())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.entry.forget_waiter(key);
        }
    }
}

/// The future of [`Handle::killed`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitKilled {
    waiting: Waiting,
    location: &'static Location<'static>,
    since: u16,
}

impl Future for WaitKilled {
    type Output = Killed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Killed> {
        self.waiting.entry.awaits();
        if self.waiting.poll(Awaited::Kill, cx).is_ready()
            && let Some(killed) = self.waiting.entry.look_for_kill(self.location, self.since)
        {
            return Poll::Ready(killed);
        }
        Poll::Pending
    }
}

/// The future of [`Handle::ended`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitEnded {
    waiting: Waiting,
}

impl Future for WaitEnded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.poll(Awaited::End, cx)
    }
}
