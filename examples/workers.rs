//! Plain threads, no async runtime in sight.
//!
//! ```text
//! cargo run --example workers                # [PM_ADDR]
//!
//! nc localhost 8081                          # watch the jobs, and type:
//! kill copy1 disk is full
//! kill sort1 not today
//! ```
//!
//! Two workers do one job after the other. The one that sorts is killed by
//! unwinding, the one that copies by an error that it passes up.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io;
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string());
    pm::set_cols(["worker", "rows"]);
    let addr = pm::spawn(addr)?;
    println!("processlist: nc {} {}", addr.ip(), addr.port());

    let sorter = thread::spawn(|| {
        for n in 1.. {
            // `catch` stops the unwinding, so that the worker lives on.
            if let Err(killed) = pm::catch(|| sort(n)) {
                eprintln!("{:?} {killed}", killed.id());
            }
        }
    });
    let copier = thread::spawn(|| {
        for n in 1.. {
            if let Err(killed) = copy(n) {
                eprintln!("{:?} {killed}", killed.id());
            }
        }
    });
    for worker in [sorter, copier] {
        worker.join().map_err(|_| io::Error::other("a worker died of a bug"))?;
    }
    Ok(())
}

/// Killed by unwinding: nothing on the way up has to know.
fn sort(n: u64) {
    let task = pm::start(format!("sort{n}")).col("worker", "sorter").col("rows", 1000 * n);
    task.status("reading")();
    work(Duration::from_secs(2));
    for pass in 1..=20 {
        task.status(format!("merging, pass {pass} of 20"))();
        work(Duration::from_millis(500));
    }
}

/// Killed by an error: for code that must tidy up, or holds locks.
fn copy(n: u64) -> Result<(), pm::Killed> {
    let task = pm::start(format!("copy{n}")).col("worker", "copier");
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
