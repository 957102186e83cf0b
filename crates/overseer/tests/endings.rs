//! No process is left, however the supervisor ends.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{Dir, ended, is_alive, pids, until};

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let program = test.ancestors().nth(2).expect("the folder of the profile").join("examples/endings");
    assert!(program.exists(), "{} is not there: cargo test builds it, and cargo build --examples", program.display());
    program
}

/// Starts it by this shell command, in which `$0` is the program, `$1` how it ends and `$2` its file.
fn start(shell: &str, how: &str, dir: &Dir) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", shell]).arg(program()).args([how]).arg(dir.path("pids")).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Ends by itself, or is ended by this signal; then nothing is left.
fn nothing_is_left(how: &str, by: Option<&str>) -> Option<i32> {
    let dir = Dir::new();
    let mut child = start("exec \"$0\" \"$1\" \"$2\"", how, &dir);
    let children = pids(&dir, "pids", 3);
    if let Some(name) = by {
        assert!(children.iter().all(|pid| is_alive(*pid)));
        signal(&child, name);
    }
    let status = ended(&mut child);
    until("nothing is left", || !children.iter().any(|pid| is_alive(*pid)));
    status.code().or(status.signal().map(|signal| 128 + signal))
}

#[test]
fn a_panic_that_unwinds_and_the_drop_of_the_last_clone() {
    assert_eq!(nothing_is_left("panic", None), Some(101));
    assert_eq!(nothing_is_left("drop", None), Some(0));
}

#[test]
fn what_gives_no_chance_to_stop_anything() {
    assert_eq!(nothing_is_left("hang", Some("KILL")), Some(137));
    assert_eq!(nothing_is_left("abort", None), Some(134));
    assert_eq!(nothing_is_left("exit", None), Some(0));
    assert_eq!(nothing_is_left("hang", Some("TERM")), Some(143));
}

#[test]
fn the_drop_of_the_last_clone_needs_no_warden() {
    let dir = Dir::new();
    let mut child = start("exec \"$0\" \"$1\" \"$2\"", "unguarded", &dir);
    let children = pids(&dir, "pids", 3);
    signal(&child, "KILL");
    ended(&mut child);
    // The counter-check: without it they live on, so the tests above do show something.
    assert!(children.iter().all(|pid| is_alive(*pid)));
    for pid in children {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
}

#[test]
fn sigint_and_sigterm_end_all_and_what_is_added_then_and_leave_the_program_alive() {
    for name in ["TERM", "INT"] {
        let dir = Dir::new();
        let mut child = start("exec \"$0\" \"$1\" \"$2\"", "all", &dir);
        let children = pids(&dir, "pids", 3);
        signal(&child, name);
        until("the program goes on", || dir.read("pids.alive") == "alive");
        assert!(!children.iter().any(|pid| is_alive(*pid)), "nothing is left when it returns");
        // Now the signal does again what it did before.
        signal(&child, name);
        let status = ended(&mut child);
        assert_eq!(status.signal(), Some(if name == "TERM" { 15 } else { 2 }));
    }
}

#[test]
fn a_signal_that_was_ignored_before_is_ignored_afterwards() {
    let dir = Dir::new();
    let mut child = start("trap '' INT; exec \"$0\" \"$1\" \"$2\"", "all", &dir);
    pids(&dir, "pids", 3);
    signal(&child, "INT");
    until("the program goes on", || dir.read("pids.alive") == "alive");
    signal(&child, "INT");
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).signal(), Some(15));
}

#[test]
fn a_thousand_orphans_leave_no_zombie_and_no_status_is_lost() {
    for shell in ["exec \"$0\" \"$1\" \"$2\"", "trap '' CHLD; exec \"$0\" \"$1\" \"$2\""] {
        let dir = Dir::new();
        let mut child = start(shell, "orphans", &dir);
        until("it has bred", || dir.read("pids") == "Some(7)");
        let zombies = || {
            let children = std::fs::read_dir("/proc").expect("/proc").flatten();
            let stats = children.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
            let own = format!(" Z {} ", child.id());
            stats.filter(|stat| stat.contains(&own)).count()
        };
        until("no zombie is left", || zombies() == 0);
        child.kill().expect("it ends");
        ended(&mut child);
    }
}

#[test]
fn a_child_sees_three_descriptors_and_signals_as_they_are_by_default() {
    let shells = [
        "exec \"$0\" \"$1\" \"$2\"",
        "exec 9</dev/null; exec \"$0\" \"$1\" \"$2\"",
        "trap '' HUP USR1; exec 7</dev/null 8>&1; exec \"$0\" \"$1\" \"$2\"",
    ];
    for shell in shells {
        let dir = Dir::new();
        let status = ended(&mut start(shell, "look", &dir));
        assert!(status.success());
        // 3 is the folder that ls reads. 32 and 33 are the C library's own, and no program can set them.
        let seen = dir.read("pids");
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..4], ["0", "1", "2", "3"], "{seen}");
        let mask = |line: &str| u64::from_str_radix(line.rsplit('\t').next().unwrap_or_default(), 16).expect("a mask");
        let masks: Vec<u64> = lines[4..].iter().map(|line| mask(line) & !(0b11 << 31)).collect();
        assert_eq!(masks, [0, 0], "{seen}");
    }
}

#[test]
fn a_second_signal_kills_at_once_what_is_left() {
    let dir = Dir::new();
    let mut child = start("exec \"$0\" \"$1\" \"$2\"", "slow", &dir);
    let children = pids(&dir, "pids", 3);
    signal(&child, "TERM");
    until("one of them heeds no TERM", || children.iter().filter(|pid| is_alive(**pid)).count() == 1);
    // Those that come at once are one with the first.
    until("the program goes on", || {
        if children.iter().any(|pid| is_alive(*pid)) {
            signal(&child, "INT");
        }
        dir.read("pids.alive") == "alive"
    });
    assert!(!children.iter().any(|pid| is_alive(*pid)));
    child.kill().expect("it ends");
    ended(&mut child);
}

#[test]
fn a_handler_of_the_programs_own_stays() {
    let dir = Dir::new();
    let mut child = start("exec \"$0\" \"$1\" \"$2\"", "handler", &dir);
    let children = pids(&dir, "pids", 3);
    signal(&child, "TERM");
    until("the program goes on", || dir.read("pids.alive") == "alive");
    assert!(!children.iter().any(|pid| is_alive(*pid)));
    // It heard that one, and hears this one: it ends by itself, and not by the signal.
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn without_descriptors_nothing_starts_and_the_supervisor_stays_up() {
    let dir = Dir::new();
    let status = ended(&mut start("ulimit -n 50; exec \"$0\" \"$1\" \"$2\"", "few", &dir));
    assert!(status.success());
    assert_eq!(dir.read("pids"), "no file descriptor is left: see ulimit -n; exit code 0");
}

#[test]
fn nothing_is_over_while_nobody_can_look() {
    let dir = Dir::new();
    let status = ended(&mut start("ulimit -n 50; exec \"$0\" \"$1\" \"$2\"", "blind", &dir));
    assert!(status.success());
    let stray = pids(&dir, "pids", 1)[0];
    assert_eq!(dir.read("pids.end"), "stopping while blind, then finished: the stray is gone");
    assert!(!is_alive(stray));
}

#[test]
fn what_is_being_started_dies_with_its_parent_too() {
    for round in 0..12 {
        let dir = Dir::new();
        let mut child = start("exec \"$0\" \"$1\" \"$2\"", "starts", &dir);
        let word = format!("1000.{}", child.id());
        let running = || {
            let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            let says = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            pids.filter(|pid| says(*pid).ends_with(&format!("{word}\0")) && is_alive(*pid)).count()
        };
        until("some have started", || running() > round);
        child.kill().expect("it ends");
        ended(&mut child);
        until("nothing is left", || running() == 0);
    }
}

/// The warden of this supervisor.
fn warden(supervisor: &Child) -> Option<u32> {
    let parent = supervisor.id().to_string();
    let is_own = |stat: &str| {
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, after)| after).split(' ');
        fields.next() != Some("Z") && fields.next() == Some(&parent)
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    pids.find(|pid| read(*pid, "cmdline").ends_with("pm-warden\0") && is_own(&read(*pid, "stat")))
}

#[test]
fn a_warden_that_is_killed_or_stopped_is_replaced() {
    for (how, name) in [("hang", "KILL"), ("busy", "STOP")] {
        let dir = Dir::new();
        let mut child = start("exec \"$0\" \"$1\" \"$2\"", how, &dir);
        let children = pids(&dir, "pids", 3);
        let first = warden(&child).expect("a warden");
        let sent = Command::new("kill").args(["-s", name, &first.to_string()]).status().expect("kill");
        assert!(sent.success());
        until("there is another one", || warden(&child).is_some_and(|warden| warden != first));
        until("the first one is gone", || !is_alive(first));
        assert!(children.iter().all(|pid| is_alive(*pid)), "{name}");
        signal(&child, "KILL");
        ended(&mut child);
        until("nothing is left", || !children.iter().any(|pid| is_alive(*pid)));
    }
}
