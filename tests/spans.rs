//! The feature `tracing-layer`: a program that is instrumented already is a processlist.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::mpsc;
use std::thread;

use pm::{Outcome, ProcList, TracingLayer};
use tokio::task::yield_now;
use tracing::{Instrument, debug_span, info, info_span, instrument};
use tracing_subscriber::prelude::*;

/// Runs `program` with a layer whose spans are in the list that it gets.
fn listed(layer: impl FnOnce(TracingLayer) -> TracingLayer, program: impl FnOnce(&ProcList)) {
    let list = ProcList::new();
    let subscriber = tracing_subscriber::registry().with(layer(pm::tracing_layer().list(&list)));
    tracing::subscriber::with_default(subscriber, || program(&list));
    assert!(list.is_empty(), "{:?}", list.procs());
    assert!(pm::try_current().is_none());
}

fn as_is(layer: TracingLayer) -> TracingLayer {
    layer
}

fn status(list: &ProcList, id: &str) -> String {
    list.get(id).unwrap().status
}

#[test]
fn a_span_with_an_id_is_a_task_with_its_fields_as_columns_while_it_is_open() {
    listed(as_is, |list| {
        let job =
            info_span!("import", pm.id = "import7", file = "orders.csv", rows = 17u64, kind = tracing::field::Empty);
        let other = info_span!("other");
        assert_eq!(list.len(), 1);
        job.record("kind", tracing::field::debug(Some(1)));
        let proc = list.get("import7").unwrap();
        let cols: Vec<_> = proc.cols.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (proc.status.as_str(), cols),
            ("import", vec!["file=orders.csv".into(), "rows=17".into(), "kind=Some(1)".into()])
        );
        drop(other);
        let twin = job.clone();
        drop(job);
        assert_eq!(list.len(), 1, "it has another handle");
        drop(twin);
    });
}

#[test]
fn the_innermost_open_span_below_is_the_status_and_it_goes_back() {
    listed(as_is, |list| {
        let job = info_span!("handler", pm.id = 5).entered();
        assert_eq!(status(list, "5"), "handler");
        let db = info_span!("db").entered();
        let query = debug_span!("query");
        assert_eq!(status(list, "5"), "handler > db > query");
        let fetch = info_span!(parent: &db, "fetch");
        assert_eq!(status(list, "5"), "handler > db > fetch");
        drop(query); // not the last that was opened
        assert_eq!(status(list, "5"), "handler > db > fetch");
        drop(fetch);
        assert_eq!(status(list, "5"), "handler > db");
        drop(db);
        assert_eq!(status(list, "5"), "handler");
        drop(job);
    });
}

#[test]
fn roots_and_chosen_spans_are_listed_under_their_name_and_a_number() {
    listed(TracingLayer::roots, |list| {
        let _root = info_span!("import").entered();
        let _below = info_span!("step").entered();
        let _odd = info_span!(parent: None, "HTTP request");
        let mut ids: Vec<_> = list.procs().into_iter().map(|proc| (proc.id, proc.status)).collect();
        ids.sort();
        assert_eq!(ids, [("import1".into(), "import > step".into()), ("span1".into(), "HTTP request".into())]);
        let _own = info_span!(target: "pm::audit", parent: None, "ours");
        assert_eq!(list.len(), 2, "this crate's are not");
    });
    listed(
        |layer| layer.spans(|metadata| metadata.name() == "job"),
        |list| {
            let _outer = info_span!("outer").entered();
            let _job = info_span!("job").entered();
            assert_eq!(list.procs()[0].id, "job1");
        },
    );
}

#[test]
fn chosen_events_are_the_status() {
    listed(
        |layer| layer.events(|metadata| *metadata.level() == tracing::Level::INFO),
        |list| {
            let _job = info_span!("import", pm.id = "a").entered();
            let _below = info_span!("step").entered();
            info!(row = 3, "copying {}", "orders");
            assert_eq!(status(list, "a"), "copying orders");
            tracing::debug!("not this one");
            info!(target: "pm::audit", "nor this");
            assert_eq!(status(list, "a"), "copying orders");
        },
    );
}

#[instrument(fields(pm.id = id))]
async fn import(id: &str) -> Result<&'static str, pm::Killed> {
    for _ in 0..3 {
        step().await?;
    }
    Ok("done")
}

#[instrument]
async fn step() -> Result<(), pm::Killed> {
    assert_eq!(pm::current().id(), "import7", "below, too");
    yield_now().await;
    pm::current().check()
}

#[test]
fn an_instrumented_program_is_listed_and_killed_without_a_change_but_for_its_kill_points() {
    listed(as_is, |list| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut other = None;
        let killer = async {
            yield_now().await;
            assert_eq!(status(list, "import7"), "import > step");
            assert!(pm::current().is_none(), "not between its polls");
            other = Some(list.request_kill("import7", "too slow").unwrap());
        };
        let (result, ()) = runtime.block_on(async { tokio::join!(import("import7"), killer) });
        assert_eq!(result.unwrap_err().message(), "too slow");
        assert_eq!(other.unwrap().try_outcome().unwrap().outcome, Outcome::Killed);
        assert_eq!(runtime.block_on(import("import7")).unwrap(), "done");
    });
}

#[test]
fn a_status_of_such_a_task_never_unwinds_and_does_not_see_the_kill() {
    listed(as_is, |list| {
        let job = info_span!("import", pm.id = "a").entered();
        let pending = list.request_kill("a", "").unwrap();
        pm::current().status("copying")();
        assert_eq!(status(list, "a"), "copying");
        drop(job);
        assert_eq!(pending.try_outcome().unwrap().outcome, Outcome::Ended, "nothing looked");
        let job = info_span!("import", pm.id = "b").entered();
        list.kill("b", "").unwrap();
        pm::current().try_status("copying").unwrap_err();
        drop(job);
    });
}

#[test]
fn a_run_inside_is_killed_where_it_is_parked() {
    listed(as_is, |list| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let work = async { pm::current().run(std::future::pending::<()>()).await };
        let killer = async {
            yield_now().await;
            list.kill("a", "too slow").unwrap();
        };
        let work = work.instrument(info_span!("import", pm.id = "a"));
        let (result, ()) = runtime.block_on(async { tokio::join!(work, killer) });
        assert_eq!(result.unwrap_err().message(), "too slow");
    });
}

#[test]
fn spans_may_be_left_in_any_order_and_a_guard_held_across_an_await_leaves_nothing_behind() {
    listed(as_is, |list| {
        let (a, b) = (info_span!("a", pm.id = "a"), info_span!("b", pm.id = "b"));
        let (in_a, in_b) = (a.enter(), b.enter());
        drop(in_a);
        assert_eq!(pm::current().id(), "b");
        drop(in_b);
        assert!(pm::try_current().is_none());

        let task = list.start("req1");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let held = async {
            let _held = a.enter();
            yield_now().await;
            pm::current().id().to_string()
        };
        let outside = async {
            assert!(pm::try_current().is_none(), "the scope of the task is over");
            yield_now().await;
        };
        let (id, ()) = runtime.block_on(async { tokio::join!(task.run(held), outside) });
        assert_eq!(id.unwrap(), "req1");
        assert!(pm::try_current().is_none());

        // Dropped outside of the task while the span is entered.
        let mut run = Box::pin(task.run(async {
            let _held = a.enter();
            std::future::pending::<()>().await;
        }));
        runtime.block_on(async { assert!(futures_util::poll!(&mut run).is_pending()) });
        drop(run);
        assert!(pm::try_current().is_none());
    });
}

#[test]
fn a_task_may_end_on_another_thread_and_by_a_panic() {
    listed(as_is, |list| {
        let job = info_span!("import", pm.id = "a");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let (entered, wait) = mpsc::channel();
        let worker = thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || {
                let _job = job.entered();
                entered.send(pm::current().id().to_string()).unwrap();
                std::panic::resume_unwind(Box::new("a bug"));
            })
        });
        assert_eq!(wait.recv().unwrap(), "a");
        assert!(worker.join().is_err());
        assert_eq!((list.stats().panicked, list.len()), (1, 0));
    });
}

#[test]
fn a_value_whose_debug_is_traced_itself_blocks_nothing() {
    struct Traced;
    impl std::fmt::Debug for Traced {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let _inner = info_span!("inner").entered();
            info!("formatting");
            f.write_str("traced")
        }
    }
    listed(
        |layer| layer.events(|_| true),
        |list| {
            let job = info_span!("import", pm.id = "a", value = ?Traced, late = tracing::field::Empty).entered();
            job.record("late", tracing::field::debug(Traced));
            let cols = list.get("a").unwrap().cols;
            assert_eq!(cols.len(), 2, "{cols:?}");
        },
    );
}

/// A value whose `Debug` opens a span.
struct OpensSpan;

impl std::fmt::Debug for OpensSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _inner = info_span!("inner").entered();
        f.write_str("traced")
    }
}

#[test]
fn beside_a_layer_that_formats_under_a_lock_nothing_blocks() {
    let list = ProcList::new();
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = tracing_subscriber::registry().with(fmt).with(pm::tracing_layer().list(&list));
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        tracing::subscriber::with_default(subscriber, || {
            let job = info_span!("import", pm.id = "a", late = tracing::field::Empty).entered();
            job.record("late", tracing::field::debug(OpensSpan));
        });
        done.send(()).unwrap();
    });
    waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it came to its end");
    assert!(list.is_empty());
}

#[test]
fn two_layers_and_two_subscribers_do_not_meet() {
    let (a, b) = (ProcList::new(), ProcList::new());
    let layers = tracing_subscriber::registry().with(pm::tracing_layer().list(&a)).with(pm::tracing_layer().list(&b));
    tracing::subscriber::with_default(layers, || {
        let job = info_span!("import", pm.id = "a").entered();
        assert_eq!((a.len(), b.len()), (1, 1));
        let other = tracing_subscriber::registry().with(pm::tracing_layer().list(&b));
        tracing::subscriber::with_default(other, || info_span!("plain").in_scope(|| {}));
        assert_eq!(pm::current().id(), "a", "a span of another subscriber has the same number");
        drop(job);
        assert!(pm::try_current().is_none());
    });
    assert!(a.is_empty() && b.is_empty());
}

#[test]
fn a_panic_in_a_span_is_how_its_task_ended_also_when_it_was_caught_before() {
    listed(as_is, |list| {
        let job = info_span!("import", pm.id = "a");
        let bug = || job.in_scope(|| std::panic::resume_unwind(Box::new("a bug")));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(bug)).is_err());
        drop(job);
        assert_eq!((list.stats().panicked, list.stats().ended), (1, 0));
    });
}

#[test]
fn many_spans_below_one_are_closed_in_any_order() {
    listed(as_is, |list| {
        let job = info_span!("import", pm.id = "a").entered();
        let spans: Vec<_> = (0..5_000).map(|_| info_span!("step")).collect();
        assert_eq!(status(list, "a"), "import > step");
        drop(spans);
        assert_eq!(status(list, "a"), "import");
        drop(job);
    });
}
