//! What supervision costs, and what it leaves: processor time, memory, descriptors, delays. It fails where a figure is not
//! as docs/overseer.md says.
//!
//! ```text
//! cargo run --release -p pm-overseer --example overseer_soak              (four minutes)
//! cargo run --release -p pm-overseer --example overseer_soak -- exits large  (or silence, loop, restarts, output)
//! ```

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use pm_overseer::{Backoff, Output, Overseer, Program, Restart, State};

fn overseer() -> Overseer {
    Overseer::with_list(&pm::ProcList::new())
}

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

/// Processor time of this process alone, children not counted.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

fn of_status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

async fn main_() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    if is_wanted("silence") {
        silent_children().await;
    }
    if is_wanted("loop") {
        crash_loop().await;
    }
    if is_wanted("exits") {
        exits().await;
    }
    if is_wanted("restarts") {
        restarts().await;
    }
    if is_wanted("output") {
        much_output().await;
    }
    if is_wanted("large") {
        large_program().await;
    }
}

/// Ten children that do nothing, for ten seconds.
async fn silent_children() {
    let overseer = overseer();
    for n in 0..10 {
        overseer.add(format!("n{n}"), Program::new("sleep").args(["1000"])).expect("it is added");
        overseer.start(format!("n{n}")).expect("it starts");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = cpu() - before;
    println!("ten silent children: {used:?} of processor time in 10 s");
    assert!(used < Duration::from_millis(100), "more than 1 %");
    overseer.kill_all().await;
}

/// A program that fails at once: when it is started.
async fn crash_loop() {
    let overseer = overseer();
    overseer.add("x", Program::new("false")).expect("it is added");
    let mut states = overseer.watch_state();
    let (begin, before) = (Instant::now(), cpu());
    overseer.start("x").expect("it starts");
    let mut starts = Vec::new();
    while starts.len() < 7 {
        if let Some(change) = states.next().await
            && change.state == State::Starting
        {
            starts.push(begin.elapsed().as_secs_f64());
        }
    }
    let used = cpu() - before;
    println!("a crash loop starts at {starts:.2?} s: {used:?} of processor time in {:?}", begin.elapsed());
    for (at, expected) in starts.iter().zip([0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0]) {
        assert!((at - expected).abs() <= expected / 10.0 + 0.1, "{at} and not {expected}");
    }
    assert!(used.as_secs_f64() < begin.elapsed().as_secs_f64() / 100.0, "more than 1 %");
    overseer.kill_all().await;
}

/// How long after an exit it is told.
async fn exits() {
    let overseer = overseer();
    let mut delays = Vec::new();
    for n in 0..100 {
        let id = format!("n{n}");
        overseer.add(&id, Program::new("sleep").args(["1000"]).restart(Restart::Never)).expect("it is added");
        overseer.start(&id).expect("it starts");
        let pid = loop {
            if let Some(pid) = overseer.status(&id).expect("a status").pid {
                break pid;
            }
            tokio::task::yield_now().await;
        };
        let begin = Instant::now();
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill").success());
        while overseer.status(&id).expect("a status").pid.is_some() {
            tokio::task::yield_now().await;
        }
        delays.push(begin.elapsed());
    }
    delays.sort_unstable();
    println!(
        "an exit is noticed after {:?} (median), {:?} (longest of 100), with the start of kill in it",
        delays[50], delays[99]
    );
    assert!(delays[99] < Duration::from_millis(500));
}

/// Two thousand restarts.
async fn restarts() {
    let overseer = overseer();
    let instant = Backoff { base: Duration::ZERO, ..Backoff::default() };
    let run = async |id: &str, n: u32| {
        overseer.add(id, Program::new("false").retries(n).backoff(instant)).expect("it is added");
        overseer.supervise(id).await.expect("it ends");
    };
    run("warm", 100).await;
    let look = || (descriptors(), of_status("Threads:"), of_status("VmRSS:"));
    let (before, begin) = (look(), Instant::now());
    run("much", 2000).await;
    let after = look();
    println!("2000 restarts in {:?}: descriptors, threads and KiB {before:?}, then {after:?}", begin.elapsed());
    assert!(after.0 <= before.0 && after.1 <= before.1 && after.2 < before.2 + 2048);
}

/// Ten thousand lines a second for a minute, into a file beside a watcher that never reads.
async fn much_output() {
    let overseer = overseer();
    let file = std::env::temp_dir().join(format!("overseer-soak-{}", std::process::id()));
    let script = "i=0; while [ $i -lt 600 ]; do seq 1000; sleep 0.1; i=$((i+1)); done";
    overseer.add("much", sh(script).stdout(Output::File(file.clone()))).expect("it is added");
    let watcher = overseer.watch_logs();
    let before = cpu();
    overseer.start("much").expect("it starts");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let early = of_status("VmRSS:");
    while overseer.last_outcome("much").is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (late, used) = (of_status("VmRSS:"), cpu() - before);
    let lines = std::fs::read_to_string(&file).expect("a file").lines().count();
    let _ = std::fs::remove_file(&file);
    println!(
        "600000 lines: {lines} in the file, {} missed by the watcher, {early} KiB, later {late} KiB, {used:?} of processor time",
        watcher.missed()
    );
    assert!(lines == 600_000 && late < early + 2048);
}

/// Starts in a program of 2 GiB.
async fn large_program() {
    let ballast = vec![1u8; 2 << 30];
    let overseer = overseer();
    let mut delays = Vec::new();
    for n in 0..50 {
        let id = format!("n{n}");
        overseer.add(&id, Program::new("true").env("PATH", "/usr/bin:/bin")).expect("it is added");
        let begin = Instant::now();
        overseer.start(&id).expect("it starts");
        while matches!(overseer.status(&id).expect("a status").state, State::Initial | State::Starting) {
            tokio::task::yield_now().await;
        }
        delays.push(begin.elapsed());
    }
    delays.sort_unstable();
    println!("a start in a program of 2 GiB: {:?} (median), {:?} (longest of 50)", delays[25], delays[49]);
    // A descriptor that an exec would not close makes std copy the address space.
    assert!(delays[49] < Duration::from_millis(100) && ballast[4711] == 1, "what does ls -l /proc/self/fd say?");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(main_());
}
