//! Run: a kill that reaches async code where it is parked. Adds `Handle::{run, killed}`.

use std::panic::{self, Location};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::killed::{Killed, catch};
use crate::task::Handle;

impl Handle {
    /// Resolves when this task is killed: for a `select!` of one's own.
    ///
    /// After the end of the task it waits for ever.
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
    pub fn killed(&self) -> impl Future<Output = Killed> + use<> {
        let Handle { entry } = self.clone();
        let location = Location::caller();
        async move {
            entry.wakeup().cancelled().await;
            match entry.kill_point(location) {
                Some(killed) => killed,
                // It ended between the kill and this poll.
                None => std::future::pending().await,
            }
        }
    }

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
    /// [`Killed`] as soon as somebody kills the task.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`.
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
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, Killed>> + use<F> {
        let location = Location::caller();
        Run { task: self.clone(), location, wakeup: None, ended: false, future: Some(future) }
    }
}

pin_project! {
    struct Run<F> {
        task: Handle,
        location: &'static Location<'static>,
        // None before the first poll that does not finish, and when the task has ended.
        #[pin]
        wakeup: Option<WaitForCancellationFutureOwned>,
        ended: bool,
        // None when it has returned.
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for Run<F> {
    type Output = Result<F::Output, Killed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.as_mut().poll_future(cx).map(|result| {
            // Its destructors may have kill points of their own.
            let (task, mut future) = (self.task.clone(), self.project().future);
            let dropped = task.stop_unwinding(|| future.set(None));
            result.and_then(|output| dropped.map(|()| output))
        })
    }
}

impl<F: Future> Run<F> {
    fn poll_future(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Killed>> {
        let mut this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            panic!("`run` polled after it returned");
        };
        if let Some(killed) = this.task.entry.kill_point(this.location) {
            return Poll::Ready(Err(killed));
        }
        match this.task.stop_unwinding(|| future.poll(cx)) {
            Ok(Poll::Ready(output)) => return Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {}
            Err(killed) => return Poll::Ready(Err(killed)),
        }
        if this.wakeup.is_none() && !*this.ended {
            this.wakeup.set(Some(this.task.entry.wakeup().cancelled_owned()));
        }
        if let Some(wakeup) = this.wakeup.as_mut().as_pin_mut()
            && wakeup.poll(cx).is_ready()
        {
            if let Some(killed) = this.task.entry.kill_point(this.location) {
                return Poll::Ready(Err(killed));
            }
            // The kill came, and then the end: nobody will ask for it again.
            this.wakeup.set(None);
            *this.ended = true;
        }
        Poll::Pending
    }
}

impl Handle {
    /// Calls `f`, and stops the unwinding of a kill of this task there.
    fn stop_unwinding<T>(&self, f: impl FnOnce() -> T) -> Result<T, Killed> {
        catch(f).map_err(|killed| match self.entry.is_killed_by(&killed) {
            true => killed,
            false => panic::resume_unwind(Box::new(killed)),
        })
    }
}
