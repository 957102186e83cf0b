//! Aside: work that would hold up a session, on a thread of its own.
//!
//! Not on the runtime's blocking threads: these may all be busy with the very
//! work that somebody wants to kill.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own, or here when the system has no more
/// threads, because that is when it matters.
///
/// # Cancel safety
///
/// Work that has begun is finished, whether or not anybody waits for it.
///
/// # Panics
///
/// When `work` does.
pub(crate) async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("pm-aside".to_string()).spawn(move || {
        let work = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            drop(tell.send(work()));
        }
    });
    if let Ok(result) = told.await {
        return result;
    }
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (thread, work) {
        (Err(_), Some(work)) => work(),
        _ => panic!("a thread of the processlist panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_finished() {
        let (tell, told) = oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let mut working = Box::pin(aside(move || {
            wait.recv().expect("somebody says go");
            drop(tell.send(thread::current().name().map(str::to_string)));
        }));
        assert!(futures_util::poll!(&mut working).is_pending());
        drop(working);
        go.send(()).expect("it is waiting");
        assert_eq!(told.await.expect("it is finished").as_deref(), Some("pm-aside"));
    }
}
