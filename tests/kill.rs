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
fn a_closure_by_id_can_be_returned_from_where_the_id_was_made() {
    fn kill_point(list: &ProcList, n: u32) -> impl FnOnce() + use<> {
        let id = format!("job{n}");
        list.status(&id, format!("step {n}"))
    }
    let list = ProcList::new();
    let task = list.start("job7");
    let point = kill_point(&list, 7);
    list.kill("job7", "").unwrap();
    assert_eq!(pm::catch(point).unwrap_err(), task.check().unwrap_err());
}

#[test]
fn kill_points_by_id_return_the_kill_with_their_own_place() {
    let (list, _task) = killed_task();
    let killed = list.try_status("a", "querying").unwrap_err();
    assert_eq!((killed.status(), killed.location().line()), ("querying", line!() - 1));
    let killed = list.check("a").unwrap_err();
    assert_eq!((killed.status(), killed.location().line()), ("querying", line!() - 1));
    list.check("nobody").unwrap();
    list.try_status("nobody", "x").unwrap();
}

#[test]
fn the_same_task_and_the_same_kill_are_equal() {
    let list = ProcList::new();
    let (a, b) = (list.start("a"), list.start("b"));
    assert!(a.handle() == *a && a.handle() != b.handle());
    list.kill("a", "x").unwrap();
    list.kill("b", "x").unwrap();
    assert_eq!(a.check(), a.check());
    assert_ne!(a.check(), b.check());
    let names = [Outcome::Ended, Outcome::Killed, Outcome::Panicked].map(|outcome| outcome.to_string());
    assert_eq!(names, ["ended", "killed", "panicked"]);
}

#[test]
fn a_kill_is_an_io_error_that_is_not_tried_again() {
    let (_list, task) = killed_task();
    let copy = || -> std::io::Result<()> { Ok(task.check()?) };
    let error = copy().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (std::io::ErrorKind::Other, r#"process killed: "too slow""#)
    );
    assert_eq!(error.downcast::<Killed>().unwrap().message(), "too slow");
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
fn a_task_that_panics_has_panicked_unless_it_saw_a_kill() {
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
    assert_eq!(outcome(false), Some(Outcome::Panicked));
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
fn after_an_end_without_a_kill_kill_points_do_nothing() {
    let list = ProcList::new();
    let handle = list.start("a").handle();
    handle.check().unwrap();
    handle.try_status("late").unwrap();
    handle.status("late")();
    assert_eq!(list.kill("a", ""), Err(KillError::NoSuchProcess { id: "a".into() }));
    assert!(handle.is_ended() && !handle.is_being_killed());
}

#[test]
fn a_kill_reaches_every_holder_of_a_handle_also_when_the_guard_is_gone() {
    let (list, task) = killed_task();
    let handle = task.handle();
    let by_id = list.status("a", "by id");
    drop(task);
    assert_eq!(handle.check().unwrap_err().message(), "too slow");
    assert_eq!(handle.try_status("late").unwrap_err().message(), "too slow");
    assert_eq!(pm::catch(|| handle.status("late")()).unwrap_err().message(), "too slow");
    assert_eq!(pm::catch(by_id).unwrap_err().message(), "too slow");
    assert!(handle.is_ended() && handle.is_being_killed());
    assert_eq!(list.kill("a", ""), Err(KillError::NoSuchProcess { id: "a".into() }));
}

#[tokio::test]
async fn helpers_that_look_after_the_end_are_killed_too() {
    let list = ProcList::new();
    let task = list.start("a");
    let (parked, handle) = (task.handle(), task.handle());
    let waiting = tokio::spawn(task.killed());
    let running = tokio::spawn(async move { parked.run(pending::<()>()).await });
    tokio::task::yield_now().await;
    list.kill("a", "too slow").unwrap();
    drop(task);
    assert_eq!(soon(waiting).await.unwrap().message(), "too slow");
    assert_eq!(soon(running).await.unwrap().unwrap_err().message(), "too slow");
    // And one that has not even begun.
    assert_eq!(soon(handle.run(pending::<()>())).await.unwrap_err().message(), "too slow");
    assert_eq!(soon(handle.killed()).await.message(), "too slow");
}

#[test]
fn no_helper_misses_a_kill_that_the_operator_was_told_of() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..200 {
            let list = ProcList::new();
            let task = list.start("parent");
            let helpers: Vec<_> = (0..20)
                .map(|_| {
                    let handle = task.handle();
                    tokio::spawn(async move { handle.run(pending::<()>()).await })
                })
                .collect();
            let parent = tokio::spawn(async move { task.run(pending::<()>()).await });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            list.kill("parent", "").unwrap();
            soon(parent).await.unwrap().unwrap_err();
            for helper in helpers {
                soon(helper).await.unwrap().unwrap_err();
            }
        }
    });
}

#[tokio::test]
async fn an_end_is_told_killed_or_not_and_to_look_is_not_to_see() {
    let list = ProcList::new();
    let (a, b) = (list.start("a"), list.start("b"));
    let helpers = [a.handle(), b.handle()];
    let waiting = helpers.clone().map(|helper| tokio::spawn(helper.ended()));
    tokio::task::yield_now().await;
    list.kill("b", "").unwrap();
    assert!(!helpers[0].is_being_killed() && helpers[1].is_being_killed());
    assert!(helpers.iter().all(|helper| !helper.is_ended()));
    drop(a);
    assert_eq!(b.done().outcome, Some(Outcome::Ended), "nobody has seen the kill");
    for waiting in waiting {
        soon(waiting).await.unwrap();
    }
    soon(helpers[0].ended()).await;
    assert!(list.is_empty() && helpers.iter().all(|helper| helper.is_ended()));
}

#[test]
fn a_task_that_is_unwound_by_the_kill_of_another_has_ended() {
    let list = ProcList::new();
    let outer = list.start("outer");
    list.kill("outer", "too slow").unwrap();
    let handle = outer.handle();
    let mut inner = None;
    let killed = pm::catch(|| {
        let _guard = Last(Some(list.start("inner")), &mut inner);
        outer.status("merging")();
    });
    assert!(killed.is_err());
    let inner = inner.unwrap();
    assert_eq!((inner.outcome, inner.note.as_deref()), (Some(Outcome::Ended), Some("unwound by the kill of outer")));
    let outer = outer.done();
    assert_eq!((outer.outcome, outer.note), (Some(Outcome::Killed), None));

    // A panic after a kill that somebody else has caught is a panic.
    let mut victim = None;
    catch_unwind(AssertUnwindSafe(|| handle.status("late")())).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| {
        let _guard = Last(Some(list.start("victim")), &mut victim);
        panic::resume_unwind(Box::new("a bug"));
    }))
    .unwrap_err();
    assert_eq!(victim.unwrap().outcome, Some(Outcome::Panicked));
}

#[test]
fn a_panic_after_a_kill_that_was_caught_is_a_panic() {
    let (list, task) = killed_task();
    let mut victim = None;
    let inner = list.start("inner");
    let killed = pm::catch(|| task.status("merging")()).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| {
        let _guard = Last(Some(inner), &mut victim);
        panic::resume_unwind(Box::new("a bug"));
    }))
    .unwrap_err();
    assert_eq!((victim.unwrap().outcome, killed.message()), (Some(Outcome::Panicked), "too slow"));
}

#[test]
fn a_task_that_starts_after_a_kill_whose_payload_is_kept_can_panic() {
    let (list, task) = killed_task();
    let kept = catch_unwind(AssertUnwindSafe(|| task.status("merging")())).unwrap_err();
    let mut victim = None;
    catch_unwind(AssertUnwindSafe(|| {
        let _guard = Last(Some(list.start("b")), &mut victim);
        panic::resume_unwind(Box::new("a bug"));
    }))
    .unwrap_err();
    assert_eq!(victim.unwrap().outcome, Some(Outcome::Panicked));
    assert!(kept.is::<Killed>());
}

/// Ends its task when it is dropped, and keeps the last snapshot.
struct Last<'a>(Option<Task>, &'a mut Option<pm::Proc>);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        *self.1 = self.0.take().map(Task::done);
    }
}

#[tokio::test]
async fn async_tasks_below_one_that_is_killed_end_as_those_on_threads_do() {
    let list = ProcList::new();
    let outer = list.start("outer");
    let handle = outer.handle();
    let ends = Arc::new(Mutex::new(Vec::new()));
    struct Told(Option<Task>, Arc<Mutex<Vec<pm::Proc>>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0.take().unwrap().done());
        }
    }
    for parks in [true, false] {
        let inner = Told(Some(list.start("inner")), Arc::clone(&ends));
        let (outer, killer) = (list.start("outer"), list.clone());
        let victim = outer.handle();
        let result = outer
            .run(async move {
                let _inner = inner;
                killer.kill(victim.id(), "").unwrap();
                if parks {
                    pending::<()>().await;
                }
                victim.status("merging")();
            })
            .await;
        result.unwrap_err();
    }
    let ends = ends.lock().unwrap();
    assert_eq!(ends.len(), 2);
    for end in ends.iter() {
        let note = end.note.as_deref().unwrap();
        assert_eq!((end.outcome, note), (Some(Outcome::Ended), "unwound by the kill of outer+2"));
    }
    assert!(!handle.is_being_killed());
}

#[test]
fn kill_points_that_a_task_passes_after_it_saw_its_kill_are_counted() {
    let (_list, task) = killed_task();
    for row in 0..40 {
        let _ignored = task.try_status(format!("row {row}"));
    }
    task.set_status("rollback");
    let end = task.done();
    assert_eq!(
        (end.outcome, end.note.as_deref()),
        (Some(Outcome::Killed), Some("39 kill points after it saw the kill"))
    );
    let (_list, task) = killed_task();
    task.check().unwrap_err();
    assert_eq!(task.done().note, None);
    let (_list, task) = killed_task();
    let (mut end, handle) = (None, task.handle());
    catch_unwind(AssertUnwindSafe(|| {
        struct CleansUp(pm::Handle);
        impl Drop for CleansUp {
            fn drop(&mut self) {
                self.0.check().unwrap_err();
                self.0.try_status("rollback").unwrap_err();
            }
        }
        let _last = Last(Some(task), &mut end);
        let _cleans_up = CleansUp(handle.clone());
        handle.status("merging")();
    }))
    .unwrap_err();
    assert_eq!(end.unwrap().note, None, "what is done while unwinding is cleaning up");
}

#[tokio::test]
async fn work_that_is_given_up_is_abandoned_unless_the_task_goes_on() {
    let list = ProcList::new();
    let abandon = async |id: &str| {
        let task = list.start(id);
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, task.run(pending::<()>())).await;
        given_up.unwrap_err();
        task
    };
    let task = abandon("shown").await;
    assert_eq!(list.get("shown").unwrap().note.as_deref(), Some("abandoned"));
    let handle = task.handle();
    task.set_status("goes on");
    assert_eq!(list.get("shown").unwrap().note, None);
    drop(task);
    assert!(handle.is_ended());

    // What becomes of each is seen by `done` at the port: see tests/list.rs and the session.
    for clear_abandoned in [
        |task: &Task| task.set_status("x"),
        |task: &Task| task.set_col("x", 1),
        |task: &Task| task.check().unwrap(),
        |task: &Task| task.status("x")(),
    ] {
        let task = abandon("a").await;
        clear_abandoned(&task);
        assert_eq!(list.get("a").unwrap().note, None);
    }
    let task = abandon("b").await;
    task.run(async {}).await.unwrap();
    assert_eq!(list.get("b").unwrap().note, None);
    assert_eq!(abandon("c").await.done().note, None, "it was ended on purpose");

    // What its destructors report does not mean that it goes on.
    let task = list.start("d");
    let reports = Reports(task.handle());
    let given_up = task.run(async move {
        let _reports = reports;
        pending::<()>().await;
    });
    tokio::time::timeout(std::time::Duration::ZERO, given_up).await.unwrap_err();
    let shown = list.get("d").unwrap();
    assert_eq!((shown.status.as_str(), shown.note.as_deref()), ("closing", Some("abandoned")));

    // An abort drops the guard with the run: the row is gone, its end is remembered.
    let task = list.start("aborted");
    let handle = task.handle();
    let aborted = tokio::spawn(async move { task.run(pending::<()>()).await });
    tokio::task::yield_now().await;
    aborted.abort();
    aborted.await.unwrap_err();
    assert!(handle.is_ended());
}

/// Has a kill point in its destructor, as code that reports what it does.
struct Reports(pm::Handle);

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.status("closing")();
    }
}

#[tokio::test]
async fn the_unwinding_of_a_kill_never_leaves_run() {
    let list = ProcList::new();
    let task = list.start("a");
    // A future that is dropped after its first poll.
    let reports = Reports(task.handle());
    let mut run = Box::pin(task.run(async move {
        let _reports = reports;
        pending::<()>().await;
    }));
    assert!(futures_util::poll!(&mut run).is_pending());
    list.kill("a", "too slow").unwrap();
    drop(run);
    assert_eq!(task.check().unwrap_err().message(), "too slow");

    // The output of one that is ready, which nobody will get.
    let task = list.start("b");
    let (handle, inside, output) = (task.handle(), Reports(task.handle()), Reports(task.handle()));
    let killer = list.clone();
    let result = handle
        .run(async move {
            let _inside = inside;
            killer.kill("b", "too slow").unwrap();
            output
        })
        .await;
    assert_eq!(result.map(|_| ()).unwrap_err().message(), "too slow");
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
async fn killed_waits_for_ever_after_an_end_without_a_kill() {
    let list = ProcList::new();
    let task = list.start("a");
    let handle = task.handle();
    let mut before = handle.killed();
    assert!(futures_util::poll!(&mut before).is_pending());
    drop(task);
    for mut waiting in [before, handle.killed()] {
        assert!(futures_util::poll!(&mut waiting).is_pending());
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

#[tokio::test]
async fn a_scope_ends_its_task_with_its_future() {
    let list = ProcList::new();
    let work = tokio::spawn(list.start("a").scope(async { 7 }));
    assert_eq!(work.await.unwrap().unwrap(), 7);
    assert!(list.is_empty(), "the guard is not dropped before, and not later");

    let started = Arc::new(Notify::new());
    let runs = Arc::clone(&started);
    let work = tokio::spawn(list.start("b").scope(async move {
        runs.notify_one();
        pending::<()>().await
    }));
    started.notified().await;
    let kill = list.request_kill("b", "too slow").unwrap();
    assert_eq!(soon(work).await.unwrap().unwrap_err().message(), "too slow");
    assert_eq!(soon(kill.outcome()).await.outcome, Outcome::Killed);

    let task = list.start("c");
    let handle = task.handle();
    let mut scope = Box::pin(task.scope(pending::<()>()));
    assert!(futures_util::poll!(&mut scope).is_pending());
    drop(scope);
    assert!(handle.is_ended() && list.is_empty());
}

#[tokio::test]
async fn an_outcome_is_told_to_all_who_wait_whenever_they_ask() {
    let list = ProcList::new();
    let task = list.start("a");
    task.set_status("merging");
    let kill = list.request_kill("a", "too slow").unwrap();
    assert_eq!((kill.id(), kill.status()), ("a", "merging"));
    assert_eq!(list.request_kill("a", "me too").unwrap_err().to_string(), r#"already killing a: "too slow""#);
    let waiting = (0..3).map(|_| tokio::spawn(kill.outcome())).collect::<Vec<_>>();
    let mut dropped = kill.outcome();
    assert!(futures_util::poll!(&mut dropped).is_pending() && kill.try_outcome().is_none());
    drop(dropped);
    task.set_status("rollback");
    drop(task);
    for outcome in waiting {
        assert_eq!(soon(outcome).await.unwrap().outcome, Outcome::Ended);
    }
    let ending = soon(kill.outcome()).await;
    assert_eq!((ending.status.as_str(), ending.note, kill.try_outcome().is_some()), ("rollback", None, true));
}

#[test]
fn a_note_stands_whatever_ends_the_task() {
    let list = ProcList::new();
    let proc = list.start("a").done_with("x".repeat(1000));
    assert_eq!((proc.outcome, proc.note.map(|note| note.len())), (Some(Outcome::Ended), Some(256)));
    struct Notes(Option<Task>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.take().unwrap().done_with("rolled back");
        }
    }
    let kill = {
        let notes = Notes(Some(list.start("b")));
        let kill = list.request_kill("b", "").unwrap();
        panic::catch_unwind(AssertUnwindSafe(move || {
            let _notes = notes;
            panic::resume_unwind(Box::new("a bug"));
        }))
        .unwrap_err();
        kill.try_outcome().unwrap()
    };
    assert_eq!((kill.outcome, kill.note.as_deref()), (Outcome::Panicked, Some("rolled back")));
}

#[test]
fn a_task_that_a_destructor_starts_and_ends_while_unwinding_did_its_work() {
    let list = ProcList::new();
    struct CleansUp(ProcList, Arc<Mutex<Vec<pm::Proc>>>);
    impl Drop for CleansUp {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0.start("cleanup").done());
        }
    }
    let ends = Arc::new(Mutex::new(Vec::new()));
    let victim = list.start("a");
    list.kill("a", "").unwrap();
    let _ = pm::catch(|| {
        let _cleans_up = CleansUp(list.clone(), Arc::clone(&ends));
        victim.status("merging")();
    });
    let cleans_up = CleansUp(list.clone(), Arc::clone(&ends));
    catch_unwind(AssertUnwindSafe(move || {
        let _cleans_up = cleans_up;
        panic::resume_unwind(Box::new("a bug"));
    }))
    .unwrap_err();
    let ends = ends.lock().unwrap();
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| (end.outcome, &end.note) == (Some(Outcome::Ended), &None)), "{ends:?}");
}

#[test]
fn a_kill_that_is_resumed_is_told_from_a_panic() {
    let (list, task) = killed_task();
    let killed = pm::catch(|| task.status("merging")()).unwrap_err();
    let other = list.start("b");
    let handle = other.handle();
    drop(task);
    pm::catch(move || {
        let _other = other;
        killed.resume_unwind()
    })
    .unwrap_err();
    assert!(handle.is_ended());
    assert_eq!(list.stats().panicked, 0);
}

#[tokio::test]
async fn no_kill_leaves_the_drop_of_a_run_whosever_it_is() {
    let (_list, victim) = killed_task();
    let list = ProcList::new();
    let outer = list.start("outer");
    struct KillPoint(Task);
    impl Drop for KillPoint {
        fn drop(&mut self) {
            self.0.status("closing")();
        }
    }
    let point = KillPoint(victim);
    let mut run = Box::pin(outer.run(async move {
        let _point = point;
        pending::<()>().await
    }));
    assert!(futures_util::poll!(&mut run).is_pending());
    drop(run); // without a panic
    assert_eq!(outer.done().outcome, Some(Outcome::Ended));
}

#[tokio::test]
async fn a_run_that_was_never_polled_gives_no_work_up() {
    let list = ProcList::new();
    let task = list.start("a");
    drop(task.run(pending::<()>()));
    assert_eq!(task.done().note, None);
    let task = list.start("b");
    let mut run = Box::pin(task.run(pending::<()>()));
    assert!(futures_util::poll!(&mut run).is_pending());
    drop(run);
    let handle = task.handle();
    let _still_waits = handle.killed();
    drop(task);
    let last = list.clone();
    assert!(last.stats().ended == 2 && !last.contents().contains("abandoned"));
}

#[test]
fn futures_can_be_held_in_a_struct_without_a_box() {
    use pm::future::{Run, Scope, WaitEnded, WaitKilled, WaitOutcome};
    #[allow(dead_code)]
    struct Middleware {
        run: Run<std::future::Ready<()>>,
        scope: Scope<std::future::Ready<()>>,
        killed: WaitKilled,
        ended: WaitEnded,
        outcome: WaitOutcome,
    }
    fn is_sent<T: Send + Sync + 'static>() {}
    fn waits<T: Send + Sync + Unpin + 'static>() {}
    is_sent::<Middleware>();
    is_sent::<(Task, pm::Handle, pm::PendingKill, pm::Ending, pm::Killed, pm::PortCommand, pm::Server)>();
    waits::<(WaitKilled, WaitEnded, WaitOutcome)>();
}

#[tokio::test]
async fn only_work_that_was_given_up_is_abandoned() {
    let list = ProcList::new();
    list.keep_done(8);
    let task = list.start("never begun");
    let handle = task.handle();
    drop(task.scope(pending::<()>()));
    assert!(handle.is_ended());
    let task = list.start("a part");
    let inner = task.handle();
    task.run(async {
        let mut part = Box::pin(inner.run(pending::<()>()));
        assert!(futures_util::poll!(&mut part).is_pending());
    })
    .await
    .unwrap();
    assert_eq!(list.get("a part").unwrap().note, None);
}
