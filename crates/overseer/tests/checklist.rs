//! What the tests of the Go library Overseer check, one for one, and what is checked beside it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Dir, overseer, sh, until, wait};
use futures_util::StreamExt;
use pm_overseer::{Backoff, Error, Outcome, Output, Program, Reason, Restart, Signal, State};

fn sleeper(seconds: &str) -> Program {
    Program::new("sleep").args([seconds])
}

fn state(overseer: &pm_overseer::Overseer, id: &str) -> State {
    overseer.status(id).expect("a program").state
}

#[test]
fn what_was_added_is_there_and_has_not_run() {
    let (overseer, list) = overseer();
    overseer.add("echo", Program::new("echo")).unwrap();
    overseer.add("list", Program::new("ls").args(["/usr/"])).unwrap();
    assert!(overseer.contains("echo") && !overseer.contains("other"));
    assert_eq!(overseer.list().into_iter().map(|status| status.id).collect::<Vec<_>>(), ["echo", "list"]);
    let status = overseer.status("echo").unwrap();
    assert_eq!((status.state, status.pid, status.exit_code), (State::Initial, None, None));
    assert!(list.is_empty(), "what is idle has no row");
    wait(overseer.stop_all());
}

#[test]
fn its_options_are_kept() {
    let (overseer, _) = overseer();
    let program = Program::new("ls").args(["-l"]).secret_arg("hidden").group("A").dir("/");
    overseer.add("ls", program).unwrap();
    let status = overseer.status("ls").unwrap();
    assert_eq!(status.command, ["ls", "-l", "***"]);
    assert_eq!((status.group.as_deref(), status.dir), (Some("A"), Some("/".into())));
    let json = serde_json::to_value(overseer.status("ls")).unwrap();
    assert_eq!((&json["state"], &json["group"]), (&"initial".into(), &"A".into()));
}

#[test]
fn one_can_be_added_and_removed_ten_times() {
    let (overseer, _) = overseer();
    for n in 0..10 {
        let id = format!("id{n}");
        assert_eq!(overseer.remove(&id), Err(Error::Unknown { id: id.clone() }));
        overseer.add(&id, sleeper("1")).unwrap();
        assert_eq!(overseer.add(&id, sleeper("999")), Err(Error::Taken { id: id.clone() }));
        assert_eq!(overseer.list().len(), 1);
        overseer.remove(&id).unwrap();
        assert!(overseer.list().is_empty());
    }
}

#[test]
fn bad_programs_are_refused_with_their_id() {
    let (overseer, list) = overseer();
    let id = || "x".to_string();
    assert_eq!(overseer.add("x", Program::new("")), Err(Error::EmptyProgram { id: id() }));
    let orphan = overseer.add("x", sleeper("1").parent("y"));
    assert_eq!(orphan, Err(Error::UnknownParent { id: id(), parent: "y".into() }));
    assert!(matches!(overseer.add("", sleeper("1")), Err(Error::InvalidId { .. })));
    let task = list.start("x");
    assert_eq!(overseer.add("x", sleeper("1")), Err(Error::Taken { id: id() }));
    drop(task);
    for probe in [pm_overseer::Probe::http("https://x"), pm_overseer::Probe::tcp("8080")] {
        assert!(matches!(overseer.add("x", sleeper("1").ready(probe)), Err(Error::InvalidProbe { .. })));
    }
    assert!(overseer.list().is_empty());
    let unknown = || Error::Unknown { id: id() };
    assert_eq!(overseer.start("x"), Err(unknown()));
    assert_eq!(wait(overseer.stop("x")), Err(unknown()));
    assert_eq!(wait(overseer.kill("x")), Err(unknown()));
    assert_eq!(wait(overseer.restart("x")), Err(unknown()));
    assert_eq!(overseer.signal("x", Signal::HUP), Err(unknown()));
    assert_eq!(wait(overseer.supervise("x")), Err(unknown()));
    assert_eq!(overseer.status("x"), None);
}

#[test]
fn a_stop_or_a_signal_before_the_start_changes_nothing() {
    let (overseer, _) = overseer();
    overseer.add("ping", sleeper("60")).unwrap();
    for _ in 0..2 {
        let outcome = wait(overseer.stop("ping")).unwrap();
        assert_eq!((outcome.exit_code, outcome.reason), (None, Reason::Stopped));
    }
    overseer.signal("ping", Signal::TERM).unwrap();
    overseer.signal("ping", Signal::INT).unwrap();
    assert_eq!(state(&overseer, "ping"), State::Initial);
}

#[test]
fn supervised_three_times_in_a_row_each_time_with_another_pid() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    overseer.add("sleep", sh(&format!("echo $$ >> {}", dir.path("pids").display()))).unwrap();
    for n in 1..=3 {
        let outcome = wait(overseer.supervise("sleep")).unwrap();
        assert_eq!((outcome.exit_code, outcome.error, outcome.reason), (Some(0), None, Reason::Finished));
        assert_eq!(overseer.status("sleep").unwrap().generation, n);
        assert_eq!(state(&overseer, "sleep"), State::Finished);
        assert!(list.is_empty(), "the row ends with the supervision");
    }
    let mut pids = common::pids(&dir, "pids", 3);
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

#[test]
fn a_second_supervision_of_one_is_refused_and_of_all_does_nothing() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let script = format!(
        "echo x >> {0}; while ! [ -e {1} ]; do sleep 0.01; done",
        dir.path("runs").display(),
        dir.path("go").display()
    );
    overseer.add("echo", sh(&script)).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| wait(overseer.supervise_all().signals(false)));
        until("it runs", || state(&overseer, "echo") == State::Running);
        wait(overseer.supervise_all());
        wait(overseer.supervise_all());
        assert!(!first.is_finished());
        let again = wait(overseer.supervise("echo"));
        assert_eq!(again, Err(Error::AlreadySupervised { id: "echo".into() }));
        // What is added meanwhile is supervised too.
        overseer.add("late", sh("true")).unwrap();
        until("the late one has run", || state(&overseer, "late") == State::Finished);
        assert_eq!(overseer.remove("echo"), Err(Error::Running { id: "echo".into() }));
        std::fs::write(dir.path("go"), "").unwrap();
    });
    assert_eq!((state(&overseer, "echo"), dir.read("runs").as_str()), (State::Finished, "x\n"));
    // It is callable again.
    wait(overseer.supervise_all());
    assert_eq!(dir.read("runs"), "x\nx\n");
    overseer.remove("echo").unwrap();
}

#[test]
fn a_stop_during_the_start_delay_means_that_it_never_starts() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    let program = sh(&format!("echo ran > {}", dir.path("ran").display())).delay_start(Duration::from_secs(3600));
    overseer.add("late", program).unwrap();
    overseer.start("late").unwrap();
    until("it has a row", || list.get("late").is_some_and(|row| row.status == "waiting (start delay)"));
    let wait_left = overseer.status("late").unwrap().next_start.unwrap();
    assert!(wait_left > Duration::from_secs(3500) && wait_left <= Duration::from_secs(3600));
    assert_eq!(overseer.remove("late"), Err(Error::Running { id: "late".into() }));
    let outcome = wait(overseer.stop("late")).unwrap();
    assert_eq!((outcome.exit_code, outcome.signal, outcome.reason), (None, None, Reason::Stopped));
    assert_eq!((state(&overseer, "late"), dir.read("ran").as_str()), (State::Initial, ""));
    assert!(list.is_empty());
}

#[test]
fn a_signal_is_the_one_that_was_asked_for_and_it_comes_back_after_it() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let heard = dir.path("heard");
    let quick = Backoff { base: Duration::from_millis(10), ..Backoff::default() };
    let script = format!("trap 'echo usr1 >> {}' USR1; echo up; while :; do sleep 0.02; done", heard.display());
    overseer.add("one", sh(&script).backoff(quick)).unwrap();
    overseer.start("one").unwrap();
    until("it is up", || overseer.last_lines("one", 1).unwrap() == ["up"]);
    let first = overseer.status("one").unwrap();
    overseer.signal("one", Signal::USR1).unwrap();
    until("it has heard it", || dir.read("heard") == "usr1\n");
    overseer.signal("one", Signal::KILL).unwrap();
    until("it is back", || overseer.status("one").unwrap().restarts == 1 && state(&overseer, "one") == State::Running);
    let second = overseer.status("one").unwrap();
    assert!(first.pid != second.pid && second.generation == first.generation + 1);
    wait(overseer.kill("one")).unwrap();
    assert_eq!(state(&overseer, "one"), State::Interrupted);
}

#[test]
fn a_kill_is_kill() {
    let (overseer, _) = overseer();
    overseer.add("deaf", sh("trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done")).unwrap();
    overseer.start("deaf").unwrap();
    until("it is up", || !overseer.last_lines("deaf", 1).unwrap().is_empty());
    let outcome = wait(overseer.kill("deaf")).unwrap();
    assert_eq!((outcome.signal, outcome.exit_code), (Some(9), None));
    let status = overseer.status("deaf").unwrap();
    assert_eq!((status.state, status.pid, status.signal), (State::Interrupted, None, Some(9)));
}

#[test]
fn what_was_printed_survives_restarts() {
    let (overseer, _) = overseer();
    let quick = Backoff { base: Duration::from_millis(1), ..Backoff::default() };
    overseer.add("one", sh("echo run; exit 1").retries(2).backoff(quick)).unwrap();
    let outcome = wait(overseer.supervise("one")).unwrap();
    assert_eq!((outcome.reason, outcome.exit_code), (Reason::GaveUp, Some(1)));
    assert_eq!(overseer.last_lines("one", 10).unwrap(), ["run", "run", "run"]);
}

#[test]
fn what_cannot_start_is_fatal_and_what_fails_is_finished() {
    let (overseer, _) = overseer();
    overseer.add("err1", Program::new("qwertyuiop").args(["zxcvbnm"]).restart(Restart::Never)).unwrap();
    let outcome = wait(overseer.supervise("err1")).unwrap();
    assert_eq!(outcome.error.as_deref(), Some("'qwertyuiop' is not on PATH"));
    assert_eq!((outcome.exit_code, state(&overseer, "err1")), (None, State::Fatal));
    wait(overseer.stop("err1")).unwrap();

    overseer.add("err2", Program::new("ls").args(["/no/such/path"]).restart(Restart::Never)).unwrap();
    let outcome = wait(overseer.supervise("err2")).unwrap();
    assert!(outcome.exit_code.unwrap() > 0 && outcome.error.is_none());
    assert_eq!(state(&overseer, "err2"), State::Finished);
}

#[test]
fn a_run_that_ends_by_itself_is_starting_running_finished() {
    let (overseer, _) = overseer();
    let dropped = overseer.watch_state();
    drop(dropped);
    let states = [overseer.watch_state(), overseer.watch_state()];
    overseer.add("ls", Program::new("true")).unwrap();
    overseer.add("bad", Program::new("/no/such").restart(Restart::Never)).unwrap();
    wait(overseer.supervise_all());
    drop(overseer);
    for watched in states {
        let changes: Vec<_> = wait(watched.collect());
        let of = |id: &str| -> Vec<State> {
            changes.iter().filter(|change| *change.id == *id).map(|change| change.state).collect()
        };
        assert_eq!(of("ls"), [State::Starting, State::Running, State::Finished]);
        assert_eq!(of("bad"), [State::Starting, State::Fatal]);
        assert!(changes.iter().all(|change| change.generation == 1));
    }
}

#[test]
fn five_overseers_at_once() {
    let overseers: Vec<_> = (0..5).map(|_| overseer()).collect();
    for (overseer, _) in &overseers {
        overseer.add("id", sleeper("60").group("A").dir("/")).unwrap();
        overseer.start("id").unwrap();
    }
    for (overseer, _) in &overseers {
        until("it runs", || state(overseer, "id") == State::Running);
        wait(overseer.stop_all());
        assert_eq!(state(overseer, "id"), State::Interrupted);
    }
}

#[test]
fn a_program_that_fails_once_has_its_exit_code() {
    let (overseer, _) = overseer();
    overseer.add("bash1", sh("echo First; exit 1").restart(Restart::Never).stderr(Output::Null)).unwrap();
    wait(overseer.supervise("bash1")).unwrap();
    let status = overseer.status("bash1").unwrap();
    assert_eq!((status.exit_code, status.error, status.state), (Some(1), None, State::Finished));
}

#[test]
fn a_success_may_be_another_code_and_always_means_always() {
    let (overseer, _) = overseer();
    let quick = Backoff { base: Duration::from_millis(1), ..Backoff::default() };
    overseer.add("ok", sh("exit 7").success_codes([0, 7])).unwrap();
    let outcome = wait(overseer.supervise("ok")).unwrap();
    assert!(outcome.is_success() && outcome.reason == Reason::Finished);
    overseer.add("always", sh("exit 0").restart(Restart::Always).retries(2).backoff(quick)).unwrap();
    let Outcome { reason, exit_code, .. } = wait(overseer.supervise("always")).unwrap();
    assert_eq!((reason, exit_code, overseer.status("always").unwrap().restarts), (Reason::GaveUp, Some(0), 2));
}

#[test]
fn one_run_by_itself() {
    let child = sh("echo out; echo err >&2; exit 3").spawn().unwrap();
    let output = wait(child.wait_with_output()).unwrap();
    assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!((output.outcome.exit_code, output.outcome.reason), (Some(3), Reason::Finished));

    // All of it, also what no ring holds.
    let child = sh("seq 100000; printf end").spawn().unwrap();
    let output = wait(child.wait_with_output()).unwrap();
    assert_eq!(output.stdout.len(), 588_898);

    let child = sleeper("60").spawn().unwrap();
    until("it runs", || child.status().pid.is_some());
    let pid = child.status().pid.unwrap();
    child.signal(Signal::STOP);
    let outcome = wait(child.stop()).unwrap();
    assert_eq!(outcome.signal, Some(15), "TERM is followed by CONT");
    assert_eq!(wait(child.wait()).unwrap(), outcome);
    assert!(!common::is_alive(pid));
}
