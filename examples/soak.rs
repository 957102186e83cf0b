//! A soak: all that can go on at once, for as long as it is told, and then nothing may be left.
//!
//! ```text
//! cargo run --release --example soak -- [SECONDS]          # 600
//! ```
//!
//! Four threads start, change, kill and end 100,000 tasks a second, while 64 clients come and go: they
//! read and type as a person does, half-close, vanish, do not read, or send noise. At the end the list must be empty,
//! every kill must have had exactly one outcome, and the memory must be what it was. It prints the
//! figures, and fails if that is not so.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::alloc::System;
use std::collections::{HashSet, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WORKERS: u64 = 4;
const CLIENTS: u64 = 64;
/// Tasks a second of one worker.
const PACE: f64 = 25_000.0;
/// How many short tasks of a worker live at a time, and how many long ones.
const SHORT: usize = 500;
const LONG: usize = 250;
/// A long task ends by itself after this.
const LONG_LIFE: Duration = Duration::from_secs(4);
/// Far enough away that it is forgotten at the end of its task.
const DEADLINE: Duration = Duration::from_secs(30);
/// Before the memory is measured for the first time, all that has a fixed size is filled.
const WARM_UP: Duration = Duration::from_secs(15);

static STOP: AtomicBool = AtomicBool::new(false);

macro_rules! counters {
    ($($name:ident)*) => { $(static $name: AtomicU64 = AtomicU64::new(0);)* };
}
counters! { TASKS KILLED_BY_PROGRAM KILLED ABORTED CHILDREN CALLED INTERRUPTED SESSIONS LINES NOISE FAULTS KILLS OUTCOMES OFFERED SETS SUMS MEMBERS VANISHED DEAF REFUSED }

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Random numbers that are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

fn main() {
    let seconds = match std::env::args().nth(1).map(|text| text.parse()) {
        None => 600,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            println!("usage: soak [SECONDS]");
            std::process::exit(2);
        }
    };
    let list = pm::ProcList::new();
    list.set_cols(["host", "method", "uri"]);
    list.kind("method");
    // Those that ended last are kept by each thread that ends tasks, and each round has threads of its own.
    list.keep_done(16);
    let addr = list.server().max_connections(CLIENTS as usize).spawn(":0").unwrap();
    // What a first round leaves behind, its rings and its threads, is there to stay.
    round(&list, addr, WARM_UP);
    let before = settled(addr);
    let began = Instant::now();
    let already = [get(&TASKS), get(&SESSIONS)];
    round(&list, addr, Duration::from_secs(seconds));
    let lasted = began.elapsed().as_secs_f64();
    let after = settled(addr);

    let [tasks, sessions] = [get(&TASKS) - already[0], get(&SESSIONS) - already[1]];
    println!(
        "load held       {tasks} tasks in {lasted:.0} s, {:.0} a second, by {WORKERS} threads",
        tasks as f64 / lasted
    );
    println!("clients         {sessions} sessions, {} lines typed, {} refused as too many", get(&LINES), get(&REFUSED));
    println!("survived        {} vanished, {} did not read", get(&VANISHED), get(&DEAF));
    println!("bad inputs      {} pieces of noise, {} faults answered", get(&NOISE), get(&FAULTS));
    println!("kills           {} asked by clients, {} outcomes", get(&KILLS), get(&OUTCOMES));
    println!(
        "sets            {} offered, {} killed with {} members in all, {} sums",
        get(&OFFERED),
        get(&SETS),
        get(&MEMBERS),
        get(&SUMS)
    );
    println!(
        "                {} by the program, {} tasks died of a kill, {} of a panic",
        get(&KILLED_BY_PROGRAM),
        get(&KILLED),
        get(&ABORTED)
    );
    println!(
        "families        {} children; {} calls on a kill, {} of tasks that saw it",
        get(&CHILDREN),
        get(&CALLED),
        get(&INTERRUPTED)
    );
    println!("memory          {before} bytes before, {after} bytes after");
    println!("left            {} tasks", list.len());
    assert!(list.is_empty(), "the list is not empty");
    assert_eq!(get(&KILLS), get(&OUTCOMES), "every kill has one outcome");
    assert_eq!(get(&SETS), get(&SUMS), "every set has one sum");
    assert!(get(&SETS) > 0, "no set was killed");
    assert!(get(&CALLED) >= get(&INTERRUPTED), "a call was not made");
    assert!(after < before + (2 << 20), "the memory has grown");
}

/// The bytes that are allocated once all sessions are over.
fn settled(addr: SocketAddr) -> usize {
    let mut least = usize::MAX;
    for _ in 0..30 {
        // A session of one that vanished lives until it is dropped for that.
        thread::sleep(Duration::from_secs(1));
        drop(TcpStream::connect(addr));
        let stats = ALLOCATOR.stats();
        least = least.min(stats.bytes_allocated - stats.bytes_deallocated);
    }
    least
}

fn round(list: &pm::ProcList, addr: SocketAddr, time: Duration) {
    STOP.store(false, Ordering::Relaxed);
    let until = Instant::now() + time;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|n| scope.spawn(move || work(list, n))).collect();
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || come_and_go(addr, n, until))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        STOP.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// Starts, changes, kills and ends tasks at a steady pace.
fn work(list: &pm::ProcList, worker: u64) {
    let mut random = Random(worker + 1);
    let mut short: VecDeque<pm::Task> = VecDeque::new();
    let mut long: VecDeque<(Instant, pm::Task, pm::OnKill)> = VecDeque::new();
    let began = Instant::now();
    let mut started = 0;
    while !STOP.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * PACE) as u64;
        for _ in started..due {
            let n = TASKS.fetch_add(1, Ordering::Relaxed);
            let method = ["GET", "POST", "PUT"][n as usize % 3];
            let task = list.start(format!("w{n}")).col("host", "127.0.0.1:18364").col("method", method);
            if n.is_multiple_of(97) {
                task.set_col("uri", "/\x1b[2J\u{202e}".repeat(random.below(300)));
            } else {
                task.set_col("uri", format_args!("/users/{n}"));
            }
            task.set_status("authenticating");
            if n.is_multiple_of(53) {
                task.progress(n % 50, 50);
                task.deadline(DEADLINE);
            }
            if n.is_multiple_of(11)
                && let Some((_, parent, _)) = long.back()
            {
                add(&CHILDREN, 1);
                short.push_back(parent.child(format!("part{n}")));
            }
            short.push_back(task);
            while short.len() > SHORT {
                end(list, short.pop_front().unwrap(), &mut random);
            }
        }
        if long.len() < LONG {
            let n = TASKS.fetch_add(1, Ordering::Relaxed);
            let task = list.start(format!("long{n}")).col("uri", "/export");
            let on_kill = task.on_kill(|_| add(&CALLED, 1));
            long.push_back((Instant::now() + LONG_LIFE, task, on_kill));
        }
        for _ in 0..long.len() {
            let (until, task, on_kill) = long.pop_front().unwrap();
            if task.try_status(format!("row {}", random.below(1000))).is_err() || Instant::now() > until {
                let is_killed = task.is_being_killed();
                end(list, task, &mut random);
                drop(on_kill);
                add(&INTERRUPTED, u64::from(is_killed));
            } else {
                long.push_back((until, task, on_kill));
            }
        }
        started = due;
        thread::sleep(Duration::from_millis(2));
    }
    short.into_iter().for_each(|task| end(list, task, &mut random));
    for (_, task, on_kill) in long {
        let is_killed = task.is_being_killed();
        end(list, task, &mut random);
        drop(on_kill);
        add(&INTERRUPTED, u64::from(is_killed));
    }
}

/// Ends a task in one of the ways there are.
fn end(list: &pm::ProcList, task: pm::Task, random: &mut Random) {
    let is_killed = task.check().is_err();
    match random.below(1000) {
        0 if !is_killed => {
            assert!(list.kill(task.id(), "by the program").is_ok() || task.check().is_err());
            add(&KILLED_BY_PROGRAM, 1);
            task.check().unwrap_err();
            let end = task.done();
            assert_eq!((end.outcome, end.killing.is_some()), (Some(pm::Outcome::Killed), true));
            add(&KILLED, 1);
        }
        1 if !is_killed => {
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _task = task;
                std::panic::resume_unwind(Box::new("a bug"));
            }));
            died.unwrap_err();
            add(&ABORTED, 1);
        }
        2..=500 => {
            let end = task.done();
            add(&KILLED, u64::from(end.outcome == Some(pm::Outcome::Killed)));
        }
        _ => {
            add(&KILLED, u64::from(is_killed));
            drop(task);
        }
    }
}

/// One client after the other.
fn come_and_go(addr: SocketAddr, client: u64, until: Instant) {
    let mut random = Random(1000 + client);
    while Instant::now() < until {
        let Ok(stream) = TcpStream::connect(addr) else { continue };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(15))).unwrap();
        add(&SESSIONS, 1);
        match random.below(10) {
            0 => vanish(stream, &mut random),
            1 => be_deaf(stream, &mut random, until),
            2 | 3 => make_noise(stream, &mut random),
            n => converse(stream, &mut random, until, n < 7),
        }
    }
}

fn vanish(mut stream: TcpStream, random: &mut Random) {
    let _ = stream.write_all(b"delay 100ms\nlimit all\nkill w1");
    thread::sleep(Duration::from_millis(random.below(300) as u64));
    add(&VANISHED, 1); // with unread input, which resets the connection
}

fn be_deaf(mut stream: TcpStream, random: &mut Random, until: Instant) {
    add(&DEAF, 1);
    let _ = stream.write_all(b"limit all\ndelay 100ms\n");
    let until = until.min(Instant::now() + Duration::from_secs(12));
    while Instant::now() < until {
        if stream.write_all(["json\n", "help\n", "stats\n", "done\n"][random.below(4)].as_bytes()).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn make_noise(mut stream: TcpStream, random: &mut Random) {
    for _ in 0..random.below(20) {
        let noise: Vec<u8> = match random.below(5) {
            0 => vec![b'x'; random.below(20_000)],
            1 => (0..random.below(200)).map(|_| random.below(256) as u8).collect(),
            2 => b"where ((((id=\"\nsort nobody\nkill @0000\ntop 0\n".to_vec(),
            3 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            _ => b"\xff\xfd\x18kill w\0 x\n\n\n".to_vec(),
        };
        add(&NOISE, 1);
        if stream.write_all(&noise).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    add(
        &FAULTS,
        answer.lines().filter(|line| line.starts_with("invalid ") || line.starts_with("line too long")).count() as u64,
    );
}

/// A person who looks, types, kills and waits for the outcome.
struct Person {
    /// The ids that are being killed at this client's wish.
    open: HashSet<String>,
    /// Those whose outcome has been told.
    closed: HashSet<String>,
    seen: Vec<String>,
    token: Option<String>,
    /// It has asked whom it would kill, and reads no answer yet.
    is_waiting: bool,
    /// The sets that are being killed at this client's wish.
    sets: HashSet<String>,
}

fn converse(mut stream: TcpStream, random: &mut Random, until: Instant, half_closes: bool) {
    let mut person = Person {
        open: HashSet::new(),
        closed: HashSet::new(),
        seen: Vec::new(),
        token: None,
        is_waiting: false,
        sets: HashSet::new(),
    };
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut to_type = random.below(30);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return add(&REFUSED, 1),
            Err(error) => panic!("{error}, {} open: {:?}", person.open.len(), person.open),
        }
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.ends_with('\n') && text.trim_end_matches('\n').chars().all(|c| !c.is_control()), "{text:?}");
        if text == "too many connections\n" {
            return add(&REFUSED, 1);
        }
        person.reads(text.trim_end());
        if to_type == usize::MAX {
            continue;
        }
        // Who has asked whom it would kill reads the answer, and means to kill them.
        let is_over = Instant::now() > until;
        if !is_over && (person.is_waiting || (person.token.is_none() && random.below(30) > 0)) {
            continue;
        }
        let leaves = is_over || (to_type == 0 && person.token.is_none());
        to_type = if leaves { usize::MAX } else { to_type.saturating_sub(1) };
        if to_type < usize::MAX {
            let command = person.command(random);
            add(&LINES, 1);
            stream.write_all(command.as_bytes()).unwrap();
        } else if half_closes {
            stream.shutdown(Shutdown::Write).unwrap();
        } else {
            stream.write_all(b"quit\n").unwrap();
        }
    }
    assert!(person.open.is_empty(), "no outcome came for {:?}", person.open);
    assert!(person.sets.is_empty(), "no sum came for {:?}", person.sets);
}

impl Person {
    fn command(&mut self, random: &mut Random) -> String {
        let id = self.seen.get(random.below(self.seen.len().max(1))).cloned().unwrap_or_default();
        if let Some(token) = self.token.take().filter(|_| random.below(4) > 0) {
            self.sets.insert(token.clone());
            return format!("kill {token} all of them\n");
        }
        match random.below(20) {
            0..=5 => format!("kill {id} too slow\n"),
            6 => {
                self.is_waiting = true;
                "kill where uri=/export and time>3500ms\n".to_string()
            }
            7 => "stats\n".to_string(),
            8 => "where uri~/users and not id~7\n".to_string(),
            9 => "where\nsort -uri\nlimit 20\n".to_string(),
            10 => "sort\nlimit 100\ncols id,in_status,uri\n".to_string(),
            11 => "cols\nby method\n".to_string(),
            12 => format!("show {id}\ntree\n"),
            13 => "done 50\nslow 50 where note~x or uri~7\ndone where outcome=killed\n".to_string(),
            14 => "delay 100ms\n".to_string(),
            15 => "limit 5\njson\n".to_string(),
            16 => "\nlist\n\n".to_string(),
            17 => "audit\nkinds\nodd\nwidth 60\nwhere progress<50\nwidth off\n".to_string(),
            18 => "where time>1s\n".to_string(),
            _ => "delay 1s\nhelp\n".to_string(),
        }
    }

    fn reads(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["killing", n, "of", of] if n.parse::<u64>().is_ok() => {
                add(&SETS, 1);
                add(&MEMBERS, of.parse().unwrap());
            }
            ["nobody:", ..] => self.is_waiting = false,
            // Too many outcomes are awaited, or a minute has passed: nothing was killed.
            ["too", "many", "kills:", ..] => {}
            ["no", "such", "set", token, ..] => assert!(self.sets.remove(token.trim_matches(['\'', ':']))),
            ["killing", id, "in", ..] => self.asked(id),
            ["already", "killing", id, ..] => self.asked(id.trim_end_matches(':')),
            ["killed", id, "after", ..]
            | [id, "ended", "by", "itself", "before", "the", "kill", "reached", "it"]
            | [id, "panicked", ..]
                if self.open.remove(id) =>
            {
                // Those of a set are counted by its sum.
                add(&OUTCOMES, 1);
                assert!(self.closed.insert(id.to_string()), "two outcomes for {id}");
            }
            ["killed", id, "after", ..] if self.closed.contains(id) => panic!("two outcomes for {id}"),
            ["kill", token, "<message>", "to", "kill", ..] => {
                add(&OFFERED, 1);
                self.is_waiting = false;
                self.token = Some(token.to_string());
            }
            [token, ..] if token.len() == 6 && token.starts_with('@') && token.ends_with(':') => {
                add(&SUMS, 1);
                assert!(self.sets.remove(token.trim_end_matches(':')), "two sums for {token}");
            }
            [id, ..] if (id.starts_with('w') || id.starts_with("long")) && self.seen.len() < 1000 => {
                self.seen.push(id.to_string())
            }
            _ => {}
        }
        if self.seen.len() >= 1000 {
            self.seen.drain(..900);
        }
    }

    fn asked(&mut self, id: &str) {
        if self.open.insert(id.to_string()) {
            add(&KILLS, 1);
        }
    }
}
