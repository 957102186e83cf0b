//! What the list costs over HTTP, beside the line protocol.
//!
//! `cargo bench --bench http --features http`: the whole list as JSON and as a table, each asked for over one
//! connection in turns, with 10,000 and 100,000 tasks; the time of every life on another thread meanwhile, in turns with
//! the same thread when nobody asks; then 100 readers of `/events` and 100 clients of the port, in a process of their
//! own, with 1,000 changes a second among 10,000 tasks.
//!
//! Linux only: the processor time is read from /proc.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod baseline;
mod clients;
use baseline::{Times, crowd_in_pm, lives, processor_time, report};
use clients::Watchers;

const PHASE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 11;
const EVENTS: &str = "GET /events?delay=1s HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn main() {
    if clients::are_we() {
        return;
    }
    for n in [10_000, 100_000] {
        whole_list(n);
    }
    watched();
}

fn server(list: &pm::ProcList) -> pm::Server {
    list.server().delay(Duration::from_secs(1)).limit(usize::MAX).max_connections(200)
}

fn whole_list(n: u64) {
    let (list, _tasks) = crowd_in_pm(n);
    let (http, port) = (server(&list).spawn_http(":0").unwrap(), server(&list).spawn(":0").unwrap());
    let (mut json, mut table) = (Http::connect(http), Port::connect(port));
    let mut taken: [Vec<Duration>; 2] = Default::default();
    let mut bytes = [0; 2];
    for _ in 0..ROUNDS {
        let mut time = |which: usize, ask: &mut dyn FnMut() -> usize| {
            let began = Instant::now();
            bytes[which] = ask();
            let took = began.elapsed();
            taken[which].push(took);
            // Rendering takes half a processor at most: the next one would wait for that.
            thread::sleep(took * 2);
        };
        time(0, &mut || json.list());
        time(1, &mut || table.list());
    }
    let [json_took, table_took] = taken.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    println!(
        "{n} tasks: GET /procs/ {json_took:.1?} ({} kB), the table at the port {table_took:.1?} ({} kB), ratio {:.2}",
        bytes[0] / 1000,
        bytes[1] / 1000,
        json_took.as_secs_f64() / table_took.as_secs_f64()
    );
    report("nobody asks", &Times(lives(&list, PHASE)));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                json.list();
            }
        });
        report("GET /procs/ all the time", &Times(lives(&list, PHASE)));
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Processor time for 100 clients that see 1,000 changes a second.
fn watched() {
    let (list, tasks) = crowd_in_pm(10_000);
    let (http, port) = (server(&list).spawn_http(":0").unwrap(), server(&list).spawn(":0").unwrap());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_usize;
            while !is_over.load(Ordering::Relaxed) {
                tasks[n * 7919 % tasks.len()].set_status(if n.is_multiple_of(2) { "merging" } else { "rendering" });
                n += 1;
                thread::sleep(Duration::from_millis(1));
            }
        });
        let idle = spent(|| thread::sleep(PHASE));
        for (what, addr, first) in [("readers of /events", http, EVENTS), ("clients of the port", port, "")] {
            let watchers = Watchers::start(addr, 100, first);
            let took = spent(|| thread::sleep(PHASE));
            let bytes = watchers.stop();
            println!("100 {what}: {:.2} s of processor time in 10 s, {} MB", (took - idle).max(0.0), bytes / 1_000_000);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// The processor time that this process takes meanwhile.
fn spent(work: impl FnOnce()) -> f64 {
    let before: f64 = processor_time().iter().sum();
    work();
    processor_time().iter().sum::<f64>() - before
}

struct Http(BufReader<TcpStream>);

impl Http {
    fn connect(addr: SocketAddr) -> Http {
        Http(BufReader::new(TcpStream::connect(addr).unwrap()))
    }

    /// Asks for the list; its bytes.
    fn list(&mut self) -> usize {
        self.0.get_mut().write_all(b"GET /procs/ HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        length
    }
}

struct Port(BufReader<TcpStream>);

impl Port {
    /// A client that gets a frame when it asks for one.
    fn connect(addr: SocketAddr) -> Port {
        let mut port = Port(BufReader::new(TcpStream::connect(addr).unwrap()));
        port.0.get_mut().write_all(b"delay 1h\n\n").unwrap();
        let mut line = String::new();
        while !line.starts_with("frozen") {
            line.clear();
            port.0.read_line(&mut line).unwrap();
        }
        port
    }

    fn list(&mut self) -> usize {
        self.0.get_mut().write_all(b"list\nnothing\n").unwrap();
        let (mut line, mut bytes) = (String::new(), 0);
        while !line.starts_with("invalid command") {
            line.clear();
            bytes += self.0.read_line(&mut line).unwrap();
        }
        bytes
    }
}
