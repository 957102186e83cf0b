//! A job runner on plain threads, no async runtime in sight.
//!
//! ```text
//! cargo run --example jobs                   # [PM_ADDR]
//!
//! nc localhost 8081                          # watch the jobs, and type:
//! kill copy1 disk is full
//! kill sort1 not today
//! ```
//!
//! Two workers take the next job when they have done one. The runner makes each job a task and
//! logs why it was killed; the jobs themselves only say what they do. One that sorts is killed by
//! unwinding, one that copies by an error that it passes up.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What there is to do.
#[derive(Clone, Copy)]
enum Job {
    Sort,
    Copy,
}

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string());
    pm::set_cols(["worker", "rows"]);
    let addr = pm::spawn(addr)?;
    println!("processlist: nc {} {}", addr.ip(), addr.port());

    let workers = ["amy", "bob"].map(|name| thread::spawn(move || work_for_ever(name)));
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a worker died of a bug"))?;
    }
    Ok(())
}

fn work_for_ever(worker: &str) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let job = if NEXT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { Job::Sort } else { Job::Copy };
        if let Err(killed) = run(job, worker) {
            eprintln!("{:?} {killed} (in {:?})", killed.id(), killed.status());
        }
    }
}

/// Runs one job as a task. `in_scope` makes it the current one; `catch` stops the unwinding of a kill, so
/// that the worker lives on.
fn run(job: Job, worker: &str) -> Result<(), pm::Killed> {
    let prefix = match job {
        Job::Sort => "sort",
        Job::Copy => "copy",
    };
    let task = pm::start_numbered(prefix).col("worker", worker);
    task.in_scope(|| match job {
        Job::Sort => pm::catch(sort),
        Job::Copy => copy(),
    })
}

/// Killed by unwinding: nothing on the way up has to know.
fn sort() {
    pm::current().status("reading")();
    work(Duration::from_secs(2));
    for pass in 1..=20 {
        pm::current().status(format!("merging, pass {pass} of 20"))();
        work(Duration::from_millis(500));
    }
}

/// Killed by an error: for code that must tidy up, or holds locks.
fn copy() -> Result<(), pm::Killed> {
    let task = pm::current();
    for row in 0..100 {
        task.set_col("rows", row);
        task.try_status("copying")?;
        work(Duration::from_millis(100));
    }
    Ok(())
}

/// Stands for code that keeps its thread busy.
fn work(time: Duration) {
    thread::sleep(time);
}
