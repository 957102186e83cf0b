//! What being watched costs a task, and the program.
//!
//! `cargo bench --bench watched`: 100 clients, in a process of their own, watch
//! 10,000 tasks every second over loopback, every row of them, while a thread
//! starts and ends tasks and takes the time of each. The same thread is timed
//! with nobody watching, in turns. Then the clients are alone, and the processor
//! time of this process is read. Then one client watches 100,000 tasks.
//!
//! Linux only: the processor time is read from /proc.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

mod baseline;
mod clients;
use baseline::{Times, crowd_in_pm, processor_time, report};
use clients::Watchers;

const PHASE: Duration = Duration::from_secs(10);

fn main() {
    if clients::are_we() {
        return;
    }
    println!(
        "                            p50       p99.9      p99.99         max   of a start, 3 columns, 3 statuses, done"
    );
    let (list, tasks) = crowd_in_pm(10_000);
    let addr = serve(&list);
    let alone = Times(baseline::lives(&list, PHASE));
    report("10,000 tasks, nobody", &alone);
    let watchers = Watchers::start(addr, 100, "");
    let watched = Times(baseline::lives(&list, PHASE));
    report("10,000 tasks, 100 clients", &watched);
    println!("ratio of the medians: {:.2}", watched.quantile(0.5).as_secs_f64() / alone.quantile(0.5).as_secs_f64());

    watchers.stop();

    let before = processor_time();
    let watchers = Watchers::start(addr, 100, "");
    thread::sleep(PHASE);
    let [user, system] = [0, 1].map(|part| processor_time()[part] - before[part]);
    let frames = watchers.stop() as f64 / list.table(usize::MAX).len() as f64;
    println!(
        "processor time of 10 s for the 100 clients: {:.2} s, {system:.2} s of it the kernel's, {frames:.0} frames",
        user + system
    );
    drop(tasks);

    let (list, _tasks) = crowd_in_pm(100_000);
    let addr = serve(&list);
    report("100,000 tasks, nobody", &Times(baseline::lives(&list, PHASE)));
    let watchers = Watchers::start(addr, 1, "");
    report("100,000 tasks, 1 client", &Times(baseline::lives(&list, PHASE)));
    watchers.stop();
}

fn serve(list: &pm::ProcList) -> SocketAddr {
    list.server().delay(Duration::from_secs(1)).limit(usize::MAX).max_connections(200).spawn(":0").unwrap()
}
