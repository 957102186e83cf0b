//! What a task pays, in turns with what it is held against.
//!
//! `cargo bench --bench pairs`: both are timed in short rounds, one after the
//! other, so that a machine that is busy with something else is busy for both.
//! Printed are the medians, and the median of the ratios of each round.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

mod baseline;
use baseline::{COLS, STATUSES, crowd_in_mutex_map, crowd_in_pm, life_in_mutex_map, life_in_pm, on_two_threads};

const LIVE: u64 = 10_000;

/// The time of one call each, over `rounds` rounds of `calls` calls.
fn pair(
    what: &str,
    rounds: usize,
    calls: u64,
    mut pm: impl FnMut(u64) -> Duration,
    mut other: impl FnMut(u64) -> Duration,
) {
    let mut times = Vec::new();
    for round in 0..rounds {
        let (a, b) = match round % 2 {
            0 => (pm(calls), other(calls)),
            _ => {
                let b = other(calls);
                (pm(calls), b)
            }
        };
        let each = |time: Duration| time.as_nanos() as f64 / calls as f64;
        times.push([each(a), each(b), each(a) / each(b)]);
    }
    let median = |which: usize| {
        let mut values: Vec<f64> = times.iter().map(|row| row[which]).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("{what:<60} {:>12.0} ns {:>12.0} ns {:>8.2}", median(0), median(1), median(2));
}

/// A round: `call` so many times, timed as one.
fn round(mut call: impl FnMut()) -> impl FnMut(u64) -> Duration {
    move |calls| {
        let began = Instant::now();
        (0..calls).for_each(|_| call());
        began.elapsed()
    }
}

/// Numbers that no other call of this has returned.
fn numbers() -> impl FnMut() -> u64 {
    let mut n = 0;
    move || {
        n += 1;
        n
    }
}

fn main() {
    println!("{:<60} {:>15} {:>15} {:>8}", "", "pm", "other", "ratio");
    let (list, _tasks) = crowd_in_pm(LIVE);
    let map = crowd_in_mutex_map(LIVE);
    let (mut a, mut b) = (numbers(), numbers());
    let mut pm = round(|| life_in_pm(&list, a()));
    pair(
        "a life: start, 3 columns, 3 statuses, done; the mutex map",
        301,
        10_000,
        &mut pm,
        round(|| life_in_mutex_map(&map, b())),
    );
    let clock = round(|| _ = black_box([(); 2].map(|()| Instant::now())));
    pair("a life; its two readings of the clock alone", 301, 10_000, &mut pm, clock);
    let mut n = numbers();
    pair("a life; formatting its id alone", 301, 10_000, &mut pm, round(|| drop(black_box(format!("req{}", n())))));
    let two = |live: &(dyn Fn(u64) + Sync), n: u64| on_two_threads(n, live);
    pair(
        "a life, on two threads (wall time / lives); the mutex map",
        301,
        20_000,
        |n| two(&|n| life_in_pm(&list, n), n),
        |n| two(&|n| life_in_mutex_map(&map, n), n),
    );

    let task = list.start("one");
    map.start("one", &COLS);
    let mut statuses = STATUSES.into_iter().cycle();
    let mut status = round(|| task.status(statuses.next().unwrap())());
    let mut others = STATUSES.into_iter().cycle();
    pair("a status; the mutex map", 301, 30_000, &mut status, round(|| map.status("one", others.next().unwrap())));
    pair("a status; the clock alone", 301, 30_000, &mut status, round(|| _ = black_box(Instant::now())));

    for (rows, rounds) in [(10_000, 31), (100_000, 11)] {
        let (list, _tasks) = crowd_in_pm(rows);
        let map = crowd_in_mutex_map(rows);
        let columns = COLS.map(|(name, _)| name);
        let frame = list.table(usize::MAX);
        let mut table = round(|| drop(black_box(list.table(usize::MAX))));
        let all_blocked = round(|| drop(black_box(map.contents(&columns))));
        pair(&format!("a table of {rows} rows; the mutex map, all tasks blocked"), rounds, 1, &mut table, all_blocked);
        let memcpy = round(|| drop(black_box(black_box(&frame).clone())));
        pair(&format!("a table of {rows} rows; a memcpy of it"), rounds, 1, &mut table, memcpy);
    }
}
