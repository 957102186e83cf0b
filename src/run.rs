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
use crate::probe;
use crate::task::{Handle, Task};
use crate::unwinding::{self, Unwound, catch, catch_all};
use crate::waiters::Key;

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
        Run {
            entry: Arc::clone(&self.entry),
            work: Work::new(&self.entry, Location::caller()),
            is_parked: false,
            future: Some(future),
        }
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
        let ending = EndInUnwind { task: this.task, was_unwinding: thread::panicking() };
        let result = ready!(this.run.poll(cx));
        drop(ending.task.take());
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
        entry: Arc<Entry>,
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
            let entry = &*this.entry;
            if this.future.is_some() {
                let is_abandoned = *this.is_parked && !unwinding::is_under_way();
                if *this.is_parked
                    && let Some(killed) = unwinding::in_progress()
                {
                    entry.is_cut_off_by(&killed);
                }
                // Before, because the guard may be inside; after, because destructors may report.
                if is_abandoned {
                    entry.abandon();
                }
                // A kill is caught whatever its task: none leaves a destructor.
                let _caught = catch(|| in_scope(entry, || this.future.set(None)));
                if is_abandoned {
                    entry.abandon();
                }
            }
            this.work.end(entry);
        }
    }
}

impl<F: Future> Future for Run<F> {
    type Output = Result<F::Output, Killed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (entry, mut future) = (&*this.entry, this.future);
        // Not if it unwinds now.
        *this.is_parked = false;
        let mut output = None;
        match this.work.poll(entry, cx, Look::First, |cx| poll_into(future.as_mut(), &mut output, cx)) {
            Ok(polled) => match output {
                Some(output) => Poll::Ready(Ok(output)),
                None => {
                    *this.is_parked = polled.is_pending();
                    Poll::Pending
                }
            },
            Err(Stopped::Killed(killed)) => {
                let _caught = drop_killed(entry, &killed, || {
                    future.set(None);
                    drop(output);
                });
                entry.goes_on();
                Poll::Ready(Err(killed))
            }
            Err(Stopped::Unwinds(unwound)) => unwound.resume(),
        }
    }
}

impl<F> fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.entry.id()).finish_non_exhaustive()
    }
}

/// What is polled as the work of a task, and ends with its kill. Whoever has it has the entry too, and
/// must [end](Self::end) it.
#[derive(Debug)]
pub(crate) struct Work {
    waiter: Option<Key>,
    location: &'static Location<'static>,
    /// How many statuses of the task had been set when it was begun.
    since: u16,
    /// How often somebody had asked where a task is parked.
    asked: u32,
}

/// When a poll looks for a kill.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    First,
    /// Only if nothing is ready.
    #[cfg_attr(not(feature = "tower"), allow(dead_code))]
    IfPending,
}

/// Why work came to no output.
pub(crate) enum Stopped {
    /// By the kill of its task.
    Killed(Killed),
    /// By a panic, or the kill of another task, which is to go on.
    Unwinds(Unwound),
}

impl Work {
    #[inline]
    pub(crate) fn new(entry: &Entry, location: &'static Location<'static>) -> Self {
        Work { waiter: None, location, since: entry.statuses(), asked: probe::asked() }
    }

    /// Calls `poll`, which says whether it was ready, as the work of the task, and stops what unwinds. If it was
    /// not ready, the kill wakes it.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        entry: &Arc<Entry>,
        cx: &mut Context<'_>,
        look: Look,
        mut poll: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Poll<()>, Stopped> {
        // Whoever polls has caught what unwound before, and the task goes on.
        unwinding::clear_mark();
        entry.goes_on();
        if look == Look::First {
            self.look(entry)?;
        }
        let is_ready = match probe::asked() == self.asked {
            true => catch_own(entry, || poll(cx))?,
            false => self.poll_asked(entry, cx, &mut poll)?,
        };
        if is_ready {
            // A `run` inside it that was dropped gave up a part of the work only.
            entry.goes_on();
            return Ok(Poll::Ready(()));
        }
        if entry.poll(Awaited::KillOfRun, &mut self.waiter, cx.waker()).is_ready() {
            self.look(entry)?;
        }
        Ok(Poll::Pending)
    }

    /// The same when somebody has asked about some task: perhaps about this one. Each probe sees a `run` once.
    #[cold]
    fn poll_asked(
        &mut self,
        entry: &Arc<Entry>,
        cx: &mut Context<'_>,
        poll: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<bool, Stopped> {
        let since = std::mem::replace(&mut self.asked, probe::asked());
        match entry.probe(since) {
            Some((probe, asked)) => {
                if probe::is_later(asked, self.asked) {
                    self.asked = asked;
                }
                catch_own(entry, || probe.poll(entry, cx.waker(), poll))
            }
            None => catch_own(entry, || poll(cx)),
        }
    }

    #[inline]
    fn look(&self, entry: &Entry) -> Result<(), Stopped> {
        match entry.look_for_kill(self.location, self.since) {
            None => Ok(()),
            Some(killed) => Err(Stopped::Killed(killed)),
        }
    }

    /// Waits no more.
    #[inline]
    pub(crate) fn end(&mut self, entry: &Entry) {
        if let Some(waiter) = self.waiter.take() {
            entry.forget_waiter(waiter);
        }
    }
}

/// Polls `future` into `output`, and drops it when it is ready, because its destructors may have kill points. Returns
/// whether it was. Nothing is moved: what a handler returns is large.
#[inline]
pub(crate) fn poll_into<F: Future>(
    mut future: Pin<&mut Option<F>>,
    output: &mut Option<F::Output>,
    cx: &mut Context<'_>,
) -> bool {
    let Some(polled) = future.as_mut().as_pin_mut() else { panic!("a future polled after it returned") };
    match polled.poll(cx) {
        Poll::Ready(ready) => *output = Some(ready),
        Poll::Pending => return false,
    }
    future.set(None);
    true
}

/// Calls `f` as the work of a task, and stops what unwinds.
#[inline]
pub(crate) fn catch_own<T>(entry: &Arc<Entry>, f: impl FnOnce() -> T) -> Result<T, Stopped> {
    catch_all(|| in_scope(entry, f)).map_err(|unwound| match unwound {
        Unwound::Kill(killed) if entry.is_killed_by(&killed) => Stopped::Killed(killed),
        unwound => Stopped::Unwinds(unwound),
    })
}

/// Calls `drop`, which drops what `killed` has ended. No kill leaves a destructor.
pub(crate) fn drop_killed(entry: &Arc<Entry>, killed: &Killed, drop: impl FnOnce()) -> Result<(), Killed> {
    catch(|| killed.dropping(|| in_scope(entry, drop)))
}

/// Calls `f` with the task as the current one.
#[inline]
pub(crate) fn in_scope<T>(entry: &Arc<Entry>, f: impl FnOnce() -> T) -> T {
    let _scope = current::Scope::of(entry);
    f()
}

/// Ends the task, if this is dropped while a panic unwinds. Who polls may catch the panic, and drop what
/// it has polled only then.
struct EndInUnwind<'a> {
    task: &'a mut Option<Task>,
    /// It is polled by a destructor.
    was_unwinding: bool,
}

impl Drop for EndInUnwind<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.was_unwinding {
            drop(self.task.take());
        }
    }
}
