//! Run: a kill that reaches async code where it is parked. Adds `Handle::run` and `Task::scope`.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;

use pin_project_lite::pin_project;

use crate::current;
use crate::entry::{Awaited, Entry};
use crate::killed::Killed;
use crate::task::{Handle, Task};
use crate::unwinding::{self, catch};
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
    /// As cancel safe as `future`. If it is dropped early, by a timeout or because a client went away, the
    /// task ends with the note `abandoned`, unless it is used again: see
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
    ///   dropped at the end of the statement. [`scope`](crate::Task::scope) takes the guard along.
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
        Run { work: Work::new(&self.entry, Location::caller()), is_parked: false, future: Some(future) }
    }
}

impl Task {
    /// Runs `future` as the work of this task, and ends the task with it: [`run`](Handle::run) with
    /// the guard inside, for `tokio::spawn`, a `JoinSet`, a middleware.
    ///
    /// The task ends when `future` is ready, is killed, panics, or is dropped.
    ///
    /// # Errors
    ///
    /// [`Killed`] as soon as somebody kills the task.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Handle::run). Dropping it ends the task, with the note `abandoned`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let list = pm::ProcList::new();
    /// # async fn work() -> u32 { std::future::pending().await }
    /// let job = tokio::spawn(list.start("job7").col("kind", "import").scope(work()));
    /// list.kill("job7", "too slow").unwrap();
    ///
    /// let killed = job.await.unwrap().unwrap_err();
    /// assert_eq!(killed.to_string(), r#"process killed: "too slow""#);
    /// assert!(list.is_empty());
    /// # }
    /// ```
    #[track_caller]
    pub fn scope<F: Future>(self, future: F) -> Scope<F> {
        Scope { run: self.run(future), task: Some(self), is_begun: false }
    }
}

pin_project! {
    /// The future of [`Task::scope`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Scope<F> {
        #[pin]
        run: Run<F>,
        // Dropped after the future.
        task: Option<Task>,
        is_begun: bool,
    }

    impl<F> PinnedDrop for Scope<F> {
        fn drop(this: Pin<&mut Self>) {
            // Work that was never begun did not end by itself either.
            if !this.is_begun && let Some(task) = &this.task {
                task.entry.abandon();
            }
        }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = Result<F::Output, Killed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        *this.is_begun = true;
        let ending = EndInUnwind(this.task);
        let result = ready!(this.run.poll(cx));
        drop(ending.0.take());
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("run", &self.run).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Handle::run`].
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Run<F> {
        work: Work,
        // It has been polled and was not ready: dropping it gives up work.
        is_parked: bool,
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
            let entry = this.work.entry();
            let is_abandoned = *this.is_parked && !thread::panicking() && unwinding::in_progress().is_none();
            // Before, because the guard may be inside; after, because destructors may report.
            if is_abandoned {
                entry.abandon();
            }
            // A kill is caught whatever its task: none leaves a destructor.
            let _caught = catch(|| this.work.in_scope(|| this.future.set(None)));
            if is_abandoned {
                entry.abandon();
            }
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = Result<F::Output, Killed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("`run` polled after it returned");
        };
        // Not if it unwinds now.
        *this.is_parked = false;
        match this.work.poll(cx, |cx| future.poll(cx)) {
            Poll::Ready(result) => Poll::Ready(self.finish(result)),
            Poll::Pending => {
                *this.is_parked = true;
                Poll::Pending
            }
        }
    }
}

impl<F: Future> Run<F> {
    /// Drops the future, whose destructors, and those of its output, may have kill points.
    fn finish(self: Pin<&mut Self>, result: Result<F::Output, Killed>) -> Result<F::Output, Killed> {
        let this = self.project();
        *this.is_parked = false;
        let (work, mut future) = (this.work, this.future);
        let dropped = match &result {
            Ok(_) => catch(|| work.in_scope(|| future.set(None))),
            Err(killed) => work.drop_killed(killed, || future.set(None)),
        };
        match (result, dropped) {
            (Ok(output), Err(killed)) if work.entry().is_killed_by(&killed) => {
                let _caught = work.drop_killed(&killed, || drop(output));
                Err(killed)
            }
            (result, _) => {
                // A `run` inside it that was dropped gave up a part of the work only.
                work.entry().goes_on();
                result
            }
        }
    }
}

/// What is polled as the work of a task, and ends with its kill.
#[derive(Debug)]
pub(crate) struct Work {
    waiting: Waiting,
    location: &'static Location<'static>,
}

impl Work {
    pub(crate) fn new(entry: &Arc<Entry>, location: &'static Location<'static>) -> Self {
        Work { waiting: Waiting::new(entry), location }
    }

    fn entry(&self) -> &Arc<Entry> {
        &self.waiting.entry
    }

    /// Calls `poll` unless the task has been killed, stops the unwinding of its kill there, and, if it is
    /// pending, wakes it for the kill.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Killed>> {
        unwinding::clear_mark();
        self.entry().goes_on();
        if let Some(killed) = self.entry().look_for_kill(self.location) {
            return Poll::Ready(Err(killed));
        }
        match self.stop_own_kill(|| self.in_scope(|| poll(cx))) {
            Ok(Poll::Ready(output)) => return Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {}
            Err(killed) => return Poll::Ready(Err(killed)),
        }
        if self.waiting.poll(Awaited::Kill, cx).is_ready()
            && let Some(killed) = self.entry().look_for_kill(self.location)
        {
            return Poll::Ready(Err(killed));
        }
        Poll::Pending
    }

    /// Calls `f`, and stops a kill of this task there. That of another task goes on.
    pub(crate) fn stop_own_kill<T>(&self, f: impl FnOnce() -> T) -> Result<T, Killed> {
        catch(f).map_err(|killed| if self.entry().is_killed_by(&killed) { killed } else { killed.resume_unwind() })
    }

    /// Calls `drop`, which drops what `killed` has ended. No kill leaves a destructor.
    pub(crate) fn drop_killed(&self, killed: &Killed, drop: impl FnOnce()) -> Result<(), Killed> {
        catch(|| killed.dropping(|| self.in_scope(drop)))
    }

    /// Calls `f` with the task as the current one.
    pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        let _scope = current::Scope::of(self.entry());
        f()
    }
}

/// Ends the task, if this is dropped while a panic unwinds. Who polls may catch the panic, and drop what
/// it has polled only then.
pub(crate) struct EndInUnwind<'a>(pub(crate) &'a mut Option<Task>);

impl Drop for EndInUnwind<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            drop(self.0.take());
        }
    }
}

impl<F> fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.work.entry().id()).finish_non_exhaustive()
    }
}
