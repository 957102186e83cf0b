//! What a live task keeps in memory.
//!
//! `cargo bench --bench memory`
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

mod baseline;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TASKS: u64 = 100_000;

/// The bytes that are allocated for each of [`TASKS`] while `made` is alive.
fn bytes_each<T>(make: impl FnOnce() -> T) -> f64 {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    drop(made);
    (change.bytes_allocated as f64 - change.bytes_deallocated as f64) / TASKS as f64
}

fn main() {
    let guard = size_of::<pm::Task>();
    let pm = bytes_each(|| baseline::crowd_in_pm(TASKS)) - guard as f64;
    let with_statuses = bytes_each(|| {
        let (list, tasks) = baseline::crowd_in_pm(TASKS);
        for task in &tasks {
            baseline::STATUSES.into_iter().for_each(|status| task.set_status(status));
        }
        (list, tasks)
    }) - guard as f64;
    let map = bytes_each(|| baseline::crowd_in_mutex_map(TASKS));
    println!("bytes for each of {TASKS} live tasks with 3 short columns, their guards of {guard} bytes not counted");
    println!("pm                            {pm:.0}");
    println!("pm, after 3 statuses          {with_statuses:.0}");
    println!("mutex map                     {map:.0}");

    let (list, tasks) = baseline::crowd_in_pm(TASKS);
    let region = Region::new(ALLOCATOR);
    (0..TASKS).for_each(|n| baseline::life_in_pm(&list, n));
    let change = region.change();
    let kept = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    println!(
        "kept after {TASKS} lives beside them: {kept} bytes, {} allocations a life",
        change.allocations as u64 / TASKS
    );
    drop(tasks);
}
