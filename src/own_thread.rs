//! Own thread: work that would hold up a session, on a thread of its own.
//!
//! Not on the runtime's blocking threads: all of these may be busy with the very work that somebody
//! wants to kill.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own, or here when the system has no more threads, because that is
/// when it matters. `None` if it panics.
///
/// # Cancel safety
///
/// Work that has begun is finished, whether or not anybody waits for it.
pub(crate) async fn on_own_thread<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("pm-render".to_string()).spawn(move || {
        let work = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            _ = tell.send(work());
        }
    });
    if let Ok(result) = told.await {
        return Some(result);
    }
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (thread, work) {
        (Err(_), Some(work)) => catch_unwind(AssertUnwindSafe(work)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_finished_although_the_caller_stops_waiting_and_a_panic_is_told() {
        let (tell, told) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut working = Box::pin(on_own_thread(move || {
            wait.recv().expect("somebody says go");
            drop(tell.send(thread::current().name().map(str::to_string)));
        }));
        assert!(futures_util::poll!(&mut working).is_pending());
        drop(working);
        go.send(()).expect("it is waiting");
        assert_eq!(told.await.expect("it is finished").as_deref(), Some("pm-render"));
        assert_eq!(on_own_thread(|| std::panic::resume_unwind(Box::new("a bug"))).await, None::<()>);
    }
}
