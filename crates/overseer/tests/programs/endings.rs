//! A supervisor that ends as it is told, for the tests.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use pm_overseer::{Backoff, Output, Overseer, Program, Restart, State};

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let how = args.next().expect("how to end");
    let file = args.next().expect("where to write what is asked for");
    match how.as_str() {
        "orphans" => orphans(&file).await,
        "look" => look(&file).await,
        "few" => few_descriptors(&file).await,
        "blind" => blind(&file).await,
        "starts" => starts().await,
        _ => end(&how, &file).await,
    }
}

/// Two programs, three processes, then the end.
async fn end(how: &str, file: &str) {
    let overseer = Overseer::with_list(&pm::ProcList::new());
    // A handler of the program's own.
    let heard = Arc::new(AtomicUsize::new(0));
    if how == "handler" {
        let heard = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut signals = signal_hook::iterator::Signals::new([15]).expect("it may");
            for _ in signals.forever() {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        });
        // It is there when the signal is caught.
        let is_caught = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
            u64::from_str_radix(mask.trim(), 16).expect("a mask") & (1 << 14) != 0
        };
        while !is_caught() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let grace = if how == "slow" { Duration::from_secs(3600) } else { Duration::from_millis(200) };
    let quick = Backoff { base: Duration::from_millis(10), ..Backoff::default() };
    let deaf = format!("trap '' TERM HUP INT; echo $$ >> {file}; while :; do sleep 0.2; done");
    let family = format!("sleep 1000 & echo $! >> {file}; echo $$ >> {file}; wait");
    for (id, script) in [("deaf", deaf), ("family", family)] {
        let program = sh(&script).die_with_parent(how != "unguarded").grace(grace).backoff(quick);
        overseer.add(id, program).expect("it is added");
    }
    if how == "busy" {
        let at_once = Backoff { base: Duration::ZERO, ..Backoff::default() };
        for n in 0..20 {
            let program = Program::new("true").restart(Restart::Always).backoff(at_once).die_with_parent(true);
            overseer.add(format!("n{n}"), program).expect("it is added");
        }
    }
    if matches!(how, "all" | "slow" | "handler") {
        let mut stopping = overseer.watch_state().filter(|change| ready(change.state == State::Stopping)).boxed();
        let add_late = async {
            stopping.next().await;
            overseer.add("late", sh("exec sleep 1000")).expect("it is added");
            overseer.status("late").expect("a status").state
        };
        // The second one does nothing, and takes nothing from the first.
        let ((), (), late) = tokio::join!(overseer.supervise_all(), overseer.supervise_all(), add_late);
        assert_eq!(late, State::Initial, "what is added after the signal is not started");
        std::fs::write(format!("{file}.alive"), "alive").expect("it is written");
        while heard.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        return;
    }
    for status in overseer.list() {
        overseer.start(&status.id).expect("it starts");
    }
    while std::fs::read_to_string(file).unwrap_or_default().lines().count() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    match how {
        "panic" => panic!("as asked for"),
        "drop" => drop(overseer),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        _ => std::future::pending().await,
    }
}

/// A thousand orphans, and a program whose status must not be lost among them.
async fn orphans(file: &str) {
    pm_overseer::adopt_orphans().expect("it may");
    let overseer = Overseer::with_list(&pm::ProcList::new());
    overseer
        .add("breeds", sh("i=0; while [ $i -lt 1000 ]; do (setsid true &); i=$((i+1)); done; exit 7").retries(0))
        .expect("it is added");
    let outcome = overseer.supervise("breeds").await.expect("it ends");
    std::fs::write(file, format!("{:?}", outcome.exit_code)).expect("it is written");
    std::future::pending().await
}

/// What a child sees: its descriptors, and the signals that it ignores and blocks.
async fn look(file: &str) {
    let run =
        |program: Program| async { program.spawn().expect("it starts").wait_with_output().await.expect("it ends") };
    let fds = run(Program::new("ls").args(["/proc/self/fd"])).await.stdout;
    let signals = run(Program::new("grep").args(["-E", "Sig(Ign|Blk)", "/proc/self/status"])).await.stdout;
    std::fs::write(file, [fds, signals].concat()).expect("it is written");
}

/// No descriptor is left, and then there is one again.
async fn few_descriptors(file: &str) {
    let overseer = Overseer::with_list(&pm::ProcList::new());
    overseer.add("one", Program::new("true").retries(0)).expect("it is added");
    overseer.supervise("one").await.expect("it ends");
    let mut open = Vec::new();
    while let Ok(null) = std::fs::File::open("/dev/null") {
        open.push(null);
    }
    let without = overseer.supervise("one").await.expect("it ends");
    drop(open);
    let with = overseer.supervise("one").await.expect("it ends");
    std::fs::write(file, format!("{without}; {with}")).expect("it is written");
}

/// No descriptor is left to look with when a leader exits, and leaves something behind.
async fn blind(file: &str) {
    let overseer = Overseer::with_list(&pm::ProcList::new());
    // Its number is told when it is deaf.
    let script = format!(
        "trap 'exit 0' USR1; (trap '' USR1 TERM; echo > {file}.deaf; exec sleep 1000) & stray=$!
         while ! [ -e {file}.deaf ]; do sleep 0.01; done; echo $stray > {file}; wait"
    );
    // Without pipes, whose end would be awaited.
    let program = sh(&script).stdout(Output::Null).stderr(Output::Null);
    let program = program.restart(Restart::Never).grace(Duration::from_secs(2));
    overseer.add("one", program).expect("it is added");
    overseer.start("one").expect("it starts");
    let state = || overseer.status("one").expect("a status").state;
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    while std::fs::read_to_string(file).unwrap_or_default().is_empty() {
        pause().await;
    }
    let mut open = Vec::new();
    let mut take_all = || {
        while let Ok(null) = std::fs::File::open("/dev/null") {
            open.push(null);
        }
    };
    take_all();
    overseer.signal("one", pm_overseer::Signal::USR1).expect("it is sent");
    while state() == State::Running {
        pause().await;
    }
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(700) {
        // Whoever gives one back, as the pidfd, gives it to us.
        take_all();
        assert_eq!(state(), State::Stopping);
        pause().await;
    }
    drop(open);
    while state() == State::Stopping {
        pause().await;
    }
    let stray = std::fs::read_to_string(file).expect("its number");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stray.trim())).unwrap_or_default();
    let is_gone = stat.is_empty() || stat.contains(") Z ");
    let what = if is_gone { "is gone" } else { "lives" };
    std::fs::write(format!("{file}.end"), format!("stopping while blind, then {}: the stray {what}", state()))
        .expect("it is written");
}

/// Many programs, one after the other.
async fn starts() {
    let overseer = Overseer::with_list(&pm::ProcList::new());
    let word = format!("1000.{}", std::process::id());
    for n in 0..200 {
        let id = format!("n{n}");
        overseer.add(&id, Program::new("sleep").args([&word]).die_with_parent(true)).expect("it is added");
        overseer.start(&id).expect("it starts");
    }
    std::future::pending().await
}
