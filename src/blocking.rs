//! Blocking: work of a task on a thread that may block. Adds `Handle::spawn_blocking`.

use std::io;
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;

use crate::killed::Killed;
use crate::task::Handle;
use crate::unwinding::catch;

impl Handle {
    /// Runs `f` on a thread that may block, as [`tokio::task::spawn_blocking`] does, with this task as the
    /// [current](crate::current) one there.
    ///
    /// The task stays in the list until `f` has returned, also if nobody waits for it any more. `f` begins at
    /// once, not when the future is polled, and not at all if the task has been killed.
    /// A kill reaches it at its kill points only. Inside of [`run`](Self::run) or the layer of the feature `tower` a kill drops
    /// the code that awaits it at once, so only `f` learns of it.
    ///
    /// # Errors
    ///
    /// The outer one if the runtime is shutting down, or there is none. The inner one is the kill that
    /// ended `f`.
    ///
    /// # Panics
    ///
    /// A panic in `f` goes on where the future is awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop `f`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let list = pm::ProcList::new();
    /// let task = list.start("report1");
    /// let sum = task.spawn_blocking(|task| {
    ///     (1..=10).map(|chapter| {
    ///         task.status(format!("chapter {chapter}/10"))();     // a kill ends it here
    ///         chapter
    ///     }).sum::<u64>()
    /// });
    /// assert_eq!(sum.await??, 55);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, f: F) -> SpawnBlocking<T>
    where
        F: FnOnce(&Handle) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (handle, guard, location) = (self.clone(), self.keep(), Location::caller());
        let since = self.entry.statuses();
        let work = move || {
            // Dropped by a panic, it tells that to the list.
            let _guard = guard;
            match handle.entry.look_for_kill(location, since) {
                Some(killed) => Err(killed),
                None => catch(|| handle.in_scope(|| f(&handle))),
            }
        };
        let spawned = match Runtime::try_current() {
            Ok(runtime) => Spawned::Running(runtime.spawn_blocking(work)),
            Err(_) => Spawned::Not,
        };
        SpawnBlocking { spawned }
    }
}

/// The future of [`Handle::spawn_blocking`].
#[derive(Debug)]
#[must_use = "it tells what came of the work, also if that was killed"]
pub struct SpawnBlocking<T> {
    spawned: Spawned<T>,
}

#[derive(Debug)]
enum Spawned<T> {
    Running(JoinHandle<Result<T, Killed>>),
    /// There is no runtime.
    Not,
}

impl<T> Future for SpawnBlocking<T> {
    type Output = io::Result<Result<T, Killed>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Spawned::Running(running) = &mut self.spawned else {
            let error = "spawn_blocking needs a tokio runtime: call it in one, or use a thread and `in_scope`";
            return Poll::Ready(Err(io::Error::other(error)));
        };
        Poll::Ready(match ready!(Pin::new(running).poll(cx)) {
            Ok(result) => Ok(result),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(error.into()),
        })
    }
}
