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

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

mod baseline;
use baseline::{crowd_in_pm, processor_time};

const CLIENTS: &str = "PM_BENCH_CLIENTS";
const PHASE: Duration = Duration::from_secs(10);

fn main() {
    if let Ok(clients) = std::env::var(CLIENTS) {
        let (addr, count) = clients.split_once(' ').unwrap();
        return watch(addr.parse().unwrap(), count.parse().unwrap());
    }
    println!(
        "                            p50       p99.9      p99.99         max   of a start, 3 columns, 3 statuses, done"
    );
    let (list, tasks) = crowd_in_pm(10_000);
    let addr = serve(&list);
    let alone = Times(baseline::lives(&list, PHASE));
    report("10,000 tasks, nobody", &alone);
    let watchers = start_watchers(addr, 100);
    let watched = Times(baseline::lives(&list, PHASE));
    report("10,000 tasks, 100 clients", &watched);
    println!("ratio of the medians: {:.2}", watched.quantile(0.5).as_secs_f64() / alone.quantile(0.5).as_secs_f64());

    watchers.stop();

    let before = processor_time();
    let watchers = start_watchers(addr, 100);
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
    let watchers = start_watchers(addr, 1);
    report("100,000 tasks, 1 client", &Times(baseline::lives(&list, PHASE)));
    watchers.stop();
}

fn serve(list: &pm::ProcList) -> SocketAddr {
    list.server().delay(Duration::from_secs(1)).limit(usize::MAX).max_connections(200).spawn(":0").unwrap()
}

/// The times of single lives, as counts by nanoseconds.
struct Times(Vec<Duration>);

impl Times {
    fn quantile(&self, q: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * q) as usize]
    }
}

fn report(what: &str, times: &Times) {
    let [p50, p999, p9999, max] = [0.5, 0.999, 0.9999, 1.0].map(|q| format!("{:.2?}", times.quantile(q)));
    println!("{what:<26}{p50:>11} {p999:>11} {p9999:>11} {max:>11}   {} lives", times.0.len());
}

struct Watchers(Child);

impl Watchers {
    /// The end of their input ends them. Returns how many bytes they have read.
    fn stop(mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut read = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut read).unwrap();
        self.0.wait().unwrap();
        read.trim().parse().unwrap()
    }
}

/// Starts this program again as the clients, and waits until all have a frame.
fn start_watchers(addr: SocketAddr, count: usize) -> Watchers {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child =
        command.env(CLIENTS, format!("{addr} {count}")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    Watchers(child)
}

/// The clients: read as fast as it comes, say one byte when all have begun to,
/// and at the end of the input how much it was.
fn watch(addr: SocketAddr, count: u64) {
    static READING: AtomicU64 = AtomicU64::new(0);
    static BYTES: AtomicU64 = AtomicU64::new(0);
    for _ in 0..count {
        thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let mut buffer = vec![0; 1 << 16];
            let mut is_first = true;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                BYTES.fetch_add(read as u64, Ordering::Relaxed);
                if std::mem::take(&mut is_first) && READING.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    println!();
                }
            }
        });
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("{}", BYTES.load(Ordering::Relaxed));
}
