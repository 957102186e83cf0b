//! What is allocated: by tasks that hold much, by those that have ended, by sessions that asked for all.
//!
//! One test, because what is counted is all that the process allocates.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::System;
use std::fmt::{self, Display};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use pm::ProcList;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The bytes that are allocated now and were not before `act`, and what `act` returned.
fn grows<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = allocated();
    let kept = act();
    (allocated().saturating_sub(before), kept)
}

#[test]
fn what_is_held_is_bounded_in_bytes() {
    long_statuses_and_messages_are_cut();
    an_ended_task_gives_its_past_back_however_it_ended();
    a_value_that_is_full_stops_its_display();
    the_finished_of_all_threads_share_one_bound();
    to_keep_none_gives_all_back();
    a_large_answer_that_was_sent_is_given_back();
}

fn long_statuses_and_messages_are_cut() {
    let list = ProcList::new();
    let uri = "x".repeat(64 << 10);
    let (held, _tasks) = grows(|| {
        let run = |n| {
            let task = list.start(format!("req{n}{uri}"));
            ["reading", "parsing", "writing"].into_iter().for_each(|step| task.set_status(format!("{step} {uri}")));
            list.kill(task.id(), uri.clone()).unwrap();
            // A short text in a large buffer.
            let mut status = String::with_capacity(64 << 10);
            status.push_str("short");
            task.set_status(status);
            task
        };
        (0..500).map(run).collect::<Vec<_>>()
    });
    assert!(held < 500 * 4096, "{held} bytes are held by 500 tasks");
}

fn an_ended_task_gives_its_past_back_however_it_ended() {
    let ends: [fn(&ProcList, pm::Task); 4] = [
        |_, task| drop(task),
        |_, task| drop(task.done()),
        |list, task| drop(list.done(task.id())),
        |list, task| {
            let id = task.detach();
            drop(list.done(&id).unwrap());
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let list = ProcList::new();
        let (held, ()) = grows(|| {
            for n in 0..256 {
                let task = list.start(format!("t{n}"));
                (0..40).for_each(|step| task.set_status(format!("{step:0>200}")));
                end(&list, task);
            }
        });
        assert!(held < 256 * 1100, "{held} bytes are kept of 256 that ended in the way {n}");
    }
}

fn a_value_that_is_full_stops_its_display() {
    struct Endless;
    impl Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("endless ")?;
            }
        }
    }
    let list = ProcList::new();
    let (held, _task) = grows(|| list.start("a").col("value", Endless));
    assert!(held < 4096, "{held}");
}

/// Tasks with 32 columns of a kilobyte each, on 32 threads, all ended.
fn end_large_ones(list: &ProcList) {
    let value = "x".repeat(1024);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for n in 0..40 {
                    let task = list.start(format!("t{n}"));
                    (0..32).for_each(|column| task.set_col(format!("c{column}"), &value));
                }
            });
        }
    });
}

fn the_finished_of_all_threads_share_one_bound() {
    let mut list = ProcList::new();
    // Whoever makes room does it for the others, too: one of many rounds would show it.
    for _ in 0..30 {
        list = ProcList::new();
        let (held, ()) = grows(|| end_large_ones(&list));
        assert!((4 * MIB..9 * MIB).contains(&held), "{held} bytes are kept of 42 MB");
    }
    list.keep_done_bytes(MIB);
    let before = allocated();
    list.keep_done_bytes(0);
    let held = before - allocated();
    assert!((MIB / 2..MIB + MIB / 16).contains(&held), "{held} bytes were kept where there may be 1 MiB");
}

fn to_keep_none_gives_all_back() {
    let list = ProcList::new();
    // The rates of the last minute have a fixed size for each thread, and stay.
    let (rates, ()) = grows(|| {
        list.keep_done(0);
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| drop(list.start("a")));
            }
        });
    });
    assert!(rates < MIB * 3 / 4, "{rates} bytes for the rates of 32 threads");
    list.keep_done(256);
    let before = allocated();
    end_large_ones(&list);
    assert!(allocated() > before + 4 * MIB);
    list.keep_done(0);
    let left = allocated().saturating_sub(before);
    assert!(left < MIB / 4, "{left} bytes are left, and nothing had to end for that");
}

fn a_large_answer_that_was_sent_is_given_back() {
    let list = ProcList::new();
    let addr = list.spawn(":0").unwrap();
    let _tasks: Vec<_> = (0..20_000).map(|n| list.start(format!("t{n}")).col("uri", "/users/5/friends")).collect();
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let ask = |command: &str| (&stream).write_all(format!("{command}\n").as_bytes()).unwrap();
    ask("limit 1\ndelay 1h\nhelp");
    lines.find(|line| line.starts_with("quit ")).unwrap();
    let before = allocated();
    ask("json");
    // The last one that started.
    lines.find(|line| line.starts_with(r#"{"id":"t19999""#)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while allocated() > before + MIB / 2 {
        assert!(Instant::now() < deadline, "{} bytes are kept by an idle session", allocated() - before);
        thread::yield_now();
    }
}
