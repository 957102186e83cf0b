//! What it costs to find the rows that matter among 100,000.
//!
//! `cargo bench --bench view`: a frame of `where` + `sort` + `limit 50`, as a
//! client gets it, with the time of every life on another thread while such
//! frames are made, in turns with the same thread when none is made; then a
//! hundred clients with one view and what rendering that is.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod baseline;
use baseline::{lives, processor_time};

const TASKS: u64 = 100_000;
const FRAMES: usize = 11;

/// Every tenth task an export, as in the example `crowd`.
fn crowd() -> (pm::ProcList, Vec<pm::Task>) {
    let list = pm::ProcList::new();
    list.set_cols(["host", "method", "uri"]);
    let start = |n| {
        let uri = if n % 10 == 0 { format!("/export/{n}") } else { format!("/users/{n}") };
        let method = ["GET", "POST", "PUT"][n as usize % 3];
        list.start(format!("req{n}")).col("host", "127.0.0.1:18364").col("method", method).col("uri", uri)
    };
    let tasks = (0..TASKS).map(start).collect();
    (list, tasks)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        Client(BufReader::new(TcpStream::connect(addr).unwrap()))
    }

    fn types(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// Reads up to a line that starts like this.
    fn reads(&mut self, start: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            self.0.read_line(&mut line).unwrap();
        }
        line
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let (list, _tasks) = crowd();
    let addr = list.server().delay(Duration::from_secs(3600)).max_connections(200).spawn(":0").unwrap();
    let mut client = Client::connect(addr);
    client.reads("... ");
    client.types("limit 50\n");
    client.reads("... ");

    println!(
        "{TASKS} tasks, a tenth of them matches; from the command to the end of the frame, the pause before it not counted"
    );
    for view in
        ["where uri~/export", "where uri~/export and time>1ms and not status=querying", "sort -uri", "sort -time"]
    {
        client.types(&format!("{view}\n"));
        client.reads("... ");
        let times = (0..FRAMES).map(|_| {
            // The pause after the last frame is as long as ten times what it took.
            thread::sleep(Duration::from_secs(1));
            let asked = Instant::now();
            client.types("list\n");
            client.reads("... ");
            asked.elapsed()
        });
        println!("{view:<60} {:>10.2?}", median(times.collect()));
    }

    for watched in [false, true] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let frames = scope.spawn(|| {
                let mut frames = 0;
                while watched && !stop.load(Ordering::Relaxed) {
                    client.types("list\n");
                    client.reads("... ");
                    frames += 1;
                }
                frames
            });
            let times = lives(&list, Duration::from_secs(10));
            stop.store(true, Ordering::Relaxed);
            let frames = frames.join().unwrap();
            let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
            println!(
                "lives while {frames} frames are made: p50 {:.2?}, p99.9 {:.2?}, p99.99 {:.2?}, max {:.2?}",
                at(0.5),
                at(0.999),
                at(0.9999),
                at(1.0)
            );
        });
    }

    // Each asks for its own frame at the same moment.
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(addr)).collect();
    for client in &mut clients {
        client.reads("... ");
    }
    for n in [1, 100] {
        thread::sleep(Duration::from_secs(3));
        let before: f64 = processor_time().iter().sum();
        for client in &mut clients[..n] {
            client.types("where uri~/export\n");
        }
        for client in &mut clients[..n] {
            client.reads("... ");
        }
        println!(
            "processor time of one frame each for {n} clients with the same view: {:.0} ms",
            (processor_time().iter().sum::<f64>() - before) * 1e3
        );
    }
}
