//! The program `overseer`.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use common::{Dir, ended, is_alive, pids, until};

fn overseer(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overseer"));
    command.args(args).current_dir(&dir.0).env_remove("PORT").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(dir: &Dir, args: &[&str]) -> (Output, String, String) {
    let output = overseer(dir, args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into());
    (output, out, err)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// Sends it until it ends: those that come at once are one.
fn insist(child: &mut Child, name: &str) -> std::process::ExitStatus {
    let mut status = None;
    until("it ends", || {
        signal(child, name);
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

#[test]
fn one_command_has_its_own_exit_code() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["--restart", "never", "sh", "-c", "exit 6"]).0.status.code(), Some(6), "without --, too");
    dir.script("bad", "#!/no/such\n");
    std::fs::write(dir.path("plain"), "").unwrap();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 139)] {
        let (output, ..) = run(&dir, &["--restart", "never", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    for (command, code) in [("no-such-command", 127), ("./plain", 126), ("./bad", 127)] {
        let (output, _, err) = run(&dir, &["--restart", "never", "--", command]);
        assert_eq!(output.status.code(), Some(code), "{command}: {err}");
    }
}

#[test]
fn a_procfile_has_its_environment_its_ports_and_its_prefixes() {
    let dir = Dir::new();
    std::fs::write(
        dir.path("Procfile"),
        "# a comment\nweb: echo $PORT $PS $GREETING\nworker: echo $PORT $PS; pwd >&2\n",
    )
    .unwrap();
    std::fs::write(dir.path(".env"), "NAME=x\nexport GREETING=\"hello ${NAME}\" # why not\nPORT='6000'\n").unwrap();
    let (output, out, err) = run(&dir, &["-m", "worker=2"]);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines[1..], ["worker.1 | 6100 worker.1", "worker.2 | 6101 worker.2"], "{out}");
    assert!(lines[0].starts_with("web      | 6000 web.1 hello x"), "{out}");
    let here = dir.0.canonicalize().unwrap();
    assert!(err.contains(&format!("worker.2 | {}", here.display())), "{err}");

    let elsewhere = Dir::new();
    let file = dir.path("Procfile");
    let args = ["-f", file.to_str().unwrap(), "--only", "web", "-p", "7000", "--no-prefix"];
    let (_, out, _) = run(&elsewhere, &args);
    assert!(out.starts_with("7000 web.1 hello") && out.lines().count() == 1, "{out}");
    let (_, out, _) = run(&elsewhere, &["-f", file.to_str().unwrap(), "--only", "web", "--color"]);
    assert!(out.starts_with("\x1b[36mweb"), "{out}");
}

#[test]
fn faults_say_what_to_do_and_start_nothing() {
    let dir = Dir::new();
    let fault = |args: &[&str]| {
        let (output, out, err) = run(&dir, args);
        assert!(!output.status.success() && out.is_empty(), "{out}");
        err
    };
    assert!(fault(&[]).contains("Procfile cannot be read"));
    std::fs::write(dir.path("Procfile"), "a: touch ran\nb: true\na: touch ran\n").unwrap();
    assert_eq!(fault(&[]), "overseer: Procfile:3: a is listed twice: give each program a name of its own\n");
    std::fs::write(dir.path("Procfile"), "a: touch ran\n").unwrap();
    assert!(fault(&["--only", "x"]).contains("Procfile lists no 'x': it has a"));
    assert!(fault(&["--grace", "soon"]).contains("use a time like 5s"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    assert!(fault(&["--listen", &addr]).contains(&format!("--listen {addr}: ")));
    assert!(!dir.path("ran").exists());
}

#[test]
fn sigterm_stops_all_a_second_one_kills_and_nothing_is_left_of_a_kill() {
    let dir = Dir::new();
    let deaf = "trap '' TERM HUP INT QUIT; echo $$ >> pids; while :; do sleep 0.05; done";
    std::fs::write(dir.path("Procfile"), format!("one: {deaf}\ntwo: echo $$ >> pids; exec sleep 1000\n")).unwrap();
    for (name, twice, code) in [("TERM", true, Some(0)), ("INT", true, Some(0)), ("KILL", false, None)] {
        let mut child = overseer(&dir, &["--grace", "1h"]).spawn().unwrap();
        let all = pids(&dir, "pids", 2);
        signal(&child, name);
        if twice {
            // The one that heeds it has gone, the other one holds it up.
            until("one is left", || all.iter().filter(|pid| is_alive(**pid)).count() == 1);
            insist(&mut child, name);
        }
        let status = ended(&mut child);
        assert_eq!((status.code(), status.signal()), (code, if twice { None } else { Some(9) }));
        until("nothing is left", || !all.iter().any(|pid| is_alive(*pid)));
        std::fs::remove_file(dir.path("pids")).unwrap();
    }
}

#[test]
fn of_several_the_code_tells_whether_one_has_failed_for_good() {
    let dir = Dir::new();
    for (procfile, code) in [("a: exit 3\nb: exit 0\n", 1), ("a: exit 0\nb: true\n", 0)] {
        std::fs::write(dir.path("Procfile"), procfile).unwrap();
        assert_eq!(run(&dir, &["--restart", "never"]).0.status.code(), Some(code), "{procfile}");
    }
}

#[test]
fn any_exit_ends_all_if_that_is_asked_for() {
    let dir = Dir::new();
    std::fs::write(dir.path("Procfile"), "one: sleep 1000\ntwo: exit 5\n").unwrap();
    let (output, ..) = run(&dir, &["--exit-on-any"]);
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn the_list_is_at_the_port_or_the_socket_that_was_asked_for() {
    let dir = Dir::new();
    let mut child = overseer(&dir, &["--listen", "./sock", "--", "sleep", "1000"]).spawn().unwrap();
    let say = |commands: &[u8]| {
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(dir.path("sock")) else { return String::new() };
        let mut heard = String::new();
        std::io::Write::write_all(&mut stream, commands).unwrap();
        std::io::Read::read_to_string(&mut stream, &mut heard).unwrap();
        heard
    };
    until("it runs", || say(b"list\nquit\n").contains("sleep  running"));
    let heard = say(b"kill sleep enough of it\nquit\n");
    assert!(heard.contains("in \"running\": SIGTERM"), "{heard}");
    // Nothing is left to do, but for an operator who wants it back.
    assert!(say(b"start sleep\nquit\n").contains("started sleep"));
    until("it runs again", || say(b"list\nquit\n").contains("sleep  running"));
    assert!(say(b"stop sleep\nquit\n").contains("stopped sleep"));
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("sleep: SIGTERM, stopped\n") {
        assert!(std::io::BufRead::read_line(&mut told, &mut lines).unwrap() > 0, "it is not told");
    }
    assert!(lines.starts_with("overseer: the list is at nc -U ./sock\noverseer: sleep runs: pid "), "{lines}");
    assert!(lines.contains("overseer: sleep: SIGTERM, killed: enough of it\n"), "{lines}");
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(143));
}

#[test]
fn into_a_file_or_a_pipe_that_is_read_no_line_is_lost() {
    let dir = Dir::new();
    let flood = ["--restart", "never", "--no-prefix", "--", "seq", "200000"];
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    let (_, piped, told) = run(&dir, &flood);
    assert!(piped == wanted, "{} bytes: {told}", piped.len());
    assert!(told.contains("overseer: seq: exit code 0\n"), "{told}");
    // Behind what is there already, and what comes after is behind it.
    let script = "echo before; \"$0\" \"$@\" 2>told; echo after";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_overseer")]).args(flood).current_dir(&dir.0);
    assert!(command.stdout(std::fs::File::create(dir.path("file")).unwrap()).status().unwrap().success());
    assert!(dir.read("file") == format!("before\n{wanted}after\n"), "{}", dir.read("told"));
}

#[test]
fn what_is_not_read_is_lost_and_told() {
    let dir = Dir::new();
    let mut child = overseer(&dir, &["--", "sh", "-c", "yes | head -c 20000000; exec sleep 1000"]).spawn().unwrap();
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    // Nobody reads its stdout.
    while !lines.contains("of its lines: what takes them is slow") {
        assert!(std::io::BufRead::read_line(&mut told, &mut lines).unwrap() > 0, "it is not told");
    }
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(143));
}

#[test]
fn completions_and_the_man_page_are_made_of_the_arguments() {
    let dir = Dir::new();
    for (args, text) in [(&["--completions", "bash"][..], "--exit-on-any"), (&["--man"], ".TH overseer 1")] {
        let (output, out, _) = run(&dir, args);
        assert!(output.status.success() && out.contains(text), "{out}");
    }
}

#[test]
fn what_holds_up_the_end_is_named() {
    let dir = Dir::new();
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let mut child = overseer(&dir, &["--grace", "1h", "--", "sh", "-c", deaf]).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "sh       | up\n");
    signal(&child, "TERM");
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    while !line.contains("still stopping: sh (KILL in 35") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0, "it is not told");
    }
    assert_eq!(insist(&mut child, "TERM").code(), Some(137));
}

#[test]
fn signals_that_come_at_once_are_one() {
    let dir = Dir::new();
    let script = "trap 'sleep 0.3; exit 4' TERM; echo $$ >> pids; while :; do sleep 0.01; done";
    let mut child = overseer(&dir, &["--grace", "1h", "--", "sh", "-c", script]).spawn().unwrap();
    pids(&dir, "pids", 1);
    // As `timeout` does, which signals its child, and then its group.
    let both = format!("kill -s TERM {0}; kill -s TERM {0}", child.id());
    assert!(Command::new("sh").args(["-c", &both]).status().unwrap().success());
    assert_eq!(ended(&mut child).code(), Some(4), "it has had its grace");
}

#[test]
fn one_that_is_stopped_in_its_backoff_has_the_code_of_its_last_run() {
    let dir = Dir::new();
    let mut child = overseer(&dir, &["--", "sh", "-c", "exit 9"]).spawn().unwrap();
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("sh starts again in 1.0s") {
        assert!(std::io::BufRead::read_line(&mut told, &mut lines).unwrap() > 0, "it is not told");
    }
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(9));
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_signal() {
    let dir = Dir::new();
    let script = "echo $$ >> pids; while :; do echo xxxxxxxxxxxxxxxx >&2; done";
    let mut child = overseer(&dir, &["--", "sh", "-c", script]).spawn().unwrap();
    let all = pids(&dir, "pids", 1);
    // Its stderr is a pipe, which is full when the kernel says that somebody waits for room in it.
    let waits = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().flatten();
        threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("wchan")).ok())
            .any(|wchan| wchan.contains("pipe_write"))
    };
    until("its stderr is full", waits);
    signal(&child, "TERM");
    assert_eq!(ended(&mut child).code(), Some(143));
    assert!(!is_alive(all[0]));
}

#[test]
fn a_hangup_stops_all_unless_it_was_ignored_as_nohup_does() {
    let dir = Dir::new();
    for (shell, is_ignored) in [("trap '' HUP; exec \"$0\" \"$@\"", true), ("exec \"$0\" \"$@\"", false)] {
        let mut command = Command::new("sh");
        let program = "echo $$ >> pids; exec sleep 1000";
        command.args(["-c", shell, env!("CARGO_BIN_EXE_overseer"), "--", "sh", "-c", program]);
        let mut child = command.current_dir(&dir.0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let all = pids(&dir, "pids", 1);
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        assert_eq!(mask & 1 == 1, is_ignored);
        signal(&child, if is_ignored { "TERM" } else { "HUP" });
        assert_eq!(ended(&mut child).code(), Some(143));
        assert!(!is_alive(all[0]));
        std::fs::remove_file(dir.path("pids")).unwrap();
    }
}
