//! The current task, more than one guard, and work on threads that may block.
#![allow(missing_docs, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use futures_util::{join, poll};
use pm::{KillError, Outcome, ProcList};
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Code far below, which nobody hands a task.
fn report(status: &'static str) -> String {
    pm::current().set_status(status);
    pm::current().id().to_string()
}

#[tokio::test]
async fn each_of_two_futures_has_its_own_task_at_each_poll() {
    let list = ProcList::new();
    let work = |id: &str| {
        let task = list.start(id);
        async move {
            let work = async {
                for _ in 0..3 {
                    assert_eq!(report("working"), task.id());
                    yield_now().await;
                }
            };
            task.run(work).await.unwrap();
            task.done().status
        }
    };
    assert_eq!(join!(work("a"), work("b")), ("working".into(), "working".into()));
    assert!(pm::try_current().is_none());
}

#[tokio::test]
async fn of_nested_tasks_the_innermost_counts_and_the_outer_is_back_after_it() {
    let list = ProcList::new();
    let outer = list.start("outer");
    outer
        .run(async {
            assert_eq!(report("before"), "outer");
            let inner = list.start("inner").scope(async {
                yield_now().await;
                report("inside")
            });
            assert_eq!(inner.await.unwrap(), "inner");
            assert_eq!(report("after"), "outer");
        })
        .await
        .unwrap();
    let statuses: Vec<_> = outer.done().history.into_iter().map(|step| step.status).collect();
    assert_eq!(statuses, ["init", "before", "after"]);
}

#[tokio::test]
async fn a_kill_point_far_below_dies_of_the_kill_of_the_current_task() {
    let list = ProcList::new();
    let task = list.start("req1");
    let work = async {
        yield_now().await;
        list.kill("req1", "too slow").unwrap();
        pm::current().status("querying")();
    };
    assert_eq!(task.run(work).await.unwrap_err().message(), "too slow");
    assert!(pm::current().is_none(), "also when it unwinds");
}

#[tokio::test]
async fn destructors_of_what_was_killed_still_know_their_task() {
    struct Reports;
    impl Drop for Reports {
        fn drop(&mut self) {
            report("rolling back");
        }
    }
    let list = ProcList::new();
    let task = list.start("req1");
    let mut run = Box::pin(task.run(async {
        let _reports = Reports;
        std::future::pending::<()>().await;
    }));
    assert!(poll!(&mut run).is_pending());
    list.kill("req1", "").unwrap();
    run.await.unwrap_err();
    assert_eq!(task.done().status, "rolling back");
}

#[tokio::test]
async fn a_panic_ends_its_task_as_panicked_although_it_is_caught_before_the_future_is_dropped() {
    use futures_util::FutureExt;
    let list = ProcList::new();
    let task = list.start("job1");
    let handle = task.handle();
    let mut scope = Box::pin(AssertUnwindSafe(task.scope(async { resume_unwind(Box::new("a bug")) })).catch_unwind());
    let () = (&mut scope).await.map(|never: Result<(), _>| never.unwrap()).unwrap_or(());
    assert!(handle.is_ended() && list.is_empty());
    assert_eq!((list.stats().panicked, list.stats().ended), (1, 0));
    drop(scope);
}

#[test]
fn a_task_ends_with_the_last_of_its_guards_whichever_that_is() {
    let list = ProcList::new();
    for last in 0..3 {
        let task = list.start("conn1");
        let mut guards = vec![task.keep().unwrap(), task.keep().unwrap(), task];
        let kept = guards.swap_remove(last);
        for guard in guards {
            drop(guard);
            assert!(!kept.is_ended() && list.len() == 1);
        }
        assert_eq!(kept.done().outcome, Some(Outcome::Ended));
        assert!(list.is_empty());
    }
    assert_eq!(list.stats().ended, 3);
}

#[test]
fn the_last_note_stands_and_a_panic_in_any_guard_is_how_it_ended() {
    let list = ProcList::new();
    let task = list.start("a");
    let kept = task.keep().unwrap();
    let earlier = task.done_with("head sent");
    assert_eq!((earlier.outcome, earlier.note.as_deref()), (None, Some("head sent")));
    let other = kept.keep().unwrap();
    other.done_with("closed");
    let proc = kept.done();
    assert_eq!((proc.outcome, proc.note.as_deref()), (Some(Outcome::Ended), Some("closed")));

    let task = list.start("b");
    let kept = task.keep().unwrap();
    let died = catch_unwind(AssertUnwindSafe(move || {
        let _kept = kept;
        resume_unwind(Box::new("a bug"))
    }));
    assert!(died.is_err());
    assert_eq!(task.done().outcome, Some(Outcome::Panicked));
}

#[test]
fn a_kept_task_is_killed_once_and_a_detached_guard_keeps_it() {
    let list = ProcList::new();
    let task = list.start("a");
    let kept = task.keep().unwrap();
    drop(task);
    let pending = list.request_kill("a", "enough").unwrap();
    assert!(kept.keep().is_some(), "also while it is being killed");
    kept.check().unwrap_err();
    assert!(pending.try_outcome().is_none());
    drop(kept);
    assert_eq!(pending.try_outcome().unwrap().outcome, Outcome::Killed);

    let task = list.start("b");
    let kept = task.keep().unwrap();
    let id = task.detach();
    drop(kept);
    let kept = {
        let handle_of_it = list.start("c");
        drop(handle_of_it);
        list.get(&id).unwrap()
    };
    assert_eq!(kept.outcome, None);
    assert_eq!(list.done(&id).unwrap().outcome, Some(Outcome::Ended));

    let task = list.start("d");
    let kept = task.keep().unwrap();
    list.done("d").unwrap();
    assert!(task.keep().is_none() && kept.is_ended());
    drop((task, kept));
    assert_eq!(list.stats().ended, 3, "each once: {:?}", list.stats());
}

#[test]
fn guards_that_are_given_up_at_once_end_the_task_once() {
    let list = ProcList::new();
    for round in 0..200 {
        let task = list.start("a");
        let guards = [task.keep().unwrap(), task.keep().unwrap(), task];
        let barrier = Arc::new(Barrier::new(3));
        let threads = guards.map(|guard| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                guard.done().outcome
            })
        });
        let ended = threads.map(|thread| thread.join().unwrap()).iter().flatten().count();
        assert!(ended >= 1, "the last one knows");
        assert_eq!((list.len(), list.stats().ended), (0, round + 1));
    }
}

#[test]
fn a_handle_kills_its_task_and_learns_why_it_cannot() {
    let list = ProcList::new();
    let task = list.start("a");
    task.kill("budget").unwrap();
    assert!(matches!(task.kill("again"), Err(KillError::AlreadyKilled { message, .. }) if message == "budget"));
    let handle = task.handle();
    drop(task);
    assert!(matches!(handle.kill(""), Err(KillError::NoSuchProcess { .. })));
    assert!(matches!(list.start("b").forbid_kill().kill(""), Err(KillError::Forbidden { .. })));
    let id = list.start("c").detach();
    list.kill(&id, "detached").unwrap();
}

#[test]
fn a_secret_that_is_known_later_is_masked() {
    let list = ProcList::new();
    list.set_cols(["user"]);
    let task = list.start("a");
    task.set_secret_col("user", "amy");
    assert!(list.contents().ends_with("***\n") && !format!("{:?}", task.done()).contains("amy"));
}

#[test]
fn a_detached_task_can_be_killed_when_its_list_is_gone() {
    let list = ProcList::new();
    let handle = {
        let task = list.start("a");
        let handle = task.handle();
        _ = task.detach();
        handle
    };
    drop(list);
    handle.kill("enough").unwrap();
    assert_eq!(handle.check().unwrap_err().message(), "enough");
}

#[tokio::test]
async fn blocking_work_keeps_its_task_in_the_list_until_it_has_returned() {
    let list = ProcList::new();
    let task = list.start("report1");
    let (go, wait) = mpsc::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let working = task.spawn_blocking(move |task| {
        assert_eq!(pm::current(), *task);
        begin.send(()).unwrap();
        wait.recv().unwrap();
        pm::current().status("merging")();
    });
    begun.await.unwrap();
    let pending = list.request_kill("report1", "too slow").unwrap();
    drop(task);
    assert!(pending.try_outcome().is_none() && list.len() == 1);
    go.send(()).unwrap();
    assert_eq!(working.await.unwrap().unwrap_err().message(), "too slow");
    assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
}

#[tokio::test]
async fn blocking_work_of_a_killed_task_does_not_begin() {
    let list = ProcList::new();
    let task = list.start("a");
    list.kill("a", "").unwrap();
    let (tell, told) = oneshot::channel();
    task.spawn_blocking(|_| tell.send(())).await.unwrap().unwrap_err();
    assert!(told.await.is_err());
}

#[tokio::test]
async fn a_panic_in_blocking_work_goes_on_and_is_how_the_task_ended() {
    let list = ProcList::new();
    let task = list.start("a");
    let working = task.spawn_blocking(|_| resume_unwind(Box::new("a bug")));
    let panic = tokio::spawn(async move { working.await.map(|never: Result<(), _>| never.is_ok()) }).await.unwrap_err();
    assert_eq!(*panic.into_panic().downcast::<&str>().unwrap(), "a bug");
    assert_eq!(task.done().outcome, Some(Outcome::Panicked));
}

#[test]
fn without_a_runtime_blocking_work_is_an_error() {
    let list = ProcList::new();
    let task = list.start("a");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let working = task.spawn_blocking(|_| ());
    let error = runtime.block_on(working).unwrap_err();
    assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
    let late = {
        let _inside = runtime.enter();
        task.spawn_blocking(|_| ())
    };
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // It has run before the runtime ended, or is told that it has not.
    _ = other.block_on(late);
    assert_eq!(task.done().outcome, Some(Outcome::Ended));
}

#[tokio::test]
async fn a_guard_that_its_own_kill_drops_says_nothing_of_it() {
    let list = ProcList::new();
    let task = list.start("req1");
    let mut run = Box::pin(task.run(async {
        let _kept = pm::current().keep().unwrap();
        std::future::pending::<()>().await;
    }));
    assert!(poll!(&mut run).is_pending());
    let pending = list.request_kill("req1", "too slow").unwrap();
    run.await.unwrap_err();
    drop(task);
    let ending = pending.outcome().await;
    assert_eq!((ending.outcome, ending.note), (Outcome::Killed, None));
}

#[test]
fn a_task_that_a_destructor_polls_while_unwinding_is_polled_to_its_end() {
    struct Cleans(ProcList, Arc<std::sync::Mutex<Vec<usize>>>);
    impl Drop for Cleans {
        fn drop(&mut self) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let work = async {
                yield_now().await;
                self.1.lock().unwrap().push(self.0.len());
            };
            runtime.block_on(self.0.start("cleanup").scope(work)).unwrap();
        }
    }
    let (list, seen) = (ProcList::new(), Arc::default());
    let cleans = Cleans(list.clone(), Arc::clone(&seen));
    let died = catch_unwind(AssertUnwindSafe(move || {
        let _cleans = cleans;
        resume_unwind(Box::new("a bug"))
    }));
    assert!(died.is_err());
    assert_eq!((seen.lock().unwrap().as_slice(), list.len()), (&[1][..], 0));
}

#[tokio::test]
async fn a_run_of_nobody_hides_no_task() {
    let list = ProcList::new();
    let nobody = pm::current();
    assert!(nobody.run(async { pm::try_current().is_none() }).await.unwrap());
    let task = list.start("a");
    let inside = task.run(async { nobody.run(async { pm::current().id().to_string() }).await.unwrap() });
    assert_eq!(inside.await.unwrap(), "a");
}
