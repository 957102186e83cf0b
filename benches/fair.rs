//! What clients that ask all the time cost the others.
//!
//! `cargo bench --bench fair`: 50,000 tasks. 62 clients, in a process of their own, ask for one kind of
//! thing as fast as it is answered (or, for `json unread`, do not read what they get), for 10 s.
//! Meanwhile one client watches the table twice a second, and one asks what somebody needs who is about
//! to kill. Printed for each kind: the frames of the one that watches, of 20; the slowest answer to
//! `kill`, to `show` and to `kill where`; how often the 62 were answered; and the share of a processor
//! that the program took.
//!
//! Linux only: the processor time is read from /proc.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod baseline;
use baseline::{crowd_in_pm, processor_time};

const CLIENTS: &str = "PM_BENCH_CLIENTS";
const PHASE: Duration = Duration::from_secs(10);

/// What they ask, and the words with which an answer ends or begins.
const KINDS: [(&str, &str, &str); 9] = [
    ("nothing", "", ""),
    ("kill where", "kill where uri~zzz", "no task matches"),
    ("show", "show live7", "init"),
    ("audit", "audit", "no kills"),
    ("help", "help", "Ctrl-R"),
    ("list", "list", "... "),
    ("by id", "by id", "... "),
    ("json unread", "json", ""),
    ("all of these", "", ""),
];

fn main() {
    if let Ok(clients) = std::env::var(CLIENTS) {
        let (addr, kind) = clients.split_once(' ').unwrap();
        return ask(addr.parse().unwrap(), kind.parse().unwrap());
    }
    let (list, _tasks) = crowd_in_pm(50_000);
    // Room for those of the last phase, which are not gone at once.
    let addr = list.server().delay(Duration::from_millis(500)).max_connections(200).spawn(":0").unwrap();
    println!("62 clients ask for   frames of 20      kill      show   kill where   answers   processor");
    for (kind, (name, ..)) in KINDS.iter().enumerate() {
        let clients = Clients::start(addr, kind);
        let before: f64 = processor_time().iter().sum();
        let watching = thread::spawn(move || watch(addr));
        let [kill, show, kill_where] = probe(addr);
        let share = (processor_time().iter().sum::<f64>() - before) / PHASE.as_secs_f64();
        let frames = watching.join().unwrap();
        let answers = clients.stop();
        settle(addr);
        println!(
            "{name:<20} {frames:>12}  {kill:>8.0?}  {show:>8.0?}   {kill_where:>10.0?}  {answers:>8}   {share:>9.2}"
        );
    }
}

/// Waits until the clients of a phase are gone.
fn settle(addr: SocketAddr) {
    let mut stream = BufReader::new(TcpStream::connect(addr).unwrap());
    let mut line = String::new();
    while line != "clients           1\n" {
        if line.is_empty() || line.starts_with("clients") {
            thread::sleep(Duration::from_millis(200));
            stream.get_mut().write_all(b"stats\n").unwrap();
        }
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
}

/// How many frames a client gets that wants one every half second.
fn watch(addr: SocketAddr) -> usize {
    let mut stream = BufReader::new(TcpStream::connect(addr).unwrap());
    let began = Instant::now();
    let mut frames = 0;
    let mut line = String::new();
    while began.elapsed() < PHASE {
        line.clear();
        stream.read_line(&mut line).unwrap();
        frames += usize::from(line == "\n");
    }
    frames
}

/// The slowest of the answers to `kill`, `show` and `kill where`, asked in turns until the time is over.
fn probe(addr: SocketAddr) -> [Duration; 3] {
    let mut stream = BufReader::new(TcpStream::connect(addr).unwrap());
    stream.get_mut().write_all(b"\n").unwrap();
    up_to(&mut stream, "frozen");
    let (began, mut slowest) = (Instant::now(), [Duration::ZERO; 3]);
    while began.elapsed() < PHASE {
        let questions = [("kill nobody", "no such"), ("show nobody", "no such"), ("kill where uri~zzz", "no task")];
        for ((question, end), slowest) in questions.into_iter().zip(&mut slowest) {
            let asked = Instant::now();
            stream.get_mut().write_all(format!("{question}\n").as_bytes()).unwrap();
            up_to(&mut stream, end);
            *slowest = asked.elapsed().max(*slowest);
        }
        thread::sleep(Duration::from_millis(100));
    }
    slowest
}

fn up_to(stream: &mut BufReader<TcpStream>, part: &str) {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the session ended before {part}");
    }
}

struct Clients(Child);

impl Clients {
    /// Starts this program again as the clients, and waits until all are connected.
    fn start(addr: SocketAddr, kind: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CLIENTS, format!("{addr} {kind}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Clients(child)
    }

    /// The end of their input ends them. Returns how often they were answered.
    fn stop(mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut answers = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
        self.0.wait().unwrap();
        answers.trim().parse().unwrap()
    }
}

fn ask(addr: SocketAddr, kind: usize) {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    for client in 0..62 {
        let kind = if kind == KINDS.len() - 1 { 1 + client % (KINDS.len() - 2) } else { kind };
        let (_, question, end) = KINDS[kind];
        let mut stream = BufReader::new(TcpStream::connect(addr).unwrap());
        thread::spawn(move || {
            if !question.is_empty() {
                stream.get_mut().write_all(b"\n").unwrap();
            }
            if end.is_empty() {
                // A client that is given up is followed by another one.
                while !question.is_empty() {
                    stream.get_mut().write_all(format!("{question}\n").repeat(8).as_bytes()).unwrap();
                    thread::sleep(PHASE);
                    stream = BufReader::new(TcpStream::connect(addr).unwrap());
                }
                return thread::park();
            }
            loop {
                stream.get_mut().write_all(format!("{question}\n").as_bytes()).unwrap();
                up_to(&mut stream, end);
                ANSWERS.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    println!();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("{}", ANSWERS.load(Ordering::Relaxed));
}
