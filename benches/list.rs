//! What a task pays for being listed, and what a table costs.
//!
//! `cargo bench --bench list`; each group holds its own baseline. On a machine
//! that is shared, the ratios of `cargo bench --bench pairs` say more.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

mod baseline;
use baseline::{COLS, STATUSES, crowd_in_mutex_map, crowd_in_pm, life_in_mutex_map, life_in_pm, on_two_threads};

const LIVE: u64 = 10_000;

fn life(c: &mut Criterion) {
    let (list, _tasks) = crowd_in_pm(LIVE);
    let map = crowd_in_mutex_map(LIVE);
    let mut n = 0;
    let mut next = || {
        n += 1;
        n
    };
    let mut group = c.benchmark_group("life");
    group.bench_function("pm", |b| b.iter(|| life_in_pm(&list, next())));
    group.bench_function("mutex map", |b| b.iter(|| life_in_mutex_map(&map, next())));
    group.bench_function("its two clock readings alone", |b| b.iter(|| [(); 2].map(|()| black_box(Instant::now()))));
    group.bench_function("its id alone", |b| b.iter(|| format!("req{}", next())));
}

fn life_on_two_threads(c: &mut Criterion) {
    let (list, _tasks) = crowd_in_pm(LIVE);
    let map = crowd_in_mutex_map(LIVE);
    let mut group = c.benchmark_group("life on two threads");
    group.bench_function("pm", |b| b.iter_custom(|n| on_two_threads(n, |n| life_in_pm(&list, n))));
    group.bench_function("mutex map", |b| b.iter_custom(|n| on_two_threads(n, |n| life_in_mutex_map(&map, n))));
}

fn status(c: &mut Criterion) {
    let (list, _tasks) = crowd_in_pm(LIVE);
    let map = crowd_in_mutex_map(LIVE);
    let task = list.start("one");
    map.start("one", &COLS);
    let mut statuses = STATUSES.into_iter().cycle();
    let mut group = c.benchmark_group("status");
    group.bench_function("pm", |b| b.iter(|| task.status(statuses.next().unwrap())()));
    group.bench_function("mutex map", |b| b.iter(|| map.status("one", statuses.next().unwrap())));
    group.bench_function("the clock alone", |b| b.iter(Instant::now));
}

fn table(c: &mut Criterion) {
    let mut group = c.benchmark_group("table");
    group.sample_size(10);
    for rows in [10_000, 100_000] {
        let (list, _tasks) = crowd_in_pm(rows);
        let map = crowd_in_mutex_map(rows);
        let columns = COLS.map(|(name, _)| name);
        let frame = list.table(usize::MAX);
        group.bench_function(BenchmarkId::new("pm", rows), |b| b.iter(|| list.table(usize::MAX)));
        group.bench_function(BenchmarkId::new("mutex map, all blocked", rows), |b| b.iter(|| map.contents(&columns)));
        group.bench_function(BenchmarkId::new("memcpy of the frame", rows), |b| b.iter(|| black_box(&frame).clone()));
    }
}

criterion_group!(benches, life, life_on_two_threads, status, table);
criterion_main!(benches);
