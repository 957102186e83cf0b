//! Run: a kill that reaches async code where it is parked. Adds `Handle::run`.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use pin_project_lite::pin_project;

use crate::entry::{Awaited, Entry};
use crate::killed::{self, Killed, catch};
use crate::task::Handle;
use crate::wait::Waiting;

impl Handle {
    /// Runs `future` as the work of this task: a kill ends it wherever it is,
    /// also while it is parked at an await.
    ///
    /// It looks for a kill before each poll of `future`, and drops `future`
    /// before it returns. It also stops the unwinding of a
    /// [`status(..)()`](Self::status) of this same task inside `future`; any
    /// other panic, and the kill of another task, goes on.
    ///
    /// The task itself goes on too: it ends with its [`Task`](crate::Task).
    ///
    /// # Errors
    ///
    /// [`Killed`] as soon as somebody kills the task, also if it has ended since.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`. A task whose `run` is dropped before it is ready, by a timeout
    /// or because a client went away, has the note `abandoned` when it ends, unless it goes on: see
    /// [`Proc::note`](crate::Proc::note).
    ///
    /// # What it cannot do
    ///
    /// - A future that is always ready does not park, so nothing looks: use
    ///   [`check`](Self::check) in such a loop.
    /// - A kill drops `future` at an await, also in the middle of a reply: what has been written
    ///   is half a message. Close the connection.
    /// - What `future` has spawned elsewhere runs on. Hand it a [`Handle`] and let it `run` too.
    /// - `tokio::spawn(list.start("job").run(work()))` ends the task at once, because the guard is
    ///   dropped at the end of the statement. Move it along:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let list = pm::ProcList::new();
    /// # async fn work() {}
    /// let task = list.start("job");
    /// tokio::spawn(async move { task.run(work()).await }).await.unwrap().unwrap();
    /// # }
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// let killer = list.clone();
    /// tokio::spawn(async move { killer.kill("req1", "too slow") });
    ///
    /// let result = task.run(std::future::pending::<()>()).await;
    /// assert_eq!(result.unwrap_err().to_string(), r#"process killed: "too slow""#);
    /// # }
    /// ```
    ///
    /// A helper that hands on its work is killed with the task:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// let handle = task.handle();
    /// let helper = tokio::spawn(async move { handle.run(std::future::pending::<()>()).await });
    /// list.kill("req1", "too slow").unwrap();
    /// drop(task);
    /// assert!(helper.await.unwrap().is_err()); // although the guard was gone when it looked
    /// # }
    /// ```
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> Run<F> {
        Run { waiting: Waiting::new(&self.entry), location: Location::caller(), is_over: false, future: Some(future) }
    }
}

pin_project! {
    /// The future of [`Handle::run`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Run<F> {
        waiting: Waiting,
        location: &'static Location<'static>,
        // It has returned, or a panic came out of it.
        is_over: bool,
        // None when it has returned.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Run<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_none() {
                return;
            }
            let entry = &this.waiting.entry;
            let is_abandoned = !*this.is_over && !thread::panicking() && killed::in_progress().is_none();
            // Before, because the guard may be inside; after, because destructors may report.
            if is_abandoned {
                entry.abandon();
            }
            let _its_own_kill = stop_unwinding(entry, || this.future.set(None));
            if is_abandoned {
                entry.abandon();
            }
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = Result<F::Output, Killed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        killed::clear_mark();
        let mut this = self.as_mut().project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("`run` polled after it returned");
        };
        let entry = &this.waiting.entry;
        entry.runs();
        if let Some(killed) = entry.look_for_kill(this.location) {
            return Poll::Ready(self.finish(Err(killed)));
        }
        *this.is_over = true;
        match stop_unwinding(entry, || future.poll(cx)) {
            Ok(Poll::Ready(output)) => return Poll::Ready(self.finish(Ok(output))),
            Ok(Poll::Pending) => *this.is_over = false,
            Err(killed) => return Poll::Ready(self.finish(Err(killed))),
        }
        if this.waiting.has_come(Awaited::Kill, cx)
            && let Some(killed) = this.waiting.entry.look_for_kill(this.location)
        {
            return Poll::Ready(self.finish(Err(killed)));
        }
        Poll::Pending
    }
}

impl<F: Future> Run<F> {
    /// Drops the future, whose destructors, and those of its output, may have kill points.
    fn finish(self: Pin<&mut Self>, result: Result<F::Output, Killed>) -> Result<F::Output, Killed> {
        let mut this = self.project();
        *this.is_over = true;
        let entry = &this.waiting.entry;
        let dropped = match &result {
            Ok(_) => stop_unwinding(entry, || this.future.set(None)),
            Err(killed) => stop_unwinding(entry, || killed.dropping(|| this.future.set(None))),
        };
        match (result, dropped) {
            (Ok(output), Err(killed)) => {
                let _the_same = stop_unwinding(entry, || killed.dropping(|| drop(output)));
                Err(killed)
            }
            (result, _) => result,
        }
    }
}

/// Calls `f`, and stops the unwinding of a kill of this task there.
fn stop_unwinding<T>(entry: &Entry, f: impl FnOnce() -> T) -> Result<T, Killed> {
    catch(f).map_err(|killed| if entry.is_killed_by(&killed) { killed } else { killed.unwind() })
}

impl<F> fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.waiting.entry.id()).finish_non_exhaustive()
    }
}
