//! A job runner on plain threads, no async runtime in sight.
//!
//! ```text
//! cargo run --example jobs                   # [PM_ADDR]
//!
//! nc localhost 8081                          # watch the jobs, and type:
//! kill sort1 not today
//! kill import1 disk is full                  # and its four parts
//! tree
//! done where outcome=killed
//! ```
//!
//! Three workers take the next job when they have done one. The runner makes each job a task and
//! logs why it was killed; the jobs themselves only say what they do, and how far they have come. One that sorts is
//! killed by unwinding, one that copies by an error that it passes up, and by its deadline if it takes too long. One that
//! imports has four parts on threads of their own, which its kill reaches too.
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
    Import,
}

const JOBS: [Job; 3] = [Job::Sort, Job::Copy, Job::Import];

/// How many rows a copy, or a part of an import, has.
const ROWS: u64 = 200;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string());
    pm::set_cols(["kind", "worker"]);
    pm::global().kind("kind");
    let addr = pm::spawn(addr)?;
    println!("processlist: nc {} {}", addr.ip(), addr.port());

    let workers = ["amy", "bob", "cyd"].map(|name| thread::spawn(move || work_for_ever(name)));
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a worker died of a bug"))?;
    }
    Ok(())
}

fn work_for_ever(worker: &str) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let job = JOBS[NEXT.fetch_add(1, Ordering::Relaxed) as usize % JOBS.len()];
        if let Err(killed) = run(job, worker) {
            eprintln!("{:?} {killed} (in {:?}, at {})", killed.id(), killed.status(), killed.location());
        }
    }
}

/// Runs one job as a task. `in_scope` makes it the current one; `catch` stops the unwinding of a kill, so
/// that the worker lives on.
fn run(job: Job, worker: &str) -> Result<(), pm::Killed> {
    let kind = match job {
        Job::Sort => "sort",
        Job::Copy => "copy",
        Job::Import => "import",
    };
    let task = pm::start_numbered(kind).col("kind", kind).col("worker", worker);
    task.in_scope(|| match job {
        Job::Sort => pm::catch(sort),
        Job::Copy => copy(),
        Job::Import => import(),
    })
}

/// Killed by unwinding: nothing on the way up has to know.
fn sort() {
    let task = pm::current();
    task.status("reading")();
    work(Duration::from_secs(2));
    for pass in 0..20 {
        task.status("merging")();
        task.progress(pass, 20);
        work(Duration::from_millis(500));
    }
}

/// Killed by an error: for code that must tidy up, or holds locks. Every third one is too slow for its deadline.
fn copy() -> Result<(), pm::Killed> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let is_slow = NEXT.fetch_add(1, Ordering::Relaxed) % 3 == 2;
    let task = pm::current();
    task.deadline(Duration::from_secs(12));
    rows(&task, "copying", Duration::from_millis(if is_slow { 100 } else { 30 }))
}

/// Four parts, each on a thread of its own and with a row of its own below this one.
fn import() -> Result<(), pm::Killed> {
    let task = pm::current();
    task.set_status("waiting for its parts");
    let parts = [1, 2, 3, 4].map(|part| {
        let part_task = task.child(format!("part{part}")).col("kind", "part");
        thread::spawn(move || rows(&part_task, "reading", Duration::from_millis(40 + 20 * part)))
    });
    let mut results = Vec::new();
    task.progress(0, 4);
    for part in parts {
        results.push(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        task.progress(results.iter().filter(|result| result.is_ok()).count() as u64, 4);
    }
    // A kill of this task first: that of a part alone ends it too, but was not its own.
    task.check()?;
    results.into_iter().collect::<Result<(), _>>()?;
    task.try_status("merging its parts")?;
    work(Duration::from_secs(1));
    task.check()
}

fn rows(task: &pm::Handle, status: &'static str, each: Duration) -> Result<(), pm::Killed> {
    task.set_status(status);
    for row in 0..ROWS {
        task.progress(row, ROWS);
        task.check()?;
        work(each);
    }
    Ok(())
}

/// Stands for code that keeps its thread busy.
fn work(time: Duration) {
    thread::sleep(time);
}
