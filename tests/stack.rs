//! Where a task is parked, as `stack` tells it at the port.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pm::ProcList;
use tokio::sync::oneshot;

mod port;
use port::Client;

/// All lines of the answer to `stack`.
async fn stack(list: &ProcList, id: &str) -> Vec<String> {
    answer(list, &format!("stack {id}")).await
}

/// All lines of the answer to a command.
async fn answer(list: &ProcList, command: &str) -> Vec<String> {
    let (addr, command) = (list.server().spawn(":0").unwrap(), command.to_string());
    let ask = move || {
        let mut client = Client::connect(addr);
        client.types(&format!("{command}\nkill nobody\n"));
        let mut lines = Vec::new();
        loop {
            match client.line() {
                line if line == "no such process 'nobody'" => return lines,
                line => lines.push(line),
            }
        }
    };
    let (tell, told) = oneshot::channel();
    // The blocking threads of the runtime may be busy.
    std::thread::spawn(move || tell.send(ask()));
    told.await.unwrap()
}

mod orders {
    pub const LOAD: u32 = line!() + 3;

    pub async fn load(orders: tokio::sync::oneshot::Receiver<()>) {
        _ = orders.await;
    }
}

const QUERY: u32 = line!() + 3;

async fn query() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

const REPORT: u32 = line!() + 3;

async fn report(orders: oneshot::Receiver<()>) {
    tokio::join!(self::orders::load(orders), query());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_leaf_below_a_join_is_named_with_file_and_line() {
    let list = ProcList::new();
    let task = list.start("req1");
    task.set_status("querying");
    let (never, orders) = oneshot::channel();
    let running = tokio::spawn(task.scope(report(orders)));
    let lines = stack(&list, "req1").await;
    let text = lines.join("\n");
    assert!(
        lines[0].starts_with(r#"req1 in "querying" for "#) && lines[0].ends_with(", parked at 2 places:"),
        "{text}"
    );
    let at = |line: u32| format!("at tests/stack.rs:{line}");
    let place = |leaf: &str| {
        let begin = lines.iter().position(|line| line.trim() == leaf).unwrap_or_else(|| panic!("no {leaf} in\n{text}"));
        lines[begin + 1..begin + 3].to_vec()
    };
    let receiver = place("tokio::sync::oneshot::Receiver");
    assert!(
        receiver[0].contains("stack::orders::load::{closure}") && receiver[0].ends_with(&at(orders::LOAD)),
        "{text}"
    );
    assert!(receiver[1].contains("stack::report::{closure}") && receiver[1].ends_with(&at(REPORT)), "{text}");
    let sleep = place("tokio::time::sleep::Sleep");
    assert!(sleep[0].contains("stack::query::{closure}") && sleep[0].ends_with(&at(QUERY)), "{text}");
    let shown = answer(&list, "show req1").await.join("\n");
    assert!(
        shown.contains("s ago: ") && shown.contains(&format!("tokio::sync::oneshot::Receiver {}", at(orders::LOAD))),
        "{shown}"
    );
    let json = answer(&list, "json").await.join("\n");
    assert!(json.contains(&format!(r#""tokio::sync::oneshot::Receiver {}""#, at(orders::LOAD))), "{json}");
    assert!(!text.contains("core::") && !text.contains("pm::") && !text.contains("tokio::runtime"), "{text}");
    drop(never);
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_places_are_one_and_a_kill_reaches_it_after_the_look() {
    let list = ProcList::new();
    let task = list.start("req1");
    let work = async {
        let all: Vec<_> = (0..5).map(|_| Box::pin(query())).collect();
        let [mut a, mut b, mut c, mut d, mut e] = <[_; 5]>::try_from(all).ok().unwrap();
        tokio::join!(&mut a, &mut b, &mut c, &mut d, &mut e)
    };
    let pending = async {
        let lines = stack(&list, "req1").await;
        assert!(lines[0].ends_with(", parked:") && lines[1] == "  tokio::time::sleep::Sleep, 5 times", "{lines:#?}");
        assert_eq!(lines.len(), 4, "the await outside of run is none of its places: {lines:#?}");
        // Later polls are none of the look.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stack(&list, "req1").await[1..], lines[1..]);
        list.request_kill("req1", "too slow").unwrap()
    };
    let (killed, pending) = tokio::join!(task.run(work), pending);
    assert_eq!(killed.unwrap_err().message(), "too slow");
    drop(task);
    assert_eq!(pending.outcome().await.outcome, pm::Outcome::Killed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_look_a_second_is_shared_by_all_who_ask() {
    let list = ProcList::new();
    let polls = Arc::new(AtomicU32::new(0));
    let counted = {
        let polls = Arc::clone(&polls);
        std::future::poll_fn(move |_| {
            polls.fetch_add(1, Ordering::Relaxed);
            std::task::Poll::<()>::Pending
        })
    };
    let running = tokio::spawn(list.start("req1").scope(counted));
    let until = Instant::now() + Duration::from_secs(20);
    while polls.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until, "it is polled");
        tokio::task::yield_now().await;
    }
    let asked = Instant::now();
    tokio::join!(stack(&list, "req1"), stack(&list, "req1"), stack(&list, "req1"));
    let polled = polls.load(Ordering::Relaxed);
    // On a machine that is busy the second one may come later.
    // A look polls until nothing has changed, here twice.
    assert!(polled == 3 || polled > 3 && asked.elapsed() > Duration::from_secs(1), "{polled} polls");
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_inside_a_run_shows_what_both_wait_for_and_never_the_wait_for_a_kill() {
    let list = ProcList::new();
    let (outer, inner) = (list.start("outer"), list.start("inner"));
    let running = tokio::spawn(async move { outer.run(async move { inner.run(query()).await }).await.map(drop) });
    for id in ["outer", "inner"] {
        let lines = stack(&list, id).await;
        assert!(lines[0].ends_with(", parked:") && lines[1] == "  tokio::time::sleep::Sleep", "{lines:#?}");
        assert!(!lines.join(" ").contains("pm::"), "{lines:#?}");
    }
    list.kill("inner", "").unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_for_another_task_is_a_place() {
    async fn wait(other: pm::Handle, pending: pm::PendingKill) {
        tokio::join!(other.ended(), pending.outcome());
    }

    let list = ProcList::new();
    let (task, other) = (list.start("req1"), list.start("other"));
    let pending = list.request_kill("other", "").unwrap();
    let running = tokio::spawn(task.scope(wait(other.handle(), pending)));
    let lines = stack(&list, "req1").await;
    assert!(lines[0].ends_with(", parked:"), "{lines:#?}");
    assert_eq!(lines[1], "  pm::wait, 2 times (for the kill or the end of a task)", "{lines:#?}");
    assert!(lines[2].contains("wait::{closure} at tests/stack.rs:"), "{lines:#?}");
    drop(other);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_seen_is_said() {
    let list = ProcList::new();
    assert_eq!(stack(&list, "none").await, ["no such process 'none'"]);
    let on_thread = list.start("thread");
    on_thread.set_status("sorting");
    let lines = stack(&list, "thread").await;
    assert!(lines[0].contains(r#"in "sorting" for "#) && lines[0].contains("set at tests/stack.rs:"), "{lines:#?}");
    assert!(
        lines[0].ends_with(": no run of it waits: it computes, works on a thread, or awaits outside of run"),
        "{lines:#?}"
    );

    // What is spawned, and what has wakers of its own.
    let spawns = async {
        let children = futures_util::future::join_all((0..40).map(|_| query()));
        tokio::join!(tokio::spawn(query()), children)
    };
    let spawning = tokio::spawn(list.start("spawns").scope(spawns));
    let lines = stack(&list, "spawns").await;
    let leaf = |name: &str, remark: &str| lines.iter().any(|line| line.contains(name) && line.ends_with(remark));
    assert!(leaf("JoinHandle", "(of what was spawned: where that is parked cannot be seen from here)"), "{lines:#?}");
    assert!(leaf("futures_unordered", "(where the futures in it are parked cannot be seen)"), "{lines:#?}");
    spawning.abort();

    // Nothing keeps the waker.
    let task = list.start("lost");
    let lost = tokio::spawn(task.scope(std::future::pending::<()>()));
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let lines = stack(&list, "lost").await;
        if lines[0].contains("parked, at a place that cannot be seen") {
            break;
        }
        assert!(Instant::now() < until, "{lines:#?}");
    }
    lost.abort();
}

#[test]
fn a_runtime_that_does_not_poll_is_said_to_be_busy() {
    let list = ProcList::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (task, hog) = (list.start("req1"), list.clone());
    let asks = runtime.block_on(async {
        let mut run = Box::pin(task.run(query()));
        assert!(futures_util::poll!(&mut run).is_pending());
        // Its only thread asks, and waits for the answer.
        let asking = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || asking.block_on(stack(&hog, "req1"))).join().unwrap()
    });
    assert!(
        asks[0].ends_with(": the runtime has polled no run of it within 1 s: all its workers may be busy, or it computes, or awaits outside of run"),
        "{asks:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_not_polled_beside_another_one_is_not_left_out_in_silence() {
    let list = ProcList::new();
    let task = list.start("req1");
    let (_sender, orders) = oneshot::channel();
    let handle = task.handle();
    let other = tokio::spawn(async move { handle.run(report(orders)).await.is_err() });
    let mut run = Box::pin(task.run(query()));
    // Whoever holds it does something else. What is no run is nothing that waits.
    assert!(futures_util::poll!(&mut run).is_pending());
    let mut killed = Box::pin(task.killed());
    assert!(futures_util::poll!(&mut killed).is_pending());
    let lines = stack(&list, "req1").await;
    assert!(lines.iter().any(|line| line.contains("oneshot::Receiver")), "{lines:#?}");
    let absent = "  and 1 run of it was not polled within 1 s: where that is parked is not known";
    assert_eq!(lines.last().map(String::as_str), Some(absent), "{lines:#?}");
    // It is seen as soon as it is polled.
    let asks = async {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        stack(&list, "req1").await
    };
    let lines = tokio::select! { lines = asks => lines, _ = &mut run => unreachable!("it waits") };
    assert!(lines[0].ends_with("parked at 3 places:") && !lines.contains(&absent.to_string()), "{lines:#?}");
    list.kill("req1", "too slow").unwrap();
    assert!(run.await.is_err() && other.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_over_http_as_well() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let list = ProcList::new();
    let running = tokio::spawn(list.start("a/b").scope(query()));
    let addr = list.server().spawn_http(":0").unwrap();
    let ask = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("/procs/a/b/stack").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("text/plain"), "{answer}");
    assert!(answer.contains("tokio::time::sleep::Sleep\n") && answer.contains(" at tests/stack.rs:"), "{answer}");
    for path in ["/procs/", "/procs/a/b"] {
        let answer = ask(path).await;
        assert!(answer.contains(r#""parked":{"ts":""#), "{answer}");
        assert!(answer.contains(r#""places":["tokio::time::sleep::Sleep at tests/stack.rs:"#), "{answer}");
    }
    assert!(ask("/procs/nobody/stack").await.starts_with("HTTP/1.1 404 "));
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_used_up_its_turn_is_runnable() {
    let list = ProcList::new();
    let work = async {
        loop {
            tokio::task::consume_budget().await;
        }
    };
    let running = tokio::spawn(list.start("busy").scope(work));
    let lines = stack(&list, "busy").await;
    assert!(
        lines.len() > 1
            && lines[0].ends_with(", runnable:")
            && lines[1].ends_with(" (runnable, not parked: it has let others have a turn)"),
        "{lines:#?}"
    );
    running.abort();

    // The same without tokio.
    let wakes_itself = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        std::task::Poll::<()>::Pending
    });
    let running = tokio::spawn(list.start("wakes").scope(wakes_itself));
    let lines = stack(&list, "wakes").await;
    assert!(lines[0].ends_with(": runnable, not parked: it has asked to be polled again"), "{lines:#?}");
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_task_has_left_behind_in_the_same_poll_is_no_place() {
    let list = ProcList::new();
    let (go, gone) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicU32::new(0)));
    let work = {
        let (go, gone) = (Arc::clone(&go), Arc::clone(&gone));
        async move {
            pm::current().set_status("waiting");
            go.notified().await;
            // Each is waited for, and comes while it is.
            for _ in 0..20 {
                let mut is_first = true;
                std::future::poll_fn(|cx| {
                    let waker = cx.waker().clone();
                    if std::mem::take(&mut is_first) {
                        waker.wake();
                    }
                    std::task::Poll::Ready(())
                })
                .await;
                gone.fetch_add(1, Ordering::Relaxed);
            }
            pm::current().set_status("querying");
            query().await;
        }
    };
    let running = tokio::spawn(list.start("req1").scope(work));
    until_status(&list, "waiting").await;
    // So the poll that is looked at is the one that goes on.
    go.notify_one();
    let lines = stack(&list, "req1").await;
    if lines[0].starts_with(r#"req1 in "querying""#) {
        assert!(lines[0].ends_with(", parked:") && lines[1] == "  tokio::time::sleep::Sleep", "{lines:#?}");
    } else {
        assert!(lines[1].contains("Notified"), "{lines:#?}");
    }
    running.abort();
}

async fn until_status(list: &ProcList, status: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while list.procs().iter().all(|proc| proc.status != status) {
        assert!(Instant::now() < until, "{status}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_sees_each_run_once_and_its_status_is_that_of_its_places() {
    let list = ProcList::new();
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel::<u32>();
    let work = async move {
        while let Some(n) = receive.recv().await {
            pm::current().set_status(format!("step {n}"));
        }
    };
    let running = tokio::spawn(list.start("req1").scope(work));
    send.send(1).unwrap();
    until_status(&list, "step 1").await;
    let other = tokio::spawn(list.start("req2").scope(query()));
    let asked = Instant::now();
    let first = stack(&list, "req1").await;
    assert!(first[0].starts_with(r#"req1 in "step 1""#) && first[0].ends_with(", parked:"), "{first:#?}");
    // Further polls, and looks at others, change nothing of it.
    for n in 2..10 {
        send.send(n).unwrap();
        until_status(&list, &format!("step {n}")).await;
    }
    stack(&list, "req2").await;
    let again = stack(&list, "req1").await;
    if asked.elapsed() < Duration::from_secs(1) {
        assert!(again[0].starts_with(r#"req1 in "step 1""#) && again[0].contains("s ago"), "{again:#?}");
        assert_eq!(again[1..], first[1..]);
    }
    running.abort();
    other.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_inside_a_run_of_the_same_task_is_no_second_place() {
    let list = ProcList::new();
    let task = list.start("req1");
    let handle = task.handle();
    let running = tokio::spawn(task.scope(async move { handle.run(query()).await.is_ok() }));
    let lines = stack(&list, "req1").await;
    assert!(lines[0].ends_with(", parked:") && lines[1] == "  tokio::time::sleep::Sleep", "{lines:#?}");
    running.abort();
}
