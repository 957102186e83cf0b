//! What a kill does to the code that is killed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::future::{Future, pending};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pm::{KillError, Killed, Outcome, ProcList, Task};
use tokio::sync::Notify;

/// Awaits what is about to happen; a wake-up that is lost fails the test.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(std::time::Duration::from_secs(20), future).await.expect("a wake-up was lost")
}

/// A task that has been asked to die of `too slow`.
fn killed_task() -> (ProcList, Task) {
    let list = ProcList::new();
    let task = list.start("a");
    list.kill("a", "too slow").unwrap();
    (list, task)
}

#[test]
fn a_called_status_unwinds_with_the_reason_the_status_and_the_place() {
    let (_list, task) = killed_task();
    let line = line!() + 1;
    let killed = pm::catch(|| task.status("merging")()).unwrap_err();
    assert_eq!((killed.id(), killed.message(), killed.status()), ("a", "too slow", "merging"));
    assert_eq!((killed.location().file(), killed.location().line()), (file!(), line));
    assert_eq!(killed.to_string(), r#"process killed: "too slow""#);
}

#[test]
fn a_status_that_is_not_called_is_no_kill_point() {
    let (list, task) = killed_task();
    let kill_point = task.status("merging");
    assert_eq!(list.get("a").unwrap().status, "merging");
    assert_eq!(list.get("a").unwrap().killing.unwrap().message, "too slow");
    pm::catch(kill_point).unwrap_err();
}

#[test]
fn a_status_by_id_is_a_kill_point_that_outlives_the_id() {
    let (list, _task) = killed_task();
    let kill_point = {
        let id = String::from("a");
        list.status(&id, "merging")
    };
    let line = line!() - 2;
    let killed = pm::catch(kill_point).unwrap_err();
    assert_eq!((killed.status(), killed.location().line()), ("merging", line));
    list.status("nobody", "merging")();
}

#[test]
fn try_status_and_check_return_the_kill_with_their_own_place() {
    let (_list, task) = killed_task();
    let killed = task.try_status("querying").unwrap_err();
    assert_eq!((killed.status(), killed.location().line()), ("querying", line!() - 1));
    let killed = task.check().unwrap_err();
    assert_eq!((killed.status(), killed.location().line()), ("querying", line!() - 1));
}

#[test]
fn without_a_kill_no_kill_point_does_anything() {
    let list = ProcList::new();
    let task = list.start("a");
    task.status("x")();
    list.status("a", "y")();
    task.try_status("z").unwrap();
    task.check().unwrap();
    assert_eq!(task.done().outcome, Some(Outcome::Ended));
}

#[test]
fn the_row_stays_until_the_task_has_ended() {
    let (list, task) = killed_task();
    assert_eq!(list.len(), 1);
    task.check().unwrap_err();
    assert!(list.get("a").unwrap().killing.is_some());
    let end = task.done();
    assert_eq!((end.outcome, end.killing.unwrap().message), (Some(Outcome::Killed), "too slow".to_string()));
    assert!(list.is_empty());
}

#[test]
fn a_task_that_never_saw_its_kill_has_ended_by_itself() {
    let (_list, task) = killed_task();
    assert_eq!(task.done().outcome, Some(Outcome::Ended));
}

#[test]
fn a_task_that_panics_is_aborted_unless_it_saw_a_kill() {
    let list = ProcList::new();
    let outcome = |see: bool| {
        let task = list.start("a");
        list.kill("a", "").unwrap();
        let ended = Arc::new(Mutex::new(None));
        let told = Arc::clone(&ended);
        thread::spawn(move || {
            struct OnDrop(Option<Task>, Arc<Mutex<Option<Outcome>>>);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    *self.1.lock().unwrap() = self.0.take().unwrap().done().outcome;
                }
            }
            let guard = OnDrop(Some(task), told);
            if see {
                guard.0.as_ref().unwrap().check().unwrap_err();
            }
            panic::resume_unwind(Box::new("a bug"));
        })
        .join()
        .unwrap_err();
        *ended.lock().unwrap()
    };
    assert_eq!(outcome(false), Some(Outcome::Aborted));
    assert_eq!(outcome(true), Some(Outcome::Killed));
}

#[test]
fn a_kill_point_during_another_panic_does_nothing() {
    let (_list, task) = killed_task();
    struct CleansUp(Task);
    impl Drop for CleansUp {
        fn drop(&mut self) {
            self.0.status("rollback")();
            assert!(self.0.try_status("rollback").is_err(), "this one answers as always");
        }
    }
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let _cleans_up = CleansUp(task);
        panic::resume_unwind(Box::new("a bug"));
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a bug"), "the panic was not replaced, nor the program aborted");
}

#[test]
fn catch_lets_other_panics_and_results_through() {
    assert_eq!(pm::catch(|| 7).unwrap(), 7);
    let payload = catch_unwind(|| pm::catch(|| panic::resume_unwind(Box::new("a bug")))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a bug"));
}

#[test]
fn after_the_end_kill_points_do_nothing() {
    let (list, task) = killed_task();
    let handle = task.handle();
    drop(task);
    handle.check().unwrap();
    handle.try_status("late").unwrap();
    handle.status("late")();
    assert_eq!(list.kill("a", ""), Err(KillError::NoSuchProcess { id: "a".into() }));
}

#[test]
fn the_first_message_of_several_stands() {
    let (list, task) = killed_task();
    let refusal = list.kill("a", "me too").unwrap_err();
    assert_eq!(refusal.to_string(), r#"already killing a: "too slow""#);
    assert_eq!(task.check().unwrap_err().message(), "too slow");
}

#[test]
fn a_message_is_optional_and_bounded() {
    let list = ProcList::new();
    let (a, b) = (list.start("a"), list.start("b"));
    list.kill("a", "").unwrap();
    assert_eq!(a.check().unwrap_err().to_string(), "process killed");
    assert_eq!(list.kill("a", "").unwrap_err().to_string(), "already killing a");
    list.kill("b", "x".repeat(1000)).unwrap();
    let message = b.check().unwrap_err().message().to_string();
    assert_eq!((message.len(), message.ends_with("x…")), (512, true));
}

#[test]
fn what_an_error_prints_cannot_act_on_a_terminal() {
    let list = ProcList::new();
    let task = list.start("a b\x1b[2J");
    list.kill("a b\x1b[2J", "say \"hi\"\n\u{202e}").unwrap();
    assert_eq!(task.check().unwrap_err().to_string(), r#"process killed: "say \"hi\"\n\u{202e}""#);
    assert_eq!(list.kill("no\tbody", "").unwrap_err().to_string(), r"no such process 'no\tbody'");
    assert_eq!(
        list.kill("a b\x1b[2J", "").unwrap_err().to_string(),
        r#"already killing a\x20b\x1b[2J: "say \"hi\"\n\u{202e}""#
    );
}

#[test]
fn a_task_and_a_list_can_forbid_kills() {
    let list = ProcList::new();
    let before = list.start("before");
    list.forbid_kill(true);
    let _during = list.start("during");
    list.forbid_kill(false);
    let _after = list.start("after");
    let _itself = list.start("itself").forbid_kill();
    for (id, allowed) in [("before", true), ("during", false), ("after", true), ("itself", false)] {
        assert_eq!(list.kill(id, "").is_ok(), allowed, "{id}");
    }
    assert_eq!(list.kill("itself", "").unwrap_err().to_string(), "forbidden: itself may not be killed");
    before.check().unwrap_err();
}

#[tokio::test]
async fn run_returns_the_output_of_its_future() {
    let list = ProcList::new();
    let task = list.start("a");
    assert_eq!(task.run(async { 7 }).await.unwrap(), 7);
    assert_eq!(list.len(), 1, "the task goes on");
}

#[tokio::test]
async fn run_is_killed_while_it_is_parked_and_drops_its_future_first() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let list = ProcList::new();
    let task = list.start("a");
    let (parked, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (tell, guard) = (Arc::clone(&parked), OnDrop(Arc::clone(&dropped)));
    let line = line!() + 2;
    let running = tokio::spawn(async move {
        let result = task.run(async move {
            let _guard = guard;
            tell.notify_one();
            pending::<()>().await;
        });
        let killed = result.await.unwrap_err();
        (killed, dropped.load(Ordering::Relaxed))
    });
    parked.notified().await;
    list.kill("a", "too slow").unwrap();
    let (killed, dropped) = soon(running).await.unwrap();
    assert_eq!((killed.message(), killed.location().line(), dropped), ("too slow", line, 1));
    assert!(list.is_empty());
}

#[tokio::test]
async fn run_looks_before_the_first_poll() {
    let (_list, task) = killed_task();
    let polled = task.run(async { unreachable!("killed before it began") }).await;
    assert_eq!(polled.unwrap_err().message(), "too slow");
}

#[tokio::test]
async fn run_stops_the_unwinding_of_its_own_task_and_of_no_other() {
    let list = ProcList::new();
    let (a, b) = (list.start("a"), list.start("b"));
    let inner = a.handle();
    let killer = list.clone();
    let killed = a
        .run(async move {
            killer.kill("a", "self").unwrap();
            inner.status("merging")();
            unreachable!("it unwinds");
        })
        .await
        .unwrap_err();
    assert_eq!((killed.id(), killed.status()), ("a", "merging"));

    list.kill("b", "other").unwrap();
    let c = list.start("c");
    let killer = list.clone();
    let outer = tokio::spawn(async move {
        c.run(async move {
            killer.kill("c", "not this one").unwrap();
            b.status("x")()
        })
        .await
    });
    let killed = *outer.await.unwrap_err().into_panic().downcast::<Killed>().unwrap();
    assert_eq!(killed.id(), "b");

    let d = list.start("d");
    let outer = tokio::spawn(async move { d.run(async { panic::resume_unwind(Box::new("a bug")) }).await });
    assert_eq!(outer.await.unwrap_err().into_panic().downcast_ref(), Some(&"a bug"));
}

#[tokio::test]
async fn a_kill_point_in_a_destructor_of_a_killed_future_does_not_unwind_through_run() {
    struct CleansUp(pm::Handle);
    impl Drop for CleansUp {
        fn drop(&mut self) {
            self.0.status("rollback")();
        }
    }
    let list = ProcList::new();
    let task = list.start("a");
    let guard = CleansUp(task.handle());
    let killer = list.clone();
    let killed = task.run(async move {
        let _guard = guard;
        killer.kill("a", "self").unwrap();
        pending::<()>().await;
    });
    assert_eq!(killed.await.unwrap_err().message(), "self");
}

#[tokio::test]
async fn a_kill_that_the_destructors_of_a_finished_future_see_is_returned_too() {
    /// Killed while it finishes, with a kill point in its destructor.
    struct Finishes(ProcList, pm::Handle);
    impl Future for Finishes {
        type Output = u8;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<u8> {
            self.0.kill("a", "late").unwrap();
            std::task::Poll::Ready(7)
        }
    }
    impl Drop for Finishes {
        fn drop(&mut self) {
            self.1.status("cleanup")();
        }
    }
    let list = ProcList::new();
    let task = list.start("a");
    let killed = task.run(Finishes(list.clone(), task.handle())).await.unwrap_err();
    assert_eq!((killed.message(), killed.status()), ("late", "cleanup"));
    assert_eq!(task.done().outcome, Some(Outcome::Killed));
}

#[test]
fn tasks_and_kills_may_cross_a_catch_unwind() {
    let (_list, task) = killed_task();
    let payload = catch_unwind(|| task.status("merging")()).unwrap_err();
    let killed = *payload.downcast::<Killed>().unwrap();
    assert_eq!(catch_unwind(|| killed.message().to_string()).unwrap(), "too slow");
}

#[tokio::test]
async fn a_run_whose_task_ends_goes_on() {
    let list = ProcList::new();
    let task = list.start("a");
    let (resume, resumed) = tokio::sync::oneshot::channel();
    let running = task.run(resumed);
    tokio::pin!(running);
    assert!(futures_util::poll!(running.as_mut()).is_pending());
    list.kill("a", "").unwrap();
    list.done("a").unwrap();
    assert!(futures_util::poll!(running.as_mut()).is_pending());
    resume.send(7).unwrap();
    assert_eq!(running.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn killed_resolves_for_all_who_wait_before_and_after_the_kill() {
    let list = ProcList::new();
    let task = list.start("a");
    let waiting = [task.killed(), task.killed()].map(tokio::spawn);
    tokio::task::yield_now().await;
    list.kill("a", "too slow").unwrap();
    for waiter in waiting {
        assert_eq!(soon(waiter).await.unwrap().message(), "too slow");
    }
    let line = line!() + 1;
    assert_eq!(soon(task.killed()).await.location().line(), line);
    assert_eq!(task.done().outcome, Some(Outcome::Killed));
}

#[tokio::test]
async fn killed_waits_for_ever_after_the_end() {
    let (_list, task) = killed_task();
    let handle = task.handle();
    let before = handle.killed();
    drop(task);
    for waiting in [before, handle.killed()] {
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting).is_pending());
    }
}

#[test]
fn a_kill_is_no_bug_for_the_panic_hook() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().is::<Killed>() {
            CALLS.fetch_add(1, Ordering::Relaxed);
        }
        before(info);
    }));
    let (_list, task) = killed_task();
    thread::spawn(move || task.status("x")()).join().unwrap_err().downcast::<Killed>().unwrap();
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
}
