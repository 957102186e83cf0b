//! What must hold, with real processes that misbehave.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant};

use common::{Dir, is_alive, overseer, pids, sh, until, wait};
use futures_util::{FutureExt, StreamExt};
use pm_overseer::{Backoff, Output, Overseer, Probe, Program, Reason, Restart, Signal, State};
use proptest::prelude::*;

fn quick() -> Backoff {
    Backoff { base: Duration::from_millis(10), max: Duration::from_millis(20), ..Backoff::default() }
}

fn state(overseer: &Overseer, id: &str) -> State {
    overseer.status(id).unwrap().state
}

/// How often this process has a file open.
fn times_open(path: &std::path::Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| std::fs::read_link(entry.path()));
    links.flatten().filter(|link| link == path).count()
}

fn row(list: &pm::ProcList, id: &str) -> String {
    list.get(id).map_or_else(String::new, |row| row.status)
}

// 1. "Stopped" means that the group is empty.

#[test]
fn a_stop_ends_the_whole_group_whatever_it_does_with_term() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let file = dir.path("pids");
    let file = file.display();
    // The leader heeds TERM, a child of it does not; another one is stopped.
    let script = format!(
        "sh -c 'trap \"\" TERM; echo $$ >> {file}; while :; do sleep 0.05; done' &
         sleep 1000 & echo $! >> {file}; kill -STOP $!; echo $$ >> {file}; wait"
    );
    overseer.add("family", sh(&script).grace(Duration::from_millis(300))).unwrap();
    overseer.start("family").unwrap();
    let all = pids(&dir, "pids", 3);
    let outcome = wait(overseer.stop("family")).unwrap();
    assert!(!all.iter().any(|pid| is_alive(*pid)), "nothing is left");
    assert_eq!((outcome.signal, outcome.left), (Some(15), vec![]));
    assert_eq!(state(&overseer, "family"), State::Interrupted);
}

#[test]
fn a_chain_that_forks_and_exits_is_over_when_its_program_is() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    // Each lives for less than a scan takes, and leaves a mark.
    let chain = "use POSIX; $f = shift; open F, '>>', $f; while (-e $f) { syswrite F, 'x'; fork and POSIX::_exit(0) }";
    for n in 0..10 {
        let file = dir.path(&n.to_string());
        std::fs::write(&file, "").unwrap();
        let program = Program::new("perl").args(["-e", chain, file.to_str().unwrap()]);
        overseer.add(n.to_string(), program.restart(Restart::Never)).unwrap();
        wait(overseer.supervise(n.to_string())).unwrap();
        let links = || std::fs::metadata(&file).unwrap().len();
        let (links_before, since) = (links(), Instant::now());
        while since.elapsed() < Duration::from_millis(50) {
            assert_eq!(links(), links_before, "it goes on");
        }
    }
}

#[test]
fn a_leader_that_has_joined_another_group_is_stopped_as_well() {
    let (overseer, _) = overseer();
    let script = "setpgrp(0, getpgrp(getppid())) or die; $| = 1; print qq(up\n); sleep 1000";
    overseer.add("one", Program::new("perl").args(["-e", script])).unwrap();
    for how in [|overseer: &Overseer| overseer.stop("one"), |overseer: &Overseer| overseer.kill("one")] {
        let lines = overseer.watch_logs();
        overseer.start("one").unwrap();
        assert!(wait(lines.into_future()).0.unwrap().text == b"up");
        let pid = overseer.status("one").unwrap().pid.unwrap();
        assert!(wait(how(&overseer)).unwrap().signal.is_some() && !is_alive(pid));
    }
}

#[test]
fn what_a_leader_leaves_behind_is_stopped_before_the_next_run() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    let file = dir.path("pids");
    let script = format!(
        "sh -c 'trap \"\" TERM; echo $$ >> {0}; while :; do sleep 0.05; done' & while ! [ -s {0} ]; do sleep 0.01; done; exit 3",
        file.display()
    );
    let states = overseer.watch_state();
    let program = sh(&script).restart(Restart::Never).grace(Duration::from_millis(400)).stdout(Output::Null);
    overseer.add("one", program).unwrap();
    overseer.start("one").unwrap();
    let stray = pids(&dir, "pids", 1)[0];
    until("it is told what is left", || row(&list, "one").starts_with("stopping (exit code 3, "));
    assert!(row(&list, "one").ends_with(" left)"));
    assert!(is_alive(stray) && state(&overseer, "one") == State::Stopping);
    until("its supervision has ended", || list.is_empty());
    assert!(!is_alive(stray));
    assert_eq!(overseer.last_outcome("one").unwrap().exit_code, Some(3));
    drop(overseer);
    let states: Vec<State> = wait(states.map(|change| change.state).collect());
    assert_eq!(states, [State::Starting, State::Running, State::Stopping, State::Finished]);
}

// 2. Never a second instance.

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hundred_random_commands_never_make_a_second_instance(commands in prop::collection::vec((0u8..5, 0u64..15), 100)) {
        let (overseer, list) = overseer();
        let dir = Dir::new();
        let (lock, twice) = (dir.path("lock"), dir.path("twice"));
        // Each instance and what it leaves behind hold the lock.
        let script = format!(
            "exec 9>{0}; flock -n 9 || {{ echo x >> {1}; exit 1; }}; (trap '' TERM; sleep 0.03) & sleep 0.02; exit 1",
            lock.display(), twice.display()
        );
        overseer.add("one", Program::new("bash").args(["-c", &script]).backoff(quick()).grace(Duration::from_millis(20))).unwrap();
        for (command, ms) in commands {
            match command {
                0 => overseer.start("one").unwrap(),
                1 => drop(overseer.restart("one")),
                2 => drop(overseer.stop("one")),
                3 => drop(overseer.kill("one")),
                _ => overseer.signal("one", Signal::USR1).unwrap(),
            }
            std::thread::sleep(Duration::from_millis(ms));
        }
        wait(overseer.stop("one")).unwrap();
        prop_assert_eq!(dir.read("twice"), "");
        until("the row is gone", || list.is_empty());
    }
}

// 3. An exit is noticed whatever else is going on.

#[test]
fn an_exit_is_noticed_while_it_is_not_ready_and_while_a_stray_holds_its_output() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let file = dir.path("pids");
    // The stray has left the group, and holds the pipe.
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & while ! [ -s {0} ]; do sleep 0.01; done; exit 4",
        file.display()
    );
    overseer.add("one", sh(&script).restart(Restart::Never).ready(Probe::log("never printed"))).unwrap();
    overseer.add("below", sh("exec sleep 1000").parent("one")).unwrap();
    let begun = Instant::now();
    let outcome = wait(overseer.supervise("one")).unwrap();
    assert_eq!(outcome.exit_code, Some(4));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let stray = pids(&dir, "pids", 1)[0];
    assert!(is_alive(stray), "what has left the group is not ours to end");
    let _ = std::process::Command::new("kill").args(["-9", &stray.to_string()]).status();
}

#[test]
fn a_program_is_ready_when_its_probe_says_so() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, stream) in server.incoming().flatten().enumerate() {
            let status = if n == 0 { "503 Not Yet" } else { "204 No Content" };
            let mut stream = stream;
            let mut request = [0; 1024];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let go = dir.path("go");
    let probes = [
        ("http", Probe::http(format!("http://127.0.0.1:{port}/health"))),
        ("tcp", Probe::tcp(format!("127.0.0.1:{port}"))),
        ("exec", Probe::exec("test", ["-e", go.to_str().unwrap()])),
        ("log", Probe::log("up and running")),
    ];
    for (id, probe) in probes {
        let script = "sleep 0.2; echo I am up and running now; exec sleep 1000";
        overseer.add(id, sh(script).ready(probe.period(Duration::from_millis(20)))).unwrap();
        overseer.start(id).unwrap();
    }
    for id in ["http", "tcp", "log"] {
        until("it is ready", || overseer.status(id).unwrap().ready);
    }
    until("it runs", || state(&overseer, "exec") == State::Running);
    assert!(!overseer.status("exec").unwrap().ready);
    std::fs::write(&go, "").unwrap();
    until("it is ready", || overseer.status("exec").unwrap().ready);
    wait(overseer.kill_all());
    assert!(overseer.list().iter().all(|status| !status.ready && status.pid.is_none()));
}

#[test]
fn a_line_says_that_it_is_ready_wherever_it_is_cut() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    // The first piece ends within the text. The rest comes when that piece has been seen.
    let script = format!(
        "printf '%060dready ' 0; while ! [ -e {} ]; do sleep 0.01; done; printf 'now\\n'; exec sleep 1000",
        dir.path("go").display()
    );
    overseer.add("one", sh(&script).max_line(64).ready(Probe::log("ready now"))).unwrap();
    let lines = overseer.watch_logs();
    overseer.start("one").unwrap();
    assert!(wait(lines.into_future()).0.unwrap().text.ends_with(b"0read"));
    std::fs::write(dir.path("go"), "").unwrap();
    until("it is ready", || overseer.status("one").unwrap().ready);
    wait(overseer.kill("one")).unwrap();
}

#[test]
fn a_program_that_is_unwell_is_started_again_and_a_probe_that_hangs_has_failed() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    let lock = dir.path("lock");
    let script =
        format!("mkdir {0} || echo twice >> {1}; sleep 0.05; rmdir {0}", lock.display(), dir.path("twice").display());
    let probe = Probe::exec("sh", ["-c", &script]).period(Duration::from_millis(10));
    overseer.add("probed", sh("exec sleep 1000").health(probe)).unwrap();
    overseer.start("probed").unwrap();
    let well = dir.path("well");
    std::fs::write(&well, "").unwrap();
    let file = dir.path("pids");
    let script = format!("test -e {} || {{ echo $$ >> {}; exec sleep 1000; }}", well.display(), file.display());
    let probe = Probe::exec("sh", ["-c", &script]);
    let probe = probe.period(Duration::from_millis(20)).timeout(Duration::from_millis(200)).failures(2);
    overseer.add("one", sh("exec sleep 1000").health(probe).backoff(quick())).unwrap();
    overseer.start("one").unwrap();
    until("it is ready", || overseer.status("one").unwrap().ready);
    std::fs::remove_file(&well).unwrap();
    until("it was started again", || overseer.status("one").unwrap().restarts > 0);
    std::fs::write(&well, "").unwrap();
    let last = list.get("one").unwrap().cols.into_iter().find(|(name, _)| name == "last").unwrap().1;
    assert_eq!(last, "unwell: the probe took longer than 200ms");
    assert_eq!(
        (dir.read("twice").as_str(), overseer.status("probed").unwrap().restarts),
        ("", 0),
        "one probe at a time"
    );
    wait(overseer.kill("probed")).unwrap();
    for probe in pids(&dir, "pids", 2) {
        until("the probe is killed", || !is_alive(probe));
    }
    wait(overseer.kill("one")).unwrap();
}

#[test]
fn children_stop_before_their_parent_does() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    let log = dir.path("log");
    let script = |name: &str| {
        format!(
            "trap 'echo {name} ends >> {0}; exit 0' TERM; echo {name} >> {0}; echo up; while :; do sleep 0.02; done",
            log.display()
        )
    };
    // Ready when it has written its line, so that the lines come in order.
    overseer.add("redis", sh(&script("redis")).ready(Probe::log("up"))).unwrap();
    overseer.add("web", sh(&script("web")).parent("redis")).unwrap();
    overseer.start("web").unwrap();
    until("it waits", || row(&list, "web") == "waiting for redis");
    overseer.start("redis").unwrap();
    until("both run", || dir.read("log").lines().count() == 2);
    let status = wait(overseer.restart("redis")).unwrap();
    assert!(status.ready && status.generation == 2);
    until("both run again", || dir.read("log").lines().count() == 6);
    assert_eq!(dir.read("log"), "redis\nweb\nweb ends\nredis ends\nredis\nweb\n");
    assert!(matches!(overseer.remove("redis"), Err(pm_overseer::Error::HasChildren { .. })));
    // A parent that dies takes its children down before it is back.
    overseer.signal("redis", Signal::KILL).unwrap();
    until("both run again", || dir.read("log").lines().count() == 9);
    assert!(dir.read("log").ends_with("web ends\nredis\nweb\n"), "{}", dir.read("log"));
    wait(overseer.stop("redis")).unwrap();
    assert_eq!(row(&list, "web"), "waiting for redis");
    wait(overseer.stop_all());
}

// 4. A crash loop: `actor::tests`, in virtual time.

// 5. Output.

#[test]
fn all_that_is_printed_is_in_the_file_and_the_watcher_gets_it_in_pieces() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let lines = overseer.watch_logs();
    // A line of 768 KiB, CRLF, no text, and an end without a newline.
    let script = r"head -c 786432 /dev/zero | tr '\0' x; printf '\none\r\ntw\377o\n\nlast'";
    let program = sh(script).stdout(Output::File(dir.path("out"))).max_line(1 << 16);
    overseer.add("one", program).unwrap();
    let outcome = wait(overseer.supervise("one")).unwrap();
    assert_eq!(outcome.exit_code, Some(0));
    let mut expected = vec![b'x'; 768 << 10];
    expected.extend_from_slice(b"\none\r\ntw\xffo\n\nlast");
    until("all is in the file", || std::fs::read(dir.path("out")).unwrap_or_default() == expected);
    drop(overseer);
    let lines: Vec<_> = wait(lines.collect());
    let short: Vec<(&[u8], bool)> =
        lines.iter().filter(|line| line.text.len() < 100).map(|line| (&line.text[..], line.complete)).collect();
    assert_eq!(short, [(&b""[..], true), (b"one", true), (b"tw\xffo", true), (b"", true), (b"last", false)]);
    let long: Vec<bool> = lines.iter().filter(|line| line.text.len() >= 100).map(|line| line.complete).collect();
    assert_eq!((long.len(), long.contains(&true)), (12, false));
}

#[test]
fn a_watcher_that_never_reads_loses_the_oldest_is_told_and_delays_nobody() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let idle = overseer.watch_logs();
    overseer.add("one", sh("seq 100000").stdout(Output::File(dir.path("out")))).unwrap();
    wait(overseer.supervise("one")).unwrap();
    until("all is in the file", || dir.read("out").lines().count() == 100_000);
    assert_eq!(idle.missed(), 100_000 - 8192);
    drop(overseer);
    let lines: Vec<_> = wait(idle.collect());
    assert_eq!((lines.len(), &lines[0].text[..]), (8192, &b"91809"[..]));
}

#[test]
fn rotation_and_reopening_lose_no_line() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let out = Output::File(dir.path("out")).rotate(20_000, 100);
    overseer.add("one", sh("seq 1 20000").stdout(out)).unwrap();
    overseer
        .add(
            "two",
            sh("seq 1 20000 | while read n; do echo $n; done; sleep 0.3; seq 20001 20100")
                .stdout(Output::File(dir.path("two"))),
        )
        .unwrap();
    overseer.start("two").unwrap();
    wait(overseer.supervise("one")).unwrap();
    let all = |name: &str| -> String {
        let numbered = (1..100).rev().map(|n| dir.read(&format!("{name}.{n}")));
        numbered.chain([dir.read(name)]).collect()
    };
    let numbers = |n: u32| -> String { (1..=n).map(|n| format!("{n}\n")).collect() };
    until("all lines are there", || all("out").len() >= numbers(20_000).len());
    assert_eq!(all("out"), numbers(20_000));
    assert!((1..=5).all(|n| std::fs::metadata(dir.path(&format!("out.{n}"))).unwrap().len() <= 20_000));

    until("it prints", || !dir.read("two").is_empty());
    std::fs::rename(dir.path("two"), dir.path("two.1")).unwrap();
    overseer.reopen_logs();
    until("it has ended", || state(&overseer, "two") == State::Finished);
    until("all lines are there", || all("two").len() >= numbers(20_100).len());
    assert_eq!(all("two"), numbers(20_100));
    assert!(!dir.read("two").is_empty() && !dir.read("two.1").is_empty());
}

#[test]
fn a_log_that_was_removed_costs_no_archive() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let go = dir.path("go");
    let script = format!("seq 1000 1999; while ! [ -e {} ]; do sleep 0.01; done; seq 2000 4999", go.display());
    overseer.add("one", sh(&script).stdout(Output::File(dir.path("out")).rotate(1000, 99))).unwrap();
    overseer.start("one").unwrap();
    until("the first part is there", || dir.read("out").ends_with("1999\n"));
    let archives: Vec<String> = (1..=4).map(|n| dir.read(&format!("out.{n}"))).collect();
    assert_eq!(archives[3].lines().next(), Some("1000"));
    std::fs::remove_file(dir.path("out")).unwrap();
    std::fs::write(&go, "").unwrap();
    until("the second part is there", || dir.read("out").ends_with("4999\n"));
    // What came before it was noticed went into the file that was removed; all else is there.
    let numbered = (1..=99).rev().map(|n| dir.read(&format!("out.{n}")));
    let all: String = numbered.chain([dir.read("out")]).collect();
    assert!(all.starts_with(&archives.into_iter().rev().collect::<String>()), "the archives are as they were");
    let numbers: Vec<u32> = all.lines().map(|line| line.parse().unwrap()).collect();
    let later: Vec<u32> = numbers.iter().copied().filter(|n| *n >= 2000).collect();
    assert!(later.len() >= 2800 && later.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{} lines", later.len());
    assert!((1..=9).all(|n| dir.read(&format!("out.{n}")).len() <= 1000));
}

#[test]
fn streams_that_name_one_file_share_it_and_lines_stay_whole() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    std::fs::write(dir.path("one"), "").unwrap();
    symlink(dir.path("one"), dir.path("two")).unwrap();
    let script = format!(
        "i=0; while [ $i -lt 2000 ]; do echo aaaaaaaaaaaaaaaaaaaaaaaaa; echo bbbbbbbbbbbbbbbbbbbbbbbbb >&2; i=$((i+1)); done
         while ! [ -e {} ]; do sleep 0.01; done",
        dir.path("go").display()
    );
    let program = |out: &str, err: &str| {
        sh(&script)
            .stdout(Output::File(dir.path(out)).rotate(50_000, 20))
            .stderr(Output::File(dir.path(err)).rotate(50_000, 20))
    };
    overseer.add("one", program("one", "two")).unwrap();
    overseer.add("two", program("two", "one")).unwrap();
    for id in ["one", "two"] {
        overseer.start(id).unwrap();
    }
    let all = || -> String {
        (1..20)
            .map(|n| dir.read(&format!("one.{n}")))
            .chain((1..20).map(|n| dir.read(&format!("two.{n}"))))
            .chain([dir.read("one")])
            .collect()
    };
    until("all lines are there", || all().lines().count() >= 8000);
    let open = ["one", "two"].map(|name| times_open(&dir.path(name)));
    assert_eq!(open, [1, 0], "all four have it open once, by its own name or that of the link");
    std::fs::write(dir.path("go"), "").unwrap();
    let text = all();
    assert_eq!(text.lines().count(), 8000);
    assert!(text.lines().all(|line| line.len() == 25 && line.bytes().all(|byte| byte == line.as_bytes()[0])));
}

#[test]
fn a_full_disk_loses_lines_and_counts_them_and_what_is_no_file_is_never_rotated() {
    let (overseer, list) = overseer();
    // Every write to it says that the disk is full.
    overseer.add("full", sh("seq 1000; sleep 1000").stdout(Output::File("/dev/full".into()))).unwrap();
    overseer.start("full").unwrap();
    until("they are counted", || overseer.status("full").unwrap().lines_dropped == 1000);
    until("it is shown", || list.get("full").unwrap().cols.contains(&("dropped".into(), "1000".into())));
    assert_eq!(overseer.last_lines("full", 1).unwrap(), ["1000"], "they are still in the ring");
    overseer.add("null", sh("seq 10000").stdout(Output::File("/dev/null".into()).rotate(10, 2))).unwrap();
    wait(overseer.supervise("null")).unwrap();
    assert!(std::fs::metadata("/dev/null").unwrap().rdev() != 0 && !std::path::Path::new("/dev/null.1").exists());
    wait(overseer.kill_all());
}

#[test]
fn a_file_that_was_cut_by_others_gets_no_nul_bytes_and_one_that_is_missing_comes_later() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let go = dir.path("go");
    let script = format!("echo before; while ! [ -e {} ]; do sleep 0.01; done; echo after", go.display());
    overseer.add("cut", sh(&script).stdout(Output::File(dir.path("cut")))).unwrap();
    overseer.add("late", sh(&script).stdout(Output::File(dir.path("folder/late")))).unwrap();
    for id in ["cut", "late"] {
        overseer.start(id).unwrap();
    }
    until("it has printed", || dir.read("cut") == "before\n" && overseer.status("late").unwrap().lines_dropped == 1);
    std::fs::OpenOptions::new().write(true).truncate(true).open(dir.path("cut")).unwrap();
    std::fs::create_dir(dir.path("folder")).unwrap();
    std::fs::write(&go, "").unwrap();
    until("both are there", || dir.read("cut") == "after\n" && dir.read("folder/late") == "after\n");
}

#[test]
fn those_that_wait_for_one_missing_file_share_it_when_it_comes() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let file = dir.path("folder/late");
    for id in ["one", "two"] {
        let program = sh("while :; do echo x; sleep 0.01; done").stdout(Output::File(file.clone()));
        overseer.add(id, program.grace(Duration::from_millis(100))).unwrap();
        overseer.start(id).unwrap();
        until("it has lost a line", || overseer.status(id).unwrap().lines_dropped > 0);
    }
    std::fs::create_dir(dir.path("folder")).unwrap();
    let lost = || ["one", "two"].map(|id| overseer.status(id).unwrap().lines_dropped);
    until("lines come", || !dir.read("folder/late").is_empty());
    let (before, length) = (lost(), dir.read("folder/late").len());
    until("more lines come", || dir.read("folder/late").len() > length + 100);
    assert_eq!((lost(), times_open(&file)), (before, 1));
    wait(overseer.stop_all());
}

#[test]
fn those_that_open_one_file_at_different_times_share_it() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let script = |id: &str| {
        format!("i=0; while ! [ -e {} ]; do i=$((i+1)); echo {id} $i; sleep 0.002; done", dir.path("stop").display())
    };
    let file = dir.path("log");
    let add = |id: &str| {
        overseer.add(id, sh(&script(id)).stdout(Output::File(file.clone()))).unwrap();
        overseer.start(id).unwrap();
    };
    add("one");
    until("it writes", || dir.read("log").contains("one 9\n"));
    std::fs::rename(&file, dir.path("log.1")).unwrap();
    add("two");
    until("it has a new file", || dir.read("log").contains("two 9\n"));
    assert!(!dir.read("log").contains("one"));
    overseer.reopen_logs();
    until("both write to it", || dir.read("log").contains("one "));
    assert_eq!((times_open(&file), times_open(&dir.path("log.1"))), (1, 0));
    // Again, by the one that hands over to the other.
    std::fs::rename(&file, dir.path("log.2")).unwrap();
    overseer.reopen_logs();
    until("both write to the next one", || dir.read("log").contains("one ") && dir.read("log").contains("two "));
    std::fs::write(dir.path("stop"), "").unwrap();
    until("both have ended", || overseer.last_outcome("one").is_some() && overseer.last_outcome("two").is_some());
    let all = || ["log.1", "log.2", "log"].map(|name| dir.read(name)).concat();
    for id in ["one", "two"] {
        let last = overseer.last_lines(id, 1).unwrap().remove(0);
        until("its last line is there", || all().lines().any(|line| line == last));
        let count = last.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
        assert_eq!(all().lines().filter(|line| line.starts_with(id)).count(), count, "no line of {id} is lost");
    }
}

#[test]
fn a_file_whose_folder_is_gone_when_it_is_opened_anew_loses_lines_that_are_counted_until_it_is_back() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    std::fs::create_dir(dir.path("logs")).unwrap();
    let script =
        format!("i=0; while ! [ -e {} ]; do i=$((i+1)); echo $i; sleep 0.002; done", dir.path("stop").display());
    for (id, output) in [
        ("plain", Output::File(dir.path("logs/plain"))),
        ("rotated", Output::File(dir.path("logs/rotated")).rotate(100, 1000)),
    ] {
        overseer.add(id, sh(&script).stdout(output)).unwrap();
        overseer.start(id).unwrap();
        until("it writes", || dir.read(&format!("logs/{id}")).lines().count() > 3);
    }
    let lost = |id: &str| overseer.status(id).unwrap().lines_dropped;
    std::fs::remove_dir_all(dir.path("logs")).unwrap();
    overseer.reopen_logs();
    until("they are counted", || lost("plain") > 3 && lost("rotated") > 3);
    std::fs::create_dir(dir.path("logs")).unwrap();
    for id in ["plain", "rotated"] {
        until("it goes on", || dir.read(&format!("logs/{id}")).lines().count() > 3);
    }
    std::fs::write(dir.path("stop"), "").unwrap();
}

#[test]
fn what_is_rotated_is_the_file_and_not_a_link_to_it() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    std::fs::write(dir.path("real"), "").unwrap();
    symlink(dir.path("real"), dir.path("link")).unwrap();
    let output = Output::File(dir.path("link")).rotate(1000, 100);
    overseer.add("one", sh("seq 1000").stdout(output)).unwrap();
    wait(overseer.supervise("one")).unwrap();
    assert!(std::fs::symlink_metadata(dir.path("link")).unwrap().is_symlink());
    assert!(!dir.path("link.1").exists() && dir.path("real.1").exists());
    assert_eq!(dir.read("link"), dir.read("real"));
}

#[test]
fn a_fifo_that_nobody_reads_is_waited_for_once() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let fifo = dir.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    overseer.add("one", sh("echo a; exit 1").stdout(Output::File(fifo.clone())).backoff(quick())).unwrap();
    // As the kernel calls the place where a thread waits for the other end of a FIFO.
    let waiting = || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let places = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("wchan")).ok());
        places.filter(|place| place == "wait_for_partner").count()
    };
    overseer.start("one").unwrap();
    until("it has run thrice", || overseer.status("one").unwrap().restarts >= 3);
    assert_eq!(waiting(), 1);
    let mut read = [0; 2];
    std::io::Read::read_exact(&mut std::fs::File::open(&fifo).unwrap(), &mut read).unwrap();
    assert_eq!(&read, b"a\n", "whoever reads it at last gets what is printed");
    wait(overseer.stop("one")).unwrap();
}

#[test]
fn a_stray_that_fills_the_pipe_on_and_on_is_not_read_for_ever() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec yes' & while ! [ -s {0} ]; do sleep 0.01; done; exit 0",
        dir.path("pids").display()
    );
    overseer.add("one", sh(&script)).unwrap();
    wait(overseer.supervise("one")).unwrap();
    let stray = pids(&dir, "pids", 1)[0];
    until("nobody has its pipe open any more, which ends it", || !is_alive(stray));
}

#[test]
fn a_slow_reader_of_a_pipe_slows_the_program_and_not_the_others() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let fifo = dir.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    overseer.add("slow", sh("seq 1000000; echo done >&2; sleep 1000").stdout(Output::File(fifo.clone()))).unwrap();
    overseer.start("slow").unwrap();
    // Nobody reads: it cannot print all of it. Another one is not held up.
    overseer.add("other", sh("seq 1000").stdout(Output::File(dir.path("other")))).unwrap();
    wait(overseer.supervise("other")).unwrap();
    until("the other one has printed", || dir.read("other").lines().count() == 1000);
    assert!(overseer.last_lines("slow", 512).unwrap().iter().all(|line| line != "done"));
    // A stop waits for nothing.
    let begun = Instant::now();
    wait(overseer.stop("slow")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

// 6. and 7.: tests/endings.rs.

// 8. What cannot be started.

#[test]
fn each_reason_not_to_start_is_told_and_the_supervisor_stays_up() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let no_interpreter = dir.script("no-interpreter", "#!/no/such/interpreter -x\n");
    let plain = dir.path("plain");
    std::fs::write(&plain, "echo hello\n").unwrap();
    let plain = plain.to_str().unwrap();
    let cases = [
        (Program::new("/no/such/program"), "'/no/such/program' is not there".to_string()),
        (Program::new("no-such-program"), "'no-such-program' is not on PATH".to_string()),
        (Program::new("true").dir("/no/such/dir"), "its directory '/no/such/dir' is not there".to_string()),
        (
            Program::new(&no_interpreter),
            format!("the interpreter of '{no_interpreter}', '/no/such/interpreter', is not there"),
        ),
        (Program::new(plain), format!("'{plain}' is not executable, or may not be")),
        (
            Program::new("true").args(["x".repeat(1 << 20), "x".repeat(1 << 20), "x".repeat(1 << 20)]),
            "its arguments and its environment are too long".to_string(),
        ),
    ];
    for (program, expected) in cases {
        overseer.add("one", program.restart(Restart::Never)).unwrap();
        let outcome = wait(overseer.supervise("one")).unwrap();
        assert_eq!((outcome.error, outcome.reason), (Some(expected), Reason::Finished));
        assert_eq!(state(&overseer, "one"), State::Fatal);
        overseer.remove("one").unwrap();
    }
    // Retried by its policy, and it goes on when the reason is gone.
    let script = dir.path("late");
    overseer.add("late", Program::new(script.to_str().unwrap()).backoff(quick())).unwrap();
    overseer.start("late").unwrap();
    until("it was tried again", || overseer.status("late").unwrap().restarts > 2);
    dir.script("late", "#!/bin/sh\nexit 0\n");
    until("it has run", || overseer.last_outcome("late").is_some_and(|outcome| outcome.exit_code == Some(0)));
}

#[test]
fn a_script_without_a_first_line_is_run_by_sh() {
    let dir = Dir::new();
    let script = dir.script("plain", "echo $0 $1\n");
    let output = wait(Program::new(&script).args(["x"]).spawn().unwrap().wait_with_output()).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{script} x\n"));
    let path = Program::new("plain").args(["y"]).env("PATH", &dir.0);
    let output = wait(path.spawn().unwrap().wait_with_output()).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{script} y\n"));
}

#[test]
fn the_environment_and_the_directory_are_its_own() {
    let dir = Dir::new();
    let program = sh("echo $A; pwd; env | wc -l").env("A", "b c").env_clear().dir(&dir.0);
    let output = wait(program.spawn().unwrap().wait_with_output()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("b c"));
    assert_eq!(lines.next(), dir.0.canonicalize().unwrap().to_str());
}

#[test]
fn restarts_leave_descriptors_threads_and_zombies_as_they_were() {
    let (overseer, _) = overseer();
    let instant = Backoff { base: Duration::ZERO, ..Backoff::default() };
    let restart = |id: &str, n| {
        overseer.add(id, Program::new("false").retries(n).backoff(instant)).unwrap();
        assert_eq!(wait(overseer.supervise(id)).unwrap().reason, Reason::GaveUp);
    };
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    restart("warm", 20);
    let before = count("fd");
    restart("much", 100);
    // Others of these tests run beside it, so a leak is what grows with the restarts.
    assert!(count("fd") < before + 80, "{before} descriptors became {}", count("fd"));
    let mine = format!(" {} ", std::process::id());
    let zombies = || {
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter(|stat| stat.contains("(false) Z") && stat.contains(&mine)).count()
    };
    until("all are reaped", || zombies() == 0);
}

#[test]
fn dropping_a_supervision_stops_the_program_and_a_wait_dropped_changes_nothing() {
    let (overseer, list) = overseer();
    overseer.add("one", sh("exec sleep 1000")).unwrap();
    let mut supervised = Box::pin(overseer.supervise("one"));
    assert!((&mut supervised).now_or_never().is_none());
    until("it runs", || state(&overseer, "one") == State::Running);
    drop(supervised);
    until("it has ended", || list.is_empty() && state(&overseer, "one") == State::Interrupted);
    overseer.start("one").unwrap();
    until("it runs", || state(&overseer, "one") == State::Running);
    drop(overseer.stop("one"));
    until("it has ended", || list.is_empty());
}

#[test]
fn what_is_left_of_an_old_supervision_stops_no_later_one() {
    let (overseer, _) = overseer();
    overseer.add("one", sh("exec sleep 1000").restart(Restart::Never)).unwrap();
    let mut old = Box::pin(overseer.supervise("one"));
    let mut old_all = Box::pin(overseer.supervise_all().signals(false));
    assert!((&mut old).now_or_never().is_none() && (&mut old_all).now_or_never().is_none());
    until("it runs", || state(&overseer, "one") == State::Running);
    wait(overseer.stop("one")).unwrap();
    // Both have their answer, and nobody has looked at it: what is added now is not supervised any more.
    until("all is told", || {
        overseer.add("new", sh("exit 0")).unwrap();
        let is_told = state(&overseer, "new") == State::Initial;
        wait(overseer.stop("new")).unwrap();
        overseer.remove("new").unwrap();
        is_told
    });
    overseer.start("one").unwrap();
    until("it runs", || state(&overseer, "one") == State::Running);
    drop((old, old_all));
    assert_eq!(state(&overseer, "one"), State::Running, "a stop would show at once");
    wait(overseer.kill("one")).unwrap();
}

#[test]
fn a_restart_during_a_stop_is_answered_by_the_new_run() {
    let (overseer, _) = overseer();
    let dir = Dir::new();
    let script = format!("trap '' TERM; echo up >> {}; while :; do sleep 0.01; done", dir.path("up").display());
    overseer.add("one", sh(&script).grace(Duration::from_millis(200))).unwrap();
    overseer.start("one").unwrap();
    until("it is deaf", || dir.read("up") == "up\n");
    let stopped = overseer.stop("one");
    assert_eq!(state(&overseer, "one"), State::Stopping);
    let status = wait(overseer.restart("one")).unwrap();
    assert_eq!((status.state, status.generation, status.ready), (State::Running, 2, true));
    assert_eq!(wait(stopped).unwrap().signal, Some(9), "the stop has its own answer");
    wait(overseer.kill("one")).unwrap();
}

#[test]
fn a_kill_of_the_row_is_a_stop_with_a_reason_and_tells_how_it_ended() {
    let (overseer, list) = overseer();
    overseer.add("web", sh("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done")).unwrap();
    overseer
        .add("deaf", sh("trap '' TERM; echo up; while :; do sleep 0.01; done").grace(Duration::from_millis(200)))
        .unwrap();
    for (id, expected) in [("web", "exit code 0 after SIGTERM"), ("deaf", "SIGKILL after 200ms")] {
        let supervised = std::thread::spawn({
            let overseer = overseer.clone();
            move || wait(overseer.supervise(id)).unwrap()
        });
        until("it is up", || overseer.last_lines(id, 1).unwrap() == ["up"]);
        let kill = list.request_kill(id, "a new one is coming").unwrap();
        let ending = wait(kill.outcome());
        assert_eq!((ending.outcome, ending.note.as_deref()), (pm::Outcome::Killed, Some(expected)));
        assert_eq!(supervised.join().unwrap().reason, Reason::Killed("a new one is coming".into()));
    }
    // In its backoff too.
    overseer
        .add(
            "loop",
            Program::new("false").backoff(Backoff {
                base: Duration::from_secs(3600),
                max: Duration::from_secs(3600),
                ..quick()
            }),
        )
        .unwrap();
    overseer.start("loop").unwrap();
    until("it waits", || row(&list, "loop") == "waiting (backoff)");
    let cols = list.get("loop").unwrap().cols;
    assert!(cols.contains(&("kind".into(), "process".into())) && cols.contains(&("last".into(), "exit code 1".into())));
    assert!(cols.iter().any(|(name, value)| name == "next" && value.ends_with('Z')), "{cols:?}");
    let ending = wait(list.request_kill("loop", "enough").unwrap().outcome());
    assert_eq!(ending.note.as_deref(), Some("it was not running"));
}

#[test]
fn a_slow_stop_delays_no_command_for_another() {
    let (overseer, _) = overseer();
    overseer
        .add("deaf", sh("trap '' TERM; echo up; while :; do sleep 0.05; done").grace(Duration::from_secs(3600)))
        .unwrap();
    overseer.start("deaf").unwrap();
    until("it is up", || !overseer.last_lines("deaf", 1).unwrap().is_empty());
    let mut stopping = overseer.stop("deaf");
    for n in 0..5 {
        overseer.add(format!("n{n}"), sh("exec sleep 1000")).unwrap();
        overseer.start(format!("n{n}")).unwrap();
        until("it runs", || state(&overseer, &format!("n{n}")) == State::Running);
        wait(overseer.stop(format!("n{n}"))).unwrap();
    }
    assert!((&mut stopping).now_or_never().is_none());
    wait(overseer.kill("deaf")).unwrap();
    assert_eq!(wait(stopping).unwrap().signal, Some(9));
}

#[test]
fn times_without_end_are_long_and_nothing_else() {
    let (overseer, list) = overseer();
    let never = Backoff { base: Duration::MAX, factor: f64::INFINITY, max: Duration::MAX };
    overseer.add("late", sh("true").delay_start(Duration::MAX)).unwrap();
    overseer.add("loop", Program::new("false").backoff(never)).unwrap();
    overseer.add("deaf", sh("trap '' TERM; echo up; while :; do sleep 0.02; done").grace(Duration::MAX)).unwrap();
    for id in ["late", "loop", "deaf"] {
        overseer.start(id).unwrap();
    }
    until("it is up", || overseer.last_lines("deaf", 1).unwrap() == ["up"]);
    until("it waits", || row(&list, "loop") == "waiting (backoff)" && row(&list, "late") == "waiting (start delay)");
    let stopping = overseer.stop("deaf");
    wait(overseer.kill_all());
    assert_eq!(wait(stopping).unwrap().signal, Some(9));
    assert!(list.is_empty());
}

// What stands before a start, and beside a parent.

#[test]
fn what_is_to_be_done_before_a_start_is_done_before_each_and_dropped_by_a_stop() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (overseer, list) = overseer();
    let (begun, dropped, go) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let before = {
        let (begun, dropped, go) = (Arc::clone(&begun), Arc::clone(&dropped), Arc::clone(&go));
        move || {
            let (begun, go, dropped) = (Arc::clone(&begun), Arc::clone(&go), Dropped(Arc::clone(&dropped)));
            async move {
                let n = begun.fetch_add(1, SeqCst);
                while go.load(SeqCst) <= n {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                drop(dropped);
            }
        }
    };
    overseer.add("one", sh("exec sleep 1000").before(before).backoff(quick())).unwrap();
    overseer.start("one").unwrap();
    until("it has begun", || begun.load(SeqCst) == 1);
    assert_eq!((state(&overseer, "one"), row(&list, "one").as_str()), (State::Waiting, "waiting (preparing)"));
    go.store(1, SeqCst);
    until("it runs", || state(&overseer, "one") == State::Running);
    overseer.signal("one", Signal::KILL).unwrap();
    until("it has begun again", || begun.load(SeqCst) == 2);
    assert_eq!(dropped.load(SeqCst), 1);
    let outcome = wait(overseer.stop("one")).unwrap();
    until("it is dropped", || dropped.load(SeqCst) == 2);
    assert_eq!((outcome.reason, state(&overseer, "one")), (Reason::Stopped, State::Initial));
}

#[test]
fn what_is_to_be_done_once_for_each_run_of_a_parent() {
    let (overseer, list) = overseer();
    let dir = Dir::new();
    overseer.add("parent", Program::nothing()).unwrap();
    let once = sh(&format!("echo x >> {}", dir.path("runs").display())).restart(Restart::WithParent);
    overseer.add("once", once.parent("parent")).unwrap();
    overseer.start("once").unwrap();
    until("it waits", || row(&list, "once") == "waiting for parent");
    for n in 1..=3 {
        overseer.start("parent").unwrap();
        until("it has run", || row(&list, "once") == "done, waits for parent");
        assert_eq!(dir.read("runs"), "x\n".repeat(n));
        let status = overseer.status("parent").unwrap();
        assert_eq!((status.state, status.pid, status.ready), (State::Running, None, true));
        assert_eq!(wait(overseer.stop("parent")).unwrap().exit_code, Some(0));
    }
    assert_eq!(overseer.status("once").unwrap().restarts, 3);
    wait(overseer.stop_all());
}

#[test]
fn each_of_several_probes_of_health_counts_and_none_overlaps_another() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    let (overseer, _) = overseer();
    let (at_once, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let busy = Arc::new(AtomicBool::new(false));
    let probe = |fails: bool| {
        let (at_once, asked, busy) = (Arc::clone(&at_once), Arc::clone(&asked), Arc::clone(&busy));
        let ask = move || {
            let (at_once, asked, busy) = (Arc::clone(&at_once), Arc::clone(&asked), Arc::clone(&busy));
            async move {
                at_once.fetch_or(busy.swap(true, SeqCst), SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                busy.store(false, SeqCst);
                let n = asked.fetch_add(1, SeqCst);
                if fails && n > 10 { Err("it aches".to_string()) } else { Ok(()) }
            }
        };
        Probe::by(ask).period(Duration::from_millis(10)).failures(1)
    };
    let program = sh("exec sleep 1000").health(probe(false)).health(probe(true)).restart(Restart::Never);
    overseer.add("one", program).unwrap();
    let outcome = wait(overseer.supervise("one")).unwrap();
    assert_eq!(outcome.error.as_deref(), Some("unwell: it aches"));
    assert!(!at_once.load(SeqCst) && asked.load(SeqCst) > 10);
}
