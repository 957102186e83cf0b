//! What the figures are held against: the algorithm of the original, a map
//! behind one lock, under which the table is formatted too.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct MutexMap {
    procs: Mutex<HashMap<String, Proc>>,
}

struct Proc {
    started: Instant,
    cols: HashMap<String, String>,
    status: String,
    status_since: Instant,
    is_killed: bool,
}

impl MutexMap {
    pub fn start(&self, id: &str, cols: &[(&str, &str)]) {
        let now = Instant::now();
        let cols = cols.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let proc = Proc { started: now, cols, status: "init".into(), status_since: now, is_killed: false };
        self.procs.lock().unwrap().insert(id.to_string(), proc);
    }

    pub fn status(&self, id: &str, status: &str) {
        let mut procs = self.procs.lock().unwrap();
        let proc = procs.get_mut(id).unwrap();
        assert!(!proc.is_killed);
        proc.status = status.to_string();
        proc.status_since = Instant::now();
    }

    pub fn done(&self, id: &str) {
        self.procs.lock().unwrap().remove(id);
    }

    pub fn contents(&self, columns: &[&str]) -> String {
        let procs = self.procs.lock().unwrap();
        let now = Instant::now();
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (id, proc) in procs.iter() {
            let seconds = (now - proc.started).as_secs_f64();
            let mut row = vec![id.clone(), proc.status.clone(), format!("{seconds:.4}")];
            row.extend(columns.iter().map(|name| proc.cols.get(*name).cloned().unwrap_or_default()));
            rows.push(row);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..3 + columns.len()).map(width).collect();
        let mut table = String::new();
        for row in &rows {
            for (cell, width) in row.iter().zip(&widths) {
                write!(table, "{cell:width$}  ").unwrap();
            }
            table.push('\n');
        }
        table
    }
}

/// What every task of the benchmarks is like.
pub const COLS: [(&str, &str); 3] = [("host", "127.0.0.1:18364"), ("method", "GET"), ("uri", "/users/5/friends")];
pub const STATUSES: [&str; 3] = ["authenticating", "querying", "rendering"];

/// The life of a request: three columns, three statuses with their kill points.
pub fn life_in_pm(list: &pm::ProcList, n: u64) {
    let [host, method, uri] = COLS;
    let task = list.start(format!("req{n}")).col(host.0, host.1).col(method.0, method.1).col(uri.0, uri.1);
    for status in STATUSES {
        task.status(status)();
    }
}

/// The same in the baseline.
pub fn life_in_mutex_map(map: &MutexMap, n: u64) {
    let id = format!("req{n}");
    map.start(&id, &COLS);
    for status in STATUSES {
        map.status(&id, status);
    }
    map.done(&id);
}

/// A list with `n` tasks, and the guards that keep them there.
pub fn crowd_in_pm(n: u64) -> (pm::ProcList, Vec<pm::Task>) {
    let list = pm::ProcList::new();
    list.set_cols(COLS.map(|(name, _)| name));
    let [host, method, uri] = COLS;
    let start = |n| list.start(format!("live{n}")).col(host.0, host.1).col(method.0, method.1).col(uri.0, uri.1);
    let tasks = (0..n).map(start).collect();
    (list, tasks)
}

/// The same in the baseline.
pub fn crowd_in_mutex_map(n: u64) -> MutexMap {
    let map = MutexMap::default();
    (0..n).for_each(|n| map.start(&format!("live{n}"), &COLS));
    map
}

/// The wall time of `lives` lives, shared by two threads.
pub fn on_two_threads(lives: u64, live: impl Fn(u64) + Sync) -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = NEXT.fetch_add(lives + 1, Ordering::Relaxed);
    let barrier = Barrier::new(3);
    thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let (barrier, live) = (&barrier, &live);
            scope.spawn(move || {
                barrier.wait();
                (first + worker..first + lives).step_by(2).for_each(live);
            })
        });
        barrier.wait();
        let began = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        began.elapsed()
    })
}

/// The times of single lives at a steady pace, so that clients find a processor too. Sorted.
pub fn lives(list: &pm::ProcList, phase: Duration) -> Vec<Duration> {
    let mut times = Vec::with_capacity(4_000_000);
    // Ids that no crowd has.
    let (began, mut n) = (Instant::now(), 1_000_000);
    while began.elapsed() < phase && times.len() < times.capacity() {
        for _ in 0..100 {
            n += 1;
            let start = Instant::now();
            life_in_pm(list, n);
            times.push(start.elapsed());
        }
        let pace = Instant::now();
        while pace.elapsed() < Duration::from_micros(200) {
            std::hint::spin_loop();
        }
    }
    times.sort_unstable();
    times
}

/// User and system time of this process, in seconds (proc(5): fields 14 and 15 of stat).
pub fn processor_time() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap()).collect();
    [ticks[0] / 100.0, ticks[1] / 100.0]
}

/// The times of single lives, as counts by nanoseconds.
pub struct Times(pub Vec<Duration>);

impl Times {
    pub fn quantile(&self, q: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * q) as usize]
    }
}

#[allow(clippy::print_stdout)]
pub fn report(what: &str, times: &Times) {
    let [p50, p999, p9999, max] = [0.5, 0.999, 0.9999, 1.0].map(|q| format!("{:.2?}", times.quantile(q)));
    println!("{what:<26}{p50:>11} {p999:>11} {p9999:>11} {max:>11}   {} lives", times.0.len());
}
