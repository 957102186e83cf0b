//! The life of a task, as an operator sees it at the port.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use pm::ProcList;

mod port;
use port::Client;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn serve(list: &ProcList) -> SocketAddr {
    list.server().spawn(":0").unwrap()
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn progress_stands_behind_the_status_and_can_be_filtered_and_sorted_by() {
    let list = ProcList::new();
    list.set_cols(["kind"]);
    let [a, b, _c] = ["a", "b", "c"].map(|id| list.start(id).col("kind", "export"));
    for (task, done) in [(&a, 16), (&b, 40)] {
        task.set_status("exporting");
        task.progress(done, 50);
    }
    let mut client = Client::connect(serve(&list));
    client.types("where progress<50\n");
    assert_eq!(words(&client.up_to("exporting"))[..3], ["a", "exporting", "16/50"]);
    client.types("where progress>=80%\n");
    assert_eq!(words(&client.up_to("exporting"))[..3], ["b", "exporting", "40/50"]);
    client.types("where\nsort -progress\ncols id,progress\n");
    client.up_to("id  progress");
    assert_eq!([client.line(), client.line(), client.line()], ["b   80%", "a   32%", "c"]);
    assert_eq!(client.asks("where progress~5"), "invalid expression at '5': progress is in percent: progress<50");

    // The status itself is without it.
    client.types("by status\n");
    assert_eq!(words(&client.up_to("exporting"))[..2], ["exporting", "2"]);
    client.types("show a\n");
    assert_eq!(client.up_to("of 50 done"), "16 of 50 done, 32%");
    assert!(client.up_to("0.").ends_with("init") && client.line().ends_with("  exporting"));
    a.progress(32, 50);
    client.types("show a\n");
    let pace = client.up_to("of 50 done");
    assert!(
        pace.starts_with("32 of 50 done, 64%, ") && pace.contains(" a second, ") && pace.ends_with(" s to go"),
        "{pace}"
    );
    client.types("json\n");
    assert!(client.up_to(r#""id":"a""#).contains(r#""status":"exporting","progress":{"done":32,"total":50}"#));
    a.progress(0, 0);
    client.types("json\n");
    assert!(!client.up_to(r#""id":"a""#).contains("progress"));
}

#[test]
fn a_column_of_the_program_that_is_called_progress_is_meant_before_ours() {
    let list = ProcList::new();
    list.set_cols(["progress"]);
    let task = list.start("a").col("progress", "half way");
    task.progress(1, 4);
    let mut client = Client::connect(serve(&list));
    client.types("where progress~half\n");
    assert!(client.up_to("half way").starts_with("a   init 1/4"));
}

#[test]
fn a_deadline_kills_and_a_later_one_replaces_it() {
    let list = ProcList::new();
    let (slow, patient) = (list.start("slow"), list.start("patient"));
    let refuses = list.start("refuses").forbid_kill();
    patient.deadline(Duration::from_millis(40));
    patient.deadline(Duration::MAX);
    slow.deadline(Duration::from_secs(3600));
    slow.deadline(Duration::from_millis(80));
    refuses.deadline(Duration::from_secs(2));
    drop({
        let short = list.start("short");
        short.deadline(Duration::from_millis(2));
        short
    });
    let until = Instant::now() + Duration::from_secs(20);
    while slow.check().is_ok() {
        assert!(Instant::now() < until, "it is not killed");
        std::thread::yield_now();
    }
    let mut client = Client::connect(serve(&list));
    client.types("show slow\n");
    assert!(client.up_to("being killed for").ends_with(r#" s by the program: "deadline of 80ms""#));
    let hourly = list.start("hourly");
    hourly.deadline(Duration::from_secs(3600));
    client.types("show hourly\n");
    let line = client.up_to("deadline");
    assert!(line.starts_with("its deadline is in 3") && line.ends_with(" s: then the program kills it"), "{line}");
    client.types("show refuses\n");
    assert_eq!(client.up_to("note"), "note: deadline of 2s refused: it may not be killed");
    client.up_to("init");
    drop(slow);
    let audit = client.asks("audit");
    assert!(audit.contains(r#"by the program: slow "deadline of 80ms": killed after "#), "{audit}");
    let reply = client.asks("kill patient");
    assert!(reply.starts_with(r#"killing patient in "init", "#), "the second one of it is no deadline: {reply}");
}

#[test]
fn a_kill_of_a_parent_reaches_all_below_it_but_for_the_independent() {
    let list = ProcList::new();
    let parent = list.start("req1");
    parent.set_status("merging");
    let [fetch, sort] = ["fetch", "sort"].map(|name| parent.child(name));
    let deep = fetch.child("page");
    let refuses = parent.child("refuses").forbid_kill();
    let rollback = parent.child("rollback").independent();
    let mut client = Client::connect(serve(&list));

    client.types("tree\n");
    client.up_to("id ");
    let ids: Vec<_> = (0..6)
        .map(|_| client.line())
        .map(|line| line[..line.find(" init").or(line.find(" merging")).unwrap()].trim_end().to_string())
        .collect();
    assert_eq!(
        ids,
        ["req1", "  req1/fetch", "    req1/fetch/page", "  req1/sort", "  req1/refuses", "  req1/rollback"]
    );
    client.types("where parent=req1 and id~fetch\n");
    assert!(client.up_to("req1/").starts_with("req1/fetch  init"));
    client.types("kill where parent=\"\"\n");
    assert!(client.up_to("kill @").ends_with(" to kill this one"));
    client.types("kill where parent!=\"\"\n");
    assert!(client.up_to("kill @").ends_with(" to kill these 5"));
    client.types("show req1\n");
    assert_eq!(client.up_to("children"), "children: req1/fetch req1/sort req1/refuses req1/rollback");
    client.types("show req1/fetch\n");
    assert_eq!(client.up_to("child of"), "child of req1");
    client.types("show req1/rollback\n");
    assert_eq!(client.up_to("child of"), "child of req1; a kill of that does not reach it");
    client.up_to("init");

    let reply = client.asks("kill req1 too slow");
    assert!(
        reply.starts_with(r#"killing req1 in "merging", "#)
            && reply.ends_with("s old, and 3 below it; 1 that is independent goes on"),
        "{reply}"
    );
    assert_eq!(client.line(), "forbidden: req1/refuses may not be killed");
    for task in [&parent, &fetch, &sort, &deep] {
        assert_eq!(task.check().unwrap_err().message(), "too slow");
    }
    assert!(refuses.check().is_ok() && rollback.check().is_ok());
    // Those that are born now are killed when they look, unless they are independent.
    let late = parent.child("late");
    assert!(late.is_being_killed() && list.get("req1/late").unwrap().killing.unwrap().message == "too slow");
    assert!(parent.child("undo").independent().check().is_ok());
    assert!(parent.child("undo").independent().child("step").check().is_ok());
    assert_eq!(late.check().unwrap_err().to_string(), r#"process killed: "too slow""#);
    drop((late, deep, sort, fetch));
    drop(parent);
    let mut outcomes: Vec<_> = (0..4).map(|_| client.line()).collect();
    let sum = client.line();
    outcomes.sort_unstable();
    assert!(
        outcomes[0].starts_with("killed req1 after ") && outcomes[2].starts_with("killed req1/fetch/page after "),
        "{outcomes:?}"
    );
    assert_eq!(sum, "req1, and 3 below it: 4 killed, 1 may not be killed");
    client.types("audit\n");
    assert!(client.up_to("req1 ").contains(r#"req1 "too slow", and 4 below it: killed"#), "with the late one");
    assert_eq!(list.len(), 2, "the end of a parent does not end its children");
    client.types("show req1\n");
    assert_eq!(client.up_to("children"), "children that go on: req1/refuses req1/rollback");
    client.types("show req1/refuses\n");
    assert_eq!(client.up_to("child of"), "child of req1, which has ended");
    drop((refuses, rollback));
}

#[test]
fn a_set_with_a_parent_and_its_child_is_killed_once_each() {
    let list = ProcList::new();
    let parent = list.start("a");
    let (child, other) = (parent.child("b"), parent.child("c"));
    let mut client = Client::connect(serve(&list));
    client.types("kill where id~b or id=a\n");
    let token = client.up_to("kill @").split(' ').nth(1).unwrap().to_string();
    assert_eq!(client.asks(&format!("kill {token} out")), "killing 2 of 2, and 1 below them");
    for task in [other, child, parent] {
        assert!(task.check().is_err());
        drop(task);
        assert!(client.line().starts_with("killed a"));
    }
    assert_eq!(client.line(), format!("{token}: 3 killed"));
}

#[test]
fn the_message_may_begin_with_the_name_of_another_task_and_that_is_said() {
    let list = ProcList::new();
    let (a, b) = (list.start("a"), list.start("b"));
    let mut client = Client::connect(serve(&list));
    let reply = client.asks("kill a b");
    assert!(
        reply.starts_with(r#"killing a in "init", "#) && reply.ends_with("s old: the rest of the line is its message"),
        "{reply}"
    );
    assert_eq!(a.check().unwrap_err().message(), "b");
    assert!(b.check().is_ok());
}

#[test]
fn on_kill_is_called_once_and_taken_back_by_its_guard() {
    let list = ProcList::new();
    let (sender, called) = mpsc::channel();
    let tells = |name: &'static str| {
        let sender = sender.clone();
        move |killing: &pm::Killing| sender.send((name, killing.message.clone(), killing.by.is_some())).unwrap()
    };
    let task = list.start("a");
    let first = task.on_kill(tells("first"));
    drop(task.on_kill(tells("taken back")));
    let panics = task.on_kill(|_| std::panic::resume_unwind(Box::new("a bug")));
    let mut client = Client::connect(serve(&list));
    client.asks("kill a too slow");
    let next = || called.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next(), ("first", "too slow".to_string(), true));
    let late = task.on_kill(tells("late"));
    assert_eq!(next(), ("late", "too slow".to_string(), true), "it is called at once");
    drop((first, panics, late));

    // One that is never killed drops what it holds at its end.
    let (held, never) = (Arc::new(()), list.start("never"));
    let clone = Arc::clone(&held);
    let on_kill = never.on_kill(move |_| drop(clone));
    drop(never);
    assert_eq!(Arc::strong_count(&held), 1);
    drop((on_kill, sender));
    assert!(called.recv_timeout(Duration::from_secs(20)).is_err(), "and nothing else was called");
}

#[test]
fn a_guard_of_on_kill_waits_for_the_call_and_a_call_may_drop_its_own() {
    let list = ProcList::new();
    let task = list.start("a");
    let (began, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let is_done = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&is_done);
    let guard = task.on_kill(move |_| {
        began.send(()).unwrap();
        may_go.recv().unwrap();
        done.store(true, Ordering::SeqCst);
    });
    list.kill("a", "").unwrap();
    has_begun.recv_timeout(Duration::from_secs(20)).unwrap();
    let dropper = std::thread::spawn(move || {
        drop(guard);
        is_done.load(Ordering::SeqCst)
    });
    go.send(()).unwrap();
    assert!(dropper.join().unwrap(), "the guard did not wait");

    let task = list.start("b");
    let own = Arc::new(Mutex::new(None));
    let (theirs, (tell, told)) = (Arc::clone(&own), mpsc::channel());
    *own.lock().unwrap() = Some(task.on_kill(move |_| {
        drop(theirs.lock().unwrap().take());
        tell.send(()).unwrap();
    }));
    list.kill("b", "").unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_call_is_made_for_certain_once_the_kill_has_been_accepted() {
    let list = ProcList::new();
    let called = Arc::new(AtomicUsize::new(0));
    for _ in 0..500 {
        let task = list.start("a");
        let count = Arc::clone(&called);
        let guard = task.on_kill(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
        list.kill("a", "").unwrap();
        drop(guard);
    }
    assert_eq!(called.load(Ordering::SeqCst), 500);
}

#[test]
fn a_guard_that_the_kill_itself_drops_waits_for_the_call() {
    let list = ProcList::new();
    let called = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (task, count) = (list.start("a"), Arc::clone(&called));
        let (tell, told) = mpsc::channel();
        let work = std::thread::spawn(move || {
            let on_kill = |_| {
                let count = Arc::clone(&count);
                task.on_kill(move |_| _ = count.fetch_add(1, Ordering::SeqCst))
            };
            let mut guards: Vec<_> = (0..50).map(on_kill).collect();
            tell.send(()).unwrap();
            while task.check().is_ok() {
                std::hint::spin_loop();
            }
            // Whoever kills comes to the last of them last.
            while let Some(last) = guards.pop() {
                drop(last);
            }
        });
        told.recv().unwrap();
        list.kill("a", "").unwrap();
        work.join().unwrap();
    }
    assert_eq!(called.load(Ordering::SeqCst), 5000);
}

#[test]
fn calls_that_wait_for_each_other_do_not_hang() {
    let list = ProcList::new();
    let parent = list.start("a");
    let (tell, told) = mpsc::channel();
    // When all have been killed, each drops the guard of the next, for which there may be no thread left.
    let are_killed = Arc::new(AtomicBool::new(false));
    let guards: Vec<_> = (0..32).map(|_| Arc::new(Mutex::new(None))).collect();
    for (n, guard) in guards.iter().enumerate() {
        let (next, tell, are_killed) = (guards.get(n + 1).cloned(), tell.clone(), Arc::clone(&are_killed));
        let child = parent.child("x");
        *guard.lock().unwrap() = Some(child.on_kill(move |_| {
            while !are_killed.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            drop(next.and_then(|next| next.lock().unwrap().take()));
            tell.send(()).unwrap();
        }));
        _ = child.detach();
    }
    list.kill("a", "").unwrap();
    are_killed.store(true, Ordering::SeqCst);
    (0..32).for_each(|_| told.recv_timeout(Duration::from_secs(20)).unwrap());
}

#[test]
fn the_place_of_a_kill_is_that_of_the_last_status_if_it_came_later() {
    let list = ProcList::new();
    let task = list.start("a");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    task.set_status("before");
    let handle = task.handle();
    let mut status_line = 0;
    let killed = runtime.block_on(task.run(async {
        (0..255).for_each(|n| handle.set_status(format!("step {n}")));
        status_line = line!() + 1;
        handle.set_status("querying");
        list.kill("a", "").unwrap();
        std::future::pending::<()>().await
    }));
    assert_eq!(killed.unwrap_err().location().line(), status_line);
    let run_line = line!() + 1;
    let killed = runtime.block_on(task.run(std::future::pending::<()>()));
    assert_eq!(killed.unwrap_err().location().line(), run_line);
}

/// Ends so many tasks that took no time.
fn end_quick(list: &ProcList, n: usize) {
    (0..n).for_each(|_| drop(list.start("quick").col("route", "/quick")));
}

#[test]
fn what_somebody_will_ask_for_is_there_after_thousands_of_other_endings() {
    let list = ProcList::new();
    list.set_cols(["route", "uri"]);
    let victim = list.start("req7").col("route", "/export").col("uri", "/export/7 x");
    let gone = list.start("req8").col("route", "/export");
    let mut client = Client::connect(serve(&list));
    (0..40).for_each(|n| victim.set_status(format!("step {n}")));
    client.asks("kill req7 too slow");
    victim.check().unwrap_err();
    drop(victim);
    client.up_to("killed req7");
    gone.done_with("client went away");
    end_quick(&list, 10_000);

    client.types("done where outcome=killed\n");
    client.up_to("id ");
    let killed = client.line();
    assert!(words(&killed)[..3] == ["req7", "step", "39"] && killed.ends_with("too slow"), "{killed}");
    client.types("done 5 where note~away and route=/export\n");
    client.up_to("id ");
    assert!(client.line().contains("client went away"));
    client.types("done 3\n");
    client.up_to("id ");
    assert!((0..3).all(|_| client.line().starts_with("quick ")));
    // Without an expression of its own it follows the session's.
    client.types("where route=/export\n");
    client.up_to("id ");
    client.types("done\n");
    client.up_to("id ");
    assert!(client.line().starts_with("req8 ") && client.line().starts_with("req7 "));
    client.types("slow 2 where route=/export\n");
    client.up_to("id ");
    assert!(client.line().starts_with("req") && client.line().starts_with("req"));
    assert_eq!(
        client.asks("done where tme>1"),
        "invalid expression at 'tme': no column of that name (id, status, time, in_status, route, uri, outcome, note, message)"
    );
    client.types("done where message~\"too slow\"\n");
    client.up_to("id ");
    assert!(client.line().starts_with("req7 "));
    assert_eq!(client.asks("done where message~fast"), "no finished task matches");
    // It prints the columns that the session has chosen.
    client.types("cols time,uri\n");
    client.up_to("time");
    client.types("done where outcome=killed\n");
    assert_eq!(words(&client.up_to("outcome")), ["id", "status", "time", "ago", "outcome", "uri", "note", "message"]);
    client.types("cols\n");
    client.up_to("id ");
    assert_eq!(client.asks("done x"), "invalid command 'done': done [n] [where <expr>]");

    let end = client.asks("show req7");
    assert!(end.starts_with("req7 killed ") && end.contains("s ago by "), "{end}");
    assert!(end.ends_with(r#", in "step 39": too slow"#), "{end}");
    assert!(client.up_to("uri").ends_with("/export/7 x"));
    client.up_to("in all");
    assert!(client.line().ends_with("  init") && client.line().ends_with("  step 0"));
    client.types("audit\n");
    let record = client.up_to("req7");
    assert!(record.ends_with(r#"(route=/export, uri="/export/7 x")"#), "{record}");
    assert_eq!(client.asks("show nobody"), "no such process 'nobody'");
}

#[test]
fn rates_tell_what_happened_in_the_last_seconds() {
    let list = ProcList::new();
    let _running = list.start("a");
    end_quick(&list, 500);
    let stats = list.stats();
    for rates in [&stats.last_10_seconds, &stats.last_minute] {
        assert_eq!((rates.started, rates.ended, rates.killed), (501, 500, 0));
        assert!(rates.p50 <= rates.p99 && rates.p99 <= rates.max && rates.span > Duration::ZERO);
    }
    let mut client = Client::connect(serve(&list));
    client.types("stats\n");
    let line = client.up_to("last 10 s");
    assert!(line.contains(" started, ") && line.ends_with(" 0 panicked a second") && line.len() <= 80, "{line}");
    assert!(client.line().trim_start().starts_with("p50 0.0"));
    client.up_to("last minute");
}

#[test]
fn what_runs_too_long_for_its_kind_is_marked_and_listed() {
    let list = ProcList::new();
    list.set_cols(["route", "uri"]);
    let mut client = Client::connect(serve(&list));
    assert_eq!(client.asks("odd"), "this program does not say which column tells kinds of work apart (ProcList::kind)");
    list.kind("route");
    list.kind("ignored: the first call counts");
    end_quick(&list, 99);
    let quick = list.start("slow1").col("route", "/quick").col("uri", "/quick/1");
    let export = list.start("export").col("route", "/export");
    let until = Instant::now() + Duration::from_millis(30);
    while Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(client.asks("odd"), "no kind is known yet: it takes 100 of it that ended");
    end_quick(&list, 1);
    // What is known is a second old at most.
    let until = Instant::now() + Duration::from_secs(20);
    while client.asks("odd").starts_with("no") {
        assert!(Instant::now() < until, "it is not found to be odd");
    }
    let odd = client.line();
    assert!(odd.starts_with("slow1  init") && odd.contains(" x  /quick  /quick/1"), "{odd}");
    client.types("list\n");
    client.up_to("time");
    let (marked, plain) = (client.line(), client.line());
    assert!(words(&marked)[2].starts_with('!') && !words(&plain)[2].starts_with('!'), "{marked}\n{plain}");
    assert_eq!(marked.find("/quick"), plain.find("/export"), "the columns are aligned");
    client.types("kinds\n");
    assert_eq!(
        words(&client.up_to("route")),
        ["route", "running", "ended/s", "p50", "p99", "max", "killed", "panicked"]
    );
    assert_eq!(words(&client.line())[..2], ["/quick", "1"]);
    assert_eq!(words(&client.line())[..3], ["/export", "1", "0.0"]);
    client.types("where id=export\nodd\nwhere\n");
    let nothing = client.up_to("nothing is odd among");
    assert!(nothing.ends_with("; of the kind of 1 task fewer than 100 have ended: that is not known"), "{nothing}");
    drop((quick, export));
}

#[test]
fn a_row_is_cut_to_the_width_that_was_asked_for() {
    let list = ProcList::new();
    list.set_cols(["host", "uri", "method"]);
    let uri = format!("/export/{}", "x".repeat(300));
    let id = "i".repeat(30);
    let _task = list.start(&id).col("host", "127.0.0.1:18364").col("uri", &uri).col("method", "GET");
    drop(list.start("ended").col("uri", &uri));
    let mut client = Client::connect(serve(&list));
    client.types("width 80\n");
    let header = client.up_to("id ");
    let row = client.line();
    assert!(words(&header) == ["id", "status", "time", "host", "uri", "method"] && header.len() <= 80, "{header}");
    assert!(row.starts_with(&id) && row.chars().count() <= 80 && row.ends_with("GET") && row.contains('…'), "{row}");
    assert_eq!(header.find("method"), row.replace('…', ".").find("GET"), "the header stands above the cells");
    client.types("done\n");
    client.up_to("id ");
    assert!(client.line().chars().count() <= 80);
    // Why a task was killed is not cut for the sake of where it came from.
    let victim = list.start("req12").col("host", "127.0.0.1:18364").col("uri", &uri).col("method", "GET");
    victim.set_status("reading the body");
    list.kill("req12", "it holds the lock of the others").unwrap();
    victim.check().unwrap_err();
    victim.done_with("client left");
    client.types("done where outcome=killed\n");
    let header = client.up_to("id ");
    assert_eq!(words(&header), ["id", "status", "time", "ago", "outcome", "method", "note", "message"]);
    let row = client.line();
    assert!(row.starts_with("req12  reading") && row.chars().count() <= 80, "{row}");
    assert!(row.contains("  GET     client left  it holds the"), "{row}");
    assert_eq!(client.line(), "... no room for host, uri: cols <a,b,..> chooses");
    client.types("cols id,uri\n");
    client.up_to("id ");
    client.types("done where outcome=killed\n");
    assert!(client.up_to("req12").contains("  /export/"));
    client.types("cols\n");
    client.up_to("method");
    client.types("width off\n");
    client.up_to("method");
    assert!(client.up_to(&id).len() > 130);
    assert_eq!(client.asks("width 7"), "invalid command 'width': width <20..500|off>");
}

#[test]
fn what_people_type_by_reflex_is_understood() {
    let list = ProcList::new();
    let _task = list.start("a");
    let ps = pm::PortCommand::new("ps", |_| async { Ok("of the program") });
    let mut client = Client::connect(list.server().command(ps).spawn(":0").unwrap());
    for help in ["?", "h", "\x0chelp"] {
        client.types(&format!("{help}\n"));
        client.up_to("finish what was asked");
        client.up_to("ps");
    }
    client.types("ls -l\n");
    client.up_to("id ");
    assert!(client.line().starts_with("a "));
    assert_eq!(client.asks("ps"), "of the program");
    assert_eq!(client.asks("stats x"), "invalid command 'stats': stats, and nothing after it");
    assert_eq!(client.asks("sort time desc"), "invalid column 'time desc': type sort -time");
    assert!(client.asks("sort tme desc").starts_with("invalid column 'tme desc': no column of that name"));
    assert_eq!(client.asks("sort \"time\" DESC"), "invalid column '\"time\" DESC': type sort -\"time\"");
    client.types("kill where id=a\n");
    client.up_to("kill @");
}

#[test]
fn a_secret_kind_is_none_for_who_may_only_see_and_no_secret_is_in_the_audit() {
    let list = ProcList::new();
    list.set_cols(["user"]);
    list.kind("user");
    (0..100).for_each(|_| drop(list.start("quick").secret_col("user", "amy")));
    let slow = list.start("slow").secret_col("user", "amy");
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        std::thread::yield_now();
    }
    let mut sees = Client::connect(list.server().read_only().spawn(":0").unwrap());
    for command in ["kinds", "odd"] {
        assert!(sees.asks(command).starts_with("this program does not say which column tells kinds of work apart"));
    }
    sees.types("list\n");
    sees.up_to("id ");
    assert!(!sees.line().contains('!'));
    let mut kills = Client::connect(serve(&list));
    kills.types("list\n");
    kills.up_to("id ");
    assert!(kills.line().contains('!'));
    kills.asks("kill slow");
    slow.check().unwrap_err();
    drop(slow);
    kills.up_to("killed");
    assert!(sees.asks("audit").ends_with(" (user=***)"));
}

#[test]
fn a_parent_with_more_children_than_can_be_awaited_is_killed_with_all_of_them() {
    let list = ProcList::new();
    let parent = list.start("a");
    let mut client = Client::connect(serve(&list));
    let children: Vec<_> = (0..1100).map(|n| parent.child(n.to_string())).collect();
    let reply = client.asks("kill a out");
    assert!(reply.ends_with("s old, and 1100 below it"), "{reply}");
    assert!(children.iter().all(|child| child.check().is_err()) && parent.check().is_err());
    drop((children, parent));
    let (mut outcomes, mut line) = (0, client.line());
    while line.starts_with("killed a") {
        (outcomes, line) = (outcomes + 1, client.line());
    }
    assert_eq!((outcomes, line.as_str()), (1024, "a, and 1100 below it: 1024 killed, 77 more are not awaited"));
}

#[test]
fn what_is_born_while_its_parent_is_being_killed_does_not_escape() {
    for _ in 0..20 {
        let list = ProcList::new();
        let parent = list.start("p");
        let children: Vec<_> = (0..500).map(|n| parent.child(n.to_string())).collect();
        let last = children[499].handle();
        let (stop, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (theirs, begins) = (Arc::clone(&stop), Arc::clone(&begun));
        let bears = std::thread::spawn(move || {
            let mut born = Vec::new();
            while !theirs.load(Ordering::SeqCst) && born.len() < 10_000 {
                born.push(last.child("g"));
                begins.store(true, Ordering::SeqCst);
            }
            born
        });
        while !begun.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        list.kill("p", "out").unwrap();
        stop.store(true, Ordering::SeqCst);
        let escaped = bears.join().unwrap().iter().filter(|task| task.check().is_ok()).count();
        assert_eq!(escaped, 0);
    }
}

#[test]
fn the_children_of_a_task_that_has_ended_go_on_below_its_parent() {
    let list = ProcList::new();
    let top = list.start("p");
    let middle = top.child("c");
    let (deep, spared) = (middle.child("g"), middle.child("i").independent());
    drop(middle);
    assert_eq!(list.get("p/c/g").unwrap().parent.as_deref(), Some("p"));
    list.kill("p", "out").unwrap();
    assert!(deep.check().is_err() && spared.check().is_ok());
    drop((deep, spared));
    assert!(list.get("p").unwrap().children.is_empty());

    // A child of a task that has left its list is in none, and ends with its guard.
    let handle = top.handle();
    drop(top);
    let late = handle.child("late");
    // So does one below that, whoever of them looks first.
    assert!(late.child("later").check().is_err());
    assert!(late.check().is_err() && late.keep().is_some() && list.is_empty());
    drop(late);
    let gone = list.start("gone");
    let handle = gone.handle();
    drop(gone);
    let child = handle.child("x");
    let watch = child.handle();
    assert!(child.check().is_ok() && !watch.is_ended() && list.is_empty());
    drop(child);
    assert!(watch.is_ended());
}

#[tokio::test]
async fn a_child_that_is_in_no_list_is_a_task_all_the_same() {
    let list = ProcList::new();
    let handle = list.start("gone").handle();
    let child = handle.child("late");
    let below = child.child("step");
    assert_eq!((child.id(), below.id(), list.len()), ("gone/late", "gone/late/step", 0));
    // Whoever waits for its end is told.
    let ended = child.handle();
    let mut ended = Box::pin(ended.ended());
    assert!(futures_util::poll!(&mut ended).is_pending());
    // Its kill reaches what is below it, and its deadline comes.
    child.deadline(Duration::from_millis(1));
    let killed = tokio::time::timeout(SOON, child.run(std::future::pending::<()>()))
        .await
        .expect("at its deadline")
        .unwrap_err();
    assert_eq!(killed.message(), "deadline of 1ms");
    assert_eq!(below.check().unwrap_err().message(), "deadline of 1ms");
    drop(child);
    tokio::time::timeout(SOON, ended).await.expect("it has ended");
    let other = handle.child("other");
    other.kill("enough").unwrap();
    assert_eq!(other.check().unwrap_err().to_string(), r#"process killed: "enough""#);
}

#[test]
fn a_task_that_ends_after_its_call_was_made_counts_as_killed() {
    let list = ProcList::new();
    let (task, (told, cancelled)) = (list.start("query1"), mpsc::channel());
    let _on_kill = task.on_kill(move |_| told.send(()).unwrap());
    let pending = list.request_kill("query1", "too slow").unwrap();
    cancelled.recv_timeout(SOON).unwrap();
    task.done_with("cancelled in the database");
    assert_eq!(pending.try_outcome().unwrap().outcome, pm::Outcome::Killed);
    // One whose guard takes part in the end may have been over before.
    let task = list.start("query2");
    let blocks: Vec<_> = (0..8).map(|n| list.start(format!("b{n}"))).collect();
    let barrier = Arc::new(Barrier::new(9));
    for block in &blocks {
        let barrier = Arc::clone(&barrier);
        std::mem::forget(block.on_kill(move |_| _ = barrier.wait()));
        list.kill(block.id(), "").unwrap();
    }
    let on_kill = task.on_kill(|_| ());
    let pending = list.request_kill("query2", "").unwrap();
    drop((on_kill, task));
    assert_eq!(pending.try_outcome().unwrap().outcome, pm::Outcome::Ended);
    barrier.wait();
}

#[test]
fn a_kill_goes_through_a_task_that_refuses_it() {
    let list = ProcList::new();
    let top = list.start("p");
    let refuses = top.child("m").forbid_kill();
    let before = refuses.child("before");
    list.kill("p", "too slow").unwrap();
    let after = refuses.child("after");
    let spared = refuses.child("spared").independent();
    assert!(before.check().is_err() && after.check().is_err(), "whenever it was born");
    drop(refuses);
    assert!(spared.check().is_ok() && list.get("p/m/spared").is_some());
}

#[test]
fn what_the_kill_of_a_large_family_reaches_is_told_while_its_tasks_end() {
    let list = ProcList::new();
    let (top, mut middle) = (list.start("p"), Vec::new());
    for n in 0..500 {
        middle.push(top.child(n.to_string()));
    }
    let below: Vec<_> = middle.iter().map(|task| task.child("x")).collect();
    let mut client = Client::connect(list.server().limit(1).spawn(":0").unwrap());
    let handle = top.handle();
    let ends = std::thread::spawn(move || {
        while !handle.is_being_killed() {
            std::hint::spin_loop();
        }
        // Not killed, whatever is above them: they have not looked.
        drop(middle);
    });
    client.types("kill p too slow\n");
    let told = client.up_to("killing p in");
    ends.join().unwrap();
    assert!(below.iter().all(|task| task.check().is_err()));
    drop(below);
    drop(top);
    let count: usize = told.split("and ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, 1000, "{told}");
}

/// Does both at the same time.
fn at_once(one: impl FnOnce() + Send, other: impl FnOnce()) {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            one();
        });
        start.wait();
        other();
    });
}

#[test]
fn a_task_whose_parent_ends_while_that_is_killed_from_above_is_killed_and_woken() {
    let list = ProcList::new();
    for _ in 0..1000 {
        let top = list.start("p");
        let middle = top.child("c");
        let deep = middle.child("g");
        let (tell, told) = mpsc::channel();
        let on_kill = deep.on_kill(move |_| tell.send(()).unwrap());
        at_once(|| drop(middle), || list.kill("p", "out").unwrap());
        told.recv_timeout(Duration::from_secs(20)).expect("it waits for its kill and does not look");
        drop((on_kill, deep, top));
    }
}

#[test]
fn a_task_whose_ancestors_end_at_once_goes_on_below_the_one_that_is_left() {
    let list = ProcList::new();
    for _ in 0..1000 {
        let top = list.start("p");
        let second = top.child("2");
        let third = second.child("3");
        let deep = third.child("g");
        at_once(|| drop(third), || drop(second));
        assert_eq!(list.get("p/2/3/g").unwrap().parent.as_deref(), Some("p"));
        assert_eq!(list.get("p").unwrap().children, ["p/2/3/g"]);
        list.kill("p", "out").unwrap();
        assert!(deep.check().is_err());
    }
}

/// Runs `work` on two threads.
fn on_two_threads<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let within = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(within, work).await.expect("it does not hang") })
}

#[test]
fn a_kill_reaches_the_children_of_a_task_that_ends_at_once() {
    let list = ProcList::new();
    on_two_threads(async {
        for _ in 0..300 {
            let parent = list.start("p");
            // Each is woken by itself, and the parent may be gone before the others hear of it.
            let children: Vec<_> =
                (0..3).map(|n| tokio::spawn(parent.child(n.to_string()).scope(std::future::pending::<()>()))).collect();
            let work = tokio::spawn(parent.scope(std::future::pending::<()>()));
            list.kill("p", "out").unwrap();
            for task in children.into_iter().chain([work]) {
                assert_eq!(task.await.unwrap().unwrap_err().message(), "out");
            }
        }
    });
}

#[test]
fn the_children_of_a_thread_that_notices_its_kill_at_once_are_reached() {
    let list = ProcList::new();
    let called = Arc::new(AtomicUsize::new(0));
    for _ in 0..300 {
        let parent = list.start("p");
        let child = parent.child("c");
        let deep = child.child("g");
        let count = Arc::clone(&called);
        let on_kill = child.on_kill(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
        let (tell, told) = mpsc::channel();
        let work = std::thread::spawn(move || {
            tell.send(()).unwrap();
            while parent.check().is_ok() {
                std::hint::spin_loop();
            }
            drop((on_kill, child, parent));
        });
        told.recv().unwrap();
        list.kill("p", "out").unwrap();
        work.join().unwrap();
        assert_eq!(deep.check().unwrap_err().message(), "out");
    }
    assert_eq!(called.load(Ordering::SeqCst), 300);
}

#[test]
fn children_inside_of_the_future_of_their_parent_are_killed_with_it() {
    let list = ProcList::new();
    let called = Arc::new(AtomicUsize::new(0));
    let mut client = Client::connect(serve(&list));
    client.types("delay 1h\n");
    on_two_threads(async {
        for _ in 0..100 {
            let parent = list.start("p");
            let (tell, is_parked) = tokio::sync::oneshot::channel();
            let count = Arc::clone(&called);
            let work = tokio::spawn(async move {
                let [with_call, plain, idle] = ["a", "b", "c"].map(|name| parent.child(name));
                let both = async {
                    let _on_kill = with_call.on_kill(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
                    let told = async {
                        tell.send(()).unwrap();
                        std::future::pending::<()>().await;
                    };
                    let _idle = idle;
                    _ = tokio::join!(with_call.run(told), plain.run(std::future::pending::<()>()));
                    std::future::pending::<()>().await;
                };
                parent.run(both).await.unwrap_err();
            });
            is_parked.await.unwrap();
            client.types("kill p out\n");
            work.await.unwrap();
            assert_eq!(client.up_to("p, and"), "p, and 3 below it: 4 killed");
        }
    });
    assert_eq!(called.load(Ordering::SeqCst), 100);
}

#[test]
fn the_rollback_of_a_killed_task_that_has_ended_is_done() {
    let list = ProcList::new();
    let task = list.start("import1");
    let handle = task.handle();
    list.kill("import1", "disk is full").unwrap();
    task.check().unwrap_err();
    drop(task);
    let rollback = handle.child("rollback").independent();
    assert!(rollback.check().is_ok());
    assert_eq!(handle.child("retry").check().unwrap_err().message(), "disk is full");

    // One that has not looked is spared, also if its parent ends before it says so.
    let top = list.start("p");
    let middle = top.child("c");
    list.kill("p", "out").unwrap();
    let undo = middle.child("undo");
    drop(middle);
    assert!(undo.independent().check().is_ok());
}

#[test]
fn a_child_that_is_born_while_its_parent_ends_is_below_the_next_above_it() {
    let list = ProcList::new();
    let mut listed = 0;
    for _ in 0..1000 {
        let top = list.start("a");
        let middle = top.child("p");
        let handle = middle.handle();
        let mut born = Vec::new();
        at_once(
            || drop(middle),
            || {
                while !handle.is_ended() && born.len() < 100 {
                    born.push(handle.child(born.len().to_string()));
                }
            },
        );
        list.kill("a", "out").unwrap();
        for task in born.iter().filter(|task| list.get(task.id()).is_some()) {
            listed += 1;
            assert!(task.is_being_killed() && task.check().is_err(), "{:?}", list.get(task.id()));
        }
    }
    assert!(listed > 0);
}

#[test]
fn a_parent_and_its_child_that_end_at_once_leave_nothing_with_the_one_above_them() {
    let list = ProcList::new();
    list.keep_done(0);
    let top = list.start("root");
    let pairs_end = |pairs| {
        for _ in 0..pairs {
            let middle = top.child("c");
            let deep = middle.child("g");
            at_once(|| drop(middle), || drop(deep));
        }
    };
    // The list itself has room then.
    pairs_end(1000);
    let before = list.stats().memory;
    pairs_end(5000);
    let grown = list.stats().memory.saturating_sub(before);
    assert!(grown < 4096, "{grown} bytes");
}

#[test]
fn the_kill_that_a_child_is_born_under_is_a_kill_like_any_other() {
    let list = ProcList::new();
    let parent = list.start("p");
    list.kill("p", "first").unwrap();
    // It came before any other ..
    let child = parent.child("c");
    assert_eq!(list.kill("p/c", "second").unwrap_err().to_string(), r#"already killing p/c: "first""#);
    assert_eq!(child.check().unwrap_err().message(), "first");
    // .. it is still known when the child has ended and never looked ..
    let quick = parent.child("quick");
    let handle = quick.handle();
    assert_eq!(quick.done().killing.unwrap().message, "first");
    assert!(handle.is_being_killed() && handle.check().is_err());
    // .. it can be refused, and it does not go on below one that is spared.
    let refuses = parent.child("r").forbid_kill();
    assert!(!refuses.is_being_killed() && refuses.check().is_ok());
    let rollback = parent.child("rollback");
    let step = rollback.child("step");
    let rollback = rollback.independent();
    assert!(rollback.check().is_ok() && step.check().is_ok() && !step.is_being_killed());
}

#[test]
fn what_an_independent_task_leaves_is_independent_too() {
    let list = ProcList::new();
    let top = list.start("p");
    let rollback = top.child("rollback").independent();
    let step = rollback.child("step");
    drop(rollback);
    list.kill("p", "out").unwrap();
    assert!(step.check().is_ok());
}

#[test]
fn calls_that_block_for_ever_do_not_keep_others_waiting() {
    let list = ProcList::new();
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let blocked: Vec<_> = (0..8)
        .map(|n| {
            let (task, wait) = (list.start(format!("b{n}")), Arc::clone(&wait));
            let guard = task.on_kill(move |_| _ = wait.lock().unwrap().recv());
            list.kill(task.id(), "").unwrap();
            (task, guard)
        })
        .collect();
    let (tell, told) = mpsc::channel();
    let task = list.start("ninth");
    let guard = task.on_kill(move |_| tell.send(()).unwrap());
    list.kill("ninth", "").unwrap();
    drop(guard);
    told.try_recv().expect("its guard has waited for the call");
    drop(release);
    drop(blocked);
}

#[test]
fn one_kill_of_a_large_family_leaves_the_records_of_others() {
    let list = ProcList::new();
    let victim = list.start("victim");
    list.kill("victim", "too slow").unwrap();
    victim.check().unwrap_err();
    drop(victim);
    let parent = list.start("big");
    let children: Vec<_> = (0..300).map(|n| parent.child(n.to_string())).collect();
    list.kill("big", "out").unwrap();
    children.iter().for_each(|child| _ = child.check());
    drop(children);
    parent.check().unwrap_err();
    drop(parent);
    let mut client = Client::connect(serve(&list));
    assert!(client.asks("show victim").starts_with("victim killed"));
    client.up_to("init");
    assert!(client.asks("audit").contains(" victim "));
    assert!(client.line().contains(r#" big "out", and 300 below it: killed"#));
}

#[test]
fn a_secret_kind_stays_one_however_many_secrets_there_are() {
    let list = ProcList::new();
    list.kind("user");
    let task = list.start("a");
    (0..70).for_each(|n| {
        task.set_secret_col(format!("s{n}"), n);
        task.remove_col(format!("s{n}"));
    });
    drop(list.start("b").secret_col("user", "amy-secret"));
    let _running = list.start("c").secret_col("user", "bob-secret");
    let mut sees = Client::connect(list.server().read_only().spawn(":0").unwrap());
    sees.types("kinds\nodd\nkill x\n");
    let mut line = sees.line();
    while !line.starts_with("forbidden") {
        assert!(!line.contains("secret"), "{line}");
        line = sees.line();
    }
}
