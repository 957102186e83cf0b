//! What a task pays now, in turns with what it paid before.
//!
//! Short rounds, one after the other, so that a machine that is busy with something else is busy
//! for both. Printed are the medians, and the median of the ratios of each round.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What is timed, once for each of the two crates: the same source, so that nothing else differs.
macro_rules! work {
    ($name:ident, $pm:ident) => {
        mod $name {
            use super::*;

            pub struct List(pub $pm::ProcList, #[allow(dead_code)] Vec<$pm::Task>);

            /// A list in which so many tasks are running.
            pub fn list(live: u64) -> List {
                let list = $pm::ProcList::new();
                list.set_cols(["host", "method", "uri"]);
                let start = |n| {
                    let task = list.start(format!("live{n}"));
                    task.col("host", "127.0.0.1:18364").col("method", "GET").col("uri", "/users/5/friends")
                };
                let tasks = (0..live).map(start).collect();
                List(list, tasks)
            }

            /// Three columns, three statuses with their kill points, the end.
            pub fn life(list: &List, n: u64) {
                let task = list.0.start(format!("req{n}")).col("host", "127.0.0.1:18364");
                let task = task.col("method", "GET").col("uri", "/users/5/friends");
                task.status("authenticating")();
                task.status("querying")();
                task.status("rendering")();
            }

            /// The same with an address and a number as they are.
            pub fn life_with_values(list: &List, n: u64) {
                let peer = SocketAddr::from(([127, 0, 0, 1], (n % 60_000) as u16));
                let task = list.0.start(format!("req{n}")).col("host", peer);
                let task = task.col("bytes", n).col("uri", "/users/5/friends");
                task.status("authenticating")();
                task.status("querying")();
                task.status("rendering")();
            }

            pub fn start_and_end(list: &List, n: u64) {
                drop(list.0.start(format!("req{n}")));
            }

            /// A `run` that parks once: a poll that is pending, a wake-up, one that is ready.
            pub fn parks_once(list: &List, n: u64) {
                let task = list.0.start(format!("req{n}"));
                let mut is_first = true;
                let work = std::future::poll_fn(|_| match std::mem::take(&mut is_first) {
                    true => std::task::Poll::Pending,
                    false => std::task::Poll::Ready(()),
                });
                let mut run = std::pin::pin!(task.run(work));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(run.as_mut().poll(&mut cx).is_pending());
                assert!(run.as_mut().poll(&mut cx).is_ready());
            }

            pub fn status(task: &$pm::Task, n: u64) {
                task.status(["authenticating", "querying", "rendering"][n as usize % 3])();
            }

            pub fn one_task() -> $pm::Task {
                $pm::ProcList::new().start("one")
            }
        }
    };
}

work!(now, pm);
work!(before, pm_before);

const ROUNDS: usize = 301;
const LIVES: u64 = 5_000;
const LIVE: u64 = 10_000;

fn round(call: impl Fn(u64), first: &mut u64) -> Duration {
    let began = Instant::now();
    (*first..*first + LIVES).for_each(&call);
    *first += LIVES;
    began.elapsed()
}

fn on_two_threads(call: impl Fn(u64) + Sync, first: &mut u64) -> Duration {
    let barrier = Barrier::new(3);
    let from = *first;
    *first += 2 * LIVES;
    thread::scope(|scope| {
        let workers = [0, LIVES].map(|offset| {
            let (barrier, call) = (&barrier, &call);
            scope.spawn(move || {
                barrier.wait();
                (from + offset..from + offset + LIVES).for_each(call);
            })
        });
        barrier.wait();
        let began = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        began.elapsed() / 2
    })
}

fn pair(what: &str, mut now: impl FnMut() -> Duration, mut before: impl FnMut() -> Duration) {
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let (a, b) = match n % 2 {
            0 => (now(), before()),
            _ => {
                let b = before();
                (now(), b)
            }
        };
        let each = |time: Duration| time.as_nanos() as f64 / LIVES as f64;
        times.push([each(a), each(b), each(a) / each(b)]);
    }
    let median = |which: usize| {
        let mut values: Vec<f64> = times.iter().map(|row| row[which]).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("{what:<60} {:>8.0} ns {:>8.0} ns {:>6.2}", median(0), median(1), median(2));
}

fn main() {
    println!("{:<60} {:>11} {:>11} {:>6}", "", "now", "before", "ratio");
    let (a, b) = (now::list(LIVE), before::list(LIVE));
    let (mut n, mut m) = (0, 0);
    pair(
        "a life: start, 3 columns, 3 statuses, done; 10,000 others",
        || round(|n| now::life(&a, n), &mut n),
        || round(|n| before::life(&b, n), &mut m),
    );
    pair(
        "the same on two threads (wall time / lives)",
        || on_two_threads(|n| now::life(&a, n), &mut n),
        || on_two_threads(|n| before::life(&b, n), &mut m),
    );
    pair(
        "a life with an address and a number in its columns",
        || round(|n| now::life_with_values(&a, n), &mut n),
        || round(|n| before::life_with_values(&b, n), &mut m),
    );
    pair(
        "start and done alone",
        || round(|n| now::start_and_end(&a, n), &mut n),
        || round(|n| before::start_and_end(&b, n), &mut m),
    );
    pair(
        "start, a run that parks once, done",
        || round(|n| now::parks_once(&a, n), &mut n),
        || round(|n| before::parks_once(&b, n), &mut m),
    );
    let (one, other) = (now::one_task(), before::one_task());
    pair(
        "a status with its kill point",
        || round(|n| now::status(&one, n), &mut n),
        || round(|n| before::status(&other, n), &mut m),
    );
    pair(
        "its clock alone, and twice",
        || round(|_| _ = black_box(Instant::now()), &mut n),
        || round(|_| _ = black_box([Instant::now(), Instant::now()]), &mut m),
    );
}
