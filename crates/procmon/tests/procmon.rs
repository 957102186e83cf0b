//! The program `procmon`, with real processes.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Dir, Procmon, until};

#[test]
fn without_a_file_and_with_bad_arguments() {
    let dir = Dir::new();
    let (code, out, err) = dir.run(&[]);
    assert_eq!((code, &*out, &*err), (1, "a config file name is required!\n", ""));
    for args in [&["-nochek", "f.toml"][..], &["f.toml", "g.toml"], &["--listen"]] {
        let (code, out, err) = dir.run(args);
        assert!(code == 255 && out.is_empty() && err.starts_with("error: "), "{args:?}: {code} {err}");
    }
    let (code, out, err) = dir.run(&["-h"]);
    assert!(code == 0 && out.contains("CONFIGFILE") && err.is_empty(), "{code} {out}");
    let (code, _, err) = dir.run(&["nothing.toml"]);
    assert!(code == 1 && err.contains("nothing.toml cannot be read"), "{err}");
}

#[test]
fn a_file_that_is_wrong_starts_nothing_and_says_where() {
    let dir = Dir::new();
    for (text, faults) in [
        (
            "[[task]]\nname = \"a\"\npath = \"touch\"\nargs = [\"started\"]\n[[task]]\nname = \"b\"\nparent = \"c\"\n",
            "f.toml:7:10: the parent of b is 'c', which is not declared before it; these are: a\n",
        ),
        (
            "[[task]]\nname = \"a\"\npath = \"touch\"\nargs = [\"started\"]\nprerun = [\"a\"]\n",
            "f.toml:5:11: the prerun of a is 'a', which is not declared before it; nothing is\n",
        ),
        ("[[task]]\nname = \"a\npath = 5\n", "f.toml:2:10: invalid basic string, expected `\"`\n"),
    ] {
        dir.write("f.toml", text);
        let (code, out, err) = dir.run(&["f.toml"]);
        assert_eq!((code, &*out, &*err), (1, "", faults));
        assert!(!dir.path("started").exists());
    }
    dir.write("f.toml", "colour = 1\n");
    assert_eq!(
        dir.run(&["-strict", "f.toml"]),
        (1, String::new(), "f.toml:1:1: the file has no key 'colour'\n".into())
    );
}

#[test]
fn a_prologue_that_fails_ends_it_by_name() {
    let dir = Dir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!(
        "[[prologue]]\nname = \"dirs\"\ntype = \"ensuredir\"\npath = \"made/of\"\n[[prologue]]\nname = \"the port\"\ntype = \"portavailable\"\nport = \"{port}\"\n[[task]]\nname = \"a\"\npath = \"touch\"\nargs = [\"started\"]\n"
    );
    dir.write("f.toml", &text);
    let (code, _, err) = dir.run(&["f.toml"]);
    assert_eq!(code, 1);
    assert!(err.contains(&format!("procmon: the prologue 'the port' failed: port {port} is not available")), "{err}");
    assert!(dir.path("made/of").is_dir() && !dir.path("started").exists());
}

/// A chain of three, each of which writes when it is up and takes a lock that no other of its name may have.
fn chain() -> String {
    let task = |name: &str, parent: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\npath = \"bash\"\nargs = [\"-c\", \"exec 9>lock.{name}; flock -n 9 || echo {name} >> twice; echo {name} $$ >> up; exec sleep 1000\"]\nparent = \"{parent}\"\nmaxshutdown = \"2s\"\n"
        )
    };
    format!("[env]\nDEFAULT_RESTART_DELAY = \"50ms\"\n{}{}{}", task("a", ""), task("b", "a"), task("c", "b"))
}

fn ups(dir: &Dir) -> Vec<(String, u32)> {
    let text = dir.read("up");
    let line = |line: &str| line.split_once(' ').map(|(name, pid)| (name.to_string(), pid.parse().unwrap()));
    text.lines().filter_map(line).collect()
}

fn of(ups: &[(String, u32)], name: &str) -> u32 {
    ups.iter().find(|(known, _)| known == name).unwrap().1
}

/// The tasks that were started, in their order. Their own lines may be in another.
fn started(dir: &Dir) -> Vec<String> {
    let err = dir.read("err");
    let lines = err.lines().filter(|line| line.contains("\"msg\":\"started\""));
    let name = |line: &str| line.split_once("\"task\":\"").unwrap().1.split('"').next().unwrap().to_string();
    lines.map(name).collect()
}

#[test]
fn when_a_parent_dies_its_children_go_first_and_come_back_after_it() {
    let dir = Dir::new();
    dir.write("f.toml", &chain());
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("all are up", || ups(&dir).len() == 3);
    let first = ups(&dir);
    common::kill(of(&first, "a"), "KILL");
    until("all are up again", || ups(&dir).len() == 6);
    let again = ups(&dir).split_off(3);
    assert!(first.iter().all(|(_, pid)| !common::is_alive(*pid)));
    // A child that dies leaves its parent alone.
    common::kill(of(&again, "b"), "KILL");
    until("two are up again", || ups(&dir).len() == 8);
    assert_eq!(started(&dir).concat(), "abcabcbc");
    assert!(common::is_alive(of(&again, "a")));
    assert_eq!(dir.read("twice"), "");
    procmon.end("TERM", 0);
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)));
}

#[test]
fn a_task_that_is_unwell_restarts_with_its_children_and_not_with_its_parent() {
    let dir = Dir::new();
    let health = "[[task.monitors]]\nname = \"health\"\ntype = \"portinuse\"\nport = \"$PORT\"\nperiod = \"20ms\"\nretries = 2\n";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = chain()
        .replace("parent = \"a\"\n", &format!("parent = \"a\"\n{health}"))
        .replace("[env]", &format!("[env]\nPORT = \"{port}\""));
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("all are up", || ups(&dir).len() == 3);
    drop(listener);
    until("two are up again", || ups(&dir).len() >= 5);
    assert_eq!(started(&dir)[..5].concat(), "abcbc");
    assert!(common::is_alive(of(&ups(&dir), "a")));
    procmon.end("INT", 0);
}

#[test]
fn sigterm_ends_it_while_a_task_waits_to_be_ready_or_runs_aside() {
    let dir = Dir::new();
    let never = "[[task]]\nname = \"never\"\npath = \"sh\"\nargs = [\"-c\", \"trap '' TERM; echo $$ > up; while :; do sleep 0.05; done\"]\nmaxshutdown = \"300ms\"\n[[task.monitors]]\nname = \"ready\"\ntype = \"portinuse\"\nport = \"1\"\n";
    dir.write("f.toml", never);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("it runs", || !dir.read("up").is_empty());
    let begun = Instant::now();
    procmon.end("TERM", 0);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());

    let hup = "[[task]]\nname = \"hup\"\npath = \"sh\"\nargs = [\"-c\", \"echo x > hup; exec sleep 1000\"]\n[task.specials]\nonetime = true\nshutdown = true\nsignal = \"HUP\"\n";
    dir.write("f.toml", &format!("{}{hup}", chain()));
    let _ = std::fs::remove_file(dir.path("up"));
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("all are up", || ups(&dir).len() == 3);
    procmon.until_up();
    procmon.signal("HUP");
    until("the task runs", || dir.path("hup").exists());
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)), "all was stopped before");
    procmon.end("TERM", 0);
}

#[test]
fn tasks_on_signals_run_and_what_was_stopped_comes_back() {
    let dir = Dir::new();
    let on = |name: &str, signal: &str, more: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\npath = \"sh\"\nargs = [\"-c\", \"echo {name} 0 >> up\"]\n[task.specials]\nonetime = true\nsignal = \"{signal}\"\n{more}"
        )
    };
    let text = format!(
        "{}{}{}{}",
        chain(),
        on("hup", "SIGHUP", "shutdown = true\n"),
        on("usr", "SIGUSR1", ""),
        on("int", "SIGINT", "terminate = true\n")
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    procmon.signal("USR1");
    until("it has run", || ups(&dir).iter().any(|(name, _)| name == "usr"));
    procmon.signal("USR2");
    procmon.signal("HUP");
    until("all are back", || ups(&dir).len() == 8);
    let last = ups(&dir);
    procmon.end("INT", 0);
    assert_eq!(started(&dir).join(" "), "a b c usr hup a b c int");
    assert!(last.iter().all(|(_, pid)| *pid == 0 || !common::is_alive(*pid)));
}

#[test]
fn what_runs_before_and_once_and_every_so_often() {
    let dir = Dir::new();
    let text = r#"
[env]
DEFAULT_RESTART_DELAY = "20ms"
[[task]]
name = "first"
path = "sh"
args = ["-c", "echo first 0 >> up"]
[task.specials]
onetime = true
[[task]]
name = "fails"
path = "sh"
args = ["-c", "echo fails 0 >> up; exit 1"]
[task.specials]
onetime = true
[[task]]
name = "group"
prerun = ["first", "fails"]
[[task]]
name = "once"
path = "sh"
args = ["-c", "echo once 0 >> up"]
parent = "group"
[task.specials]
onetime = true
[[task]]
name = "a"
path = "sh"
args = ["-c", "echo a $$ >> up; exec sleep 1000"]
prerun = ["group", "first"]
[[task]]
name = "tick"
path = "sh"
args = ["-c", "echo tick 0 >> ticks"]
[task.specials]
onetime = true
periodic = "100ms"
"#;
    dir.write("f.toml", text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    let names = || ups(&dir).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    until("all are up", || names().len() == 5);
    let mut sorted = names();
    assert_eq!(sorted[..2], ["first", "fails"]);
    sorted[2..].sort();
    assert_eq!(sorted[2..], ["a", "first", "once"]);
    let position = |name: &str| names().iter().rposition(|known| known == name).unwrap();
    assert!(position("first") < position("a"));
    until("it ticks", || dir.read("ticks").lines().count() >= 3);
    // At every restart, too.
    let a = ups(&dir).iter().find(|(name, _)| name == "a").unwrap().1;
    common::kill(a, "KILL");
    until("it is back", || names().len() == 7);
    assert_eq!(names()[5..], ["first", "a"]);
    let (out, err) = procmon.end("TERM", 0);
    assert!(out.is_empty() && err.contains("\"msg\":\"a task that is run before another failed\""), "{err}");
}

type Requests = Vec<(String, String)>;

/// Answers each request as honeycomb does, and keeps what it gets: the head and the body.
fn honeycomb(status: &'static str) -> (String, Arc<Mutex<Requests>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.unwrap());
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let lower = head.to_ascii_lowercase();
                    let length = lower.split_once("content-length:").unwrap().1.lines().next().unwrap().trim();
                    let mut body = vec![0; length.parse().unwrap()];
                    reader.read_exact(&mut body).unwrap();
                    kept.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n[]");
                    reader.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (host, got)
}

#[test]
fn the_log_and_what_tasks_print_go_to_honeycomb_and_not_to_files() {
    let dir = Dir::new();
    let task = r#"
[[task]]
name = "a"
path = "sh"
args = ["-c", "echo plain; seq 500; echo '{\"n\": 1, \"bin\": \"mine\"}' >&2; exec sleep 1000"]
stdout = "a.log"
"#;
    dir.write("f.toml", task);
    let (host, got) = honeycomb("200 OK");
    let env = [
        ("HONEYCOMB_KEY", "secret"),
        ("HONEYCOMB_DATASET", "a set"),
        ("HONEYCOMB_API_HOST", &*host),
        ("NODE_ID", "n7"),
    ];
    let procmon = Procmon::start_with(&dir, &["f.toml"], &env);
    let events = || -> Vec<serde_json::Value> {
        let got = got.lock().unwrap();
        let batches = got.iter().map(|(_, body)| serde_json::from_str::<Vec<serde_json::Value>>(body).unwrap());
        batches.flatten().map(|event| event["data"].clone()).collect()
    };
    let has = |event: serde_json::Value| events().contains(&event);
    until("what it prints is there", || {
        has(serde_json::json!({ "_other": "plain", "bin": "a", "node_id": "n7" }))
            && has(serde_json::json!({ "n": 1, "bin": "mine", "node_id": "n7" }))
    });
    until("the log is there", || events().iter().any(|event| event["bin"] == "procmon" && event["msg"] == "started"));
    let (out, err) = procmon.end("TERM", 0);
    assert_eq!((&*out, &*err), ("", ""));
    assert!(!dir.path("a.log").exists());
    assert!(events().iter().any(|event| event["msg"] == "stopping everything"), "the last ones as well");
    let got = got.lock().unwrap();
    let (head, body) = &got[0];
    assert!(head.starts_with("POST /1/batch/a%20set HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-honeycomb-team: secret\r\n"), "{head}");
    assert!(body.starts_with("[{") && body.contains("\"time\":\"2"), "{body}");
    assert!(got.iter().all(|(_, body)| serde_json::from_str::<Vec<serde_json::Value>>(body).unwrap().len() <= 50));
}

#[test]
fn a_key_that_honeycomb_refuses_is_a_warning() {
    let dir = Dir::new();
    dir.write("f.toml", "[[task]]\nname = \"a\"\npath = \"sleep\"\nargs = [\"1000\"]\n");
    let (host, got) = honeycomb("401 Unauthorized");
    let env = [("HONEYCOMB_KEY", "wrong"), ("HONEYCOMB_DATASET", "a"), ("HONEYCOMB_API_HOST", &*host)];
    let procmon = Procmon::start_with(&dir, &["f.toml"], &env);
    until("it has heard", || dir.read("err").contains("the key is refused (401): see HONEYCOMB_KEY"));
    assert!(!got.lock().unwrap().is_empty());
    let (_, err) = procmon.end("TERM", 0);
    assert_eq!(err.matches("refused").count(), 1, "once, and not for each batch");
}

#[test]
fn children_that_ignore_sigterm_that_fork_away_and_that_die_at_once() {
    let dir = Dir::new();
    let task = |name: &str, script: &str, more: &str| {
        format!("[[task]]\nname = \"{name}\"\npath = \"sh\"\nargs = [\"-c\", \"{script}\"]\n{more}")
    };
    let text = format!(
        "[env]\nDEFAULT_RESTART_DELAY = \"10ms\"\n{}{}{}",
        task("deaf", "trap '' TERM; echo deaf $$ >> up; while :; do sleep 0.05; done", "maxshutdown = \"300ms\"\n"),
        task("forks", "sleep 1000 & echo forks $! >> up; wait", ""),
        task("dies", "echo dies 0 >> dead; exit 0", ""),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("two are up, and one has come again and again", || {
        ups(&dir).len() == 2 && dir.read("dead").lines().count() >= 4
    });
    procmon.end("TERM", 0);
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)));
    assert!(dir.read("err").contains("\"signal\":\"SIGKILL\""), "{}", dir.read("err"));
}

#[test]
fn two_shutdown_tasks_at_once_share_an_outage_and_one_on_sigterm_is_the_last() {
    let dir = Dir::new();
    let on = |name: &str, signal: &str, more: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\npath = \"sh\"\nargs = [\"-c\", \"echo > {name}; while ! [ -e go ]; do sleep 0.01; done\"]\n[task.specials]\nonetime = true\nsignal = \"{signal}\"\n{more}"
        )
    };
    let (one, two) = (on("one", "HUP", "shutdown = true\n"), on("two", "USR1", "shutdown = true\n"));
    dir.write("f.toml", &format!("{}{one}{two}{}", chain(), on("term", "TERM", "")));
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    procmon.signal("HUP");
    until("the first runs", || dir.path("one").exists());
    procmon.signal("USR1");
    until("it is heard", || dir.read("err").contains("got SIGUSR1"));
    assert!(!dir.path("two").exists(), "one at a time");
    dir.write("go", "");
    until("all are back", || started(&dir).len() == 8);
    assert_eq!(started(&dir).join(" "), "a b c one two a b c");
    procmon.end("TERM", 0);
    assert_eq!(started(&dir).join(" "), "a b c one two a b c term");
}

#[test]
fn a_full_disk_under_its_log_and_its_files_stops_nothing() {
    let dir = Dir::new();
    let text = "[logger]\noutput = \"/dev/full\"\n[[task]]\nname = \"a\"\npath = \"sh\"\nargs = [\"-c\", \"seq 1000; echo a $$ >> up; exec sleep 1000\"]\nstdout = \"/dev/full\"\n";
    dir.write("f.toml", text);
    let procmon = Procmon::start(&dir, &["f.toml", "--listen", "./sock"]);
    until("it is up", || ups(&dir).len() == 1);
    until("the lost lines are shown", || ask(&dir, "show a\n").contains("1000"));
    procmon.end("TERM", 0);
}

/// What the list answers.
fn ask(dir: &Dir, what: &str) -> String {
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(dir.path("sock")) else { return String::new() };
    let mut answer = String::new();
    stream.write_all(format!("{what}quit\n").as_bytes()).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_list_shows_and_kills_tasks_and_a_taken_address_ends_it() {
    let dir = Dir::new();
    dir.write("f.toml", &chain());
    let procmon = Procmon::start(&dir, &["f.toml", "-listen", "./sock"]);
    until("all are up", || ups(&dir).len() == 3);
    let list = ask(&dir, "list\n");
    assert!(["a", "b", "c"].iter().all(|name| list.contains(&format!("\n{name}   running"))), "{list}");
    let (code, _, err) = dir.run(&["f.toml", "--listen", "./sock"]);
    assert!(code == 1 && err.contains("--listen ./sock: "), "{err}");
    let answer = ask(&dir, "kill b it leaks\n");
    assert!(answer.contains("killed b after "), "{answer}");
    // Its child waits for it, and both come back when somebody wants it.
    until("its child waits", || ask(&dir, "list\n").contains("waiting for b"));
    assert!(ask(&dir, "start\n").contains("b  SIGTERM, killed: it leaks"));
    assert!(ask(&dir, "start b\n").contains("started b"));
    until("both are back", || ups(&dir).len() == 5);
    procmon.end("TERM", 0);
}

#[test]
fn a_stop_that_takes_too_long_is_cut_short_and_a_second_signal_kills_at_once() {
    let dir = Dir::new();
    let deaf = "[[task]]\nname = \"deaf\"\npath = \"sh\"\nargs = [\"-c\", \"trap '' TERM; echo deaf $$ >> up; while :; do sleep 0.05; done\"]\nmaxshutdown = \"1h\"\n";
    for (signal, code) in [("INT", 1), ("TERM", 0)] {
        dir.write("f.toml", &format!("[env]\nSHUTDOWN_MAX = \"300ms\"\n{deaf}"));
        let procmon = Procmon::start(&dir, &["f.toml"]);
        until("it is up", || ups(&dir).len() == 1);
        let (_, err) = procmon.end(signal, code);
        assert!(err.contains("requested shutdown did not complete within 300ms"), "{err}");
        std::fs::remove_file(dir.path("up")).unwrap();
    }
    dir.write("f.toml", deaf);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("it is up", || ups(&dir).len() == 1);
    procmon.signal("TERM");
    until("it stops", || dir.read("err").contains("stopping everything"));
    // Those that come at once are one with the first.
    until("the second is heard", || {
        procmon.signal("INT");
        dir.read("err").contains("killing what is left")
    });
    assert_eq!(procmon.wait(), Some(0));
    assert!(!common::is_alive(ups(&dir)[0].1));
}

#[test]
fn a_dry_run_prints_the_tree_and_what_signals_do() {
    let dir = Dir::new();
    let more = "[[task]]\nname = \"hup\"\npath = \"echo\"\nargs = [\"$HOME it\"]\n[task.specials]\nonetime = true\nsignal = \"HUP\"\nshutdown = true\n[[task]]\nname = \"t\"\npath = \"date\"\nstdout = \"SUPPRESS\"\n[task.specials]\nonetime = true\nperiodic = \"17s\"\n";
    dir.write(
        "f.toml",
        &format!("[[task]]\nname = \"a\"\npath = \"x\"\n[[task]]\nname = \"b\"\nparent = \"a\"\n{more}"),
    );
    let output = dir.command(&["--dry-run", "f.toml"]).env("HOME", "/h").output().unwrap();
    let expected = "\
tasks:
  a: x
    b: (nothing)
aside:
  t: every 17s: date 1>SUPPRESS
signals:
  SIGTERM: stops everything, exit 0
  SIGINT: stops everything, exit 0
  SIGHUP: hup, with everything stopped meanwhile: echo \"/h it\"
  SIGUSR1: is ignored
  SIGUSR2: is ignored
  SIGQUIT: stops everything, exit 0
";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let (code, out, _) = dir.run(&["--dry-run", "--only", "b", "f.toml"]);
    assert!(code == 0 && out.starts_with("tasks:\n  a: x\n    b: (nothing)\nsignals:\n"), "{out}");
    let (code, _, err) = dir.run(&["--only", "c", "f.toml"]);
    assert_eq!((code, &*err), (1, "procmon: --only: there is no task 'c': these are: a, b, hup, t\n"));
}

#[test]
fn what_is_printed_goes_where_the_file_says() {
    let dir = Dir::new();
    let task = |name: &str, stdout: &str, stderr: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\npath = \"sh\"\nargs = [\"-c\", \"echo {name} out; echo {name} err >&2; echo {name} 0 >> up; exec sleep 1000\"]\nstdout = \"{stdout}\"\nstderr = \"{stderr}\"\n"
        )
    };
    dir.write("log", "before\n");
    let text = format!(
        "[logger]\noutput = \"suppress\"\n{}{}{}",
        task("plain", "", ""),
        task("cross", "STDERR", "STDOUT"),
        task("file", "log", "SUPPRESS")
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["--prefix", "f.toml"]);
    until("all are up", || ups(&dir).len() == 3);
    let (out, err) = procmon.end("TERM", 0);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&out), ["cross | cross err", "plain | plain out"]);
    assert_eq!(sorted(&err), ["cross | cross out", "plain | plain err"]);
    assert_eq!(dir.read("log"), "before\nfile out\n");
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_is_killed_under_load_takes_its_dependents_down_and_brings_them_back() {
    let dir = Dir::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        r#"
[env]
DEFAULT_RESTART_DELAY = "50ms"
[[task]]
name = "redis"
path = "redis-server"
args = ["--port", "{port}", "--save", "", "--appendonly", "no"]
stdout = "SUPPRESS"
[[task.monitors]]
name = "ready"
type = "redis"
addr = "localhost:{port}"
[[task.monitors]]
name = "health"
type = "redis"
addr = "localhost:{port}"
period = "100ms"
[[task]]
name = "load"
path = "sh"
args = ["-c", "echo load $$ >> up; exec redis-benchmark -p {port} -l -q -t set"]
parent = "redis"
stdout = "SUPPRESS"
stderr = "SUPPRESS"
"#
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("both are up", || ups(&dir).len() == 1);
    for n in 1..=3 {
        let load = ups(&dir)[n - 1].1;
        until("the load runs", || common::is_alive(load));
        let redis = common::pids_of(&format!("redis-server *:{port}"));
        assert_eq!(redis.len(), 1);
        common::kill(redis[0], "KILL");
        until("both are back", || ups(&dir).len() == n + 1);
        assert!(!common::is_alive(load) && !common::is_alive(redis[0]));
    }
    procmon.end("TERM", 0);
    assert!(started(&dir).chunks(2).all(|pair| pair == ["redis", "load"]), "{:?}", started(&dir));
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)));
}

#[test]
fn a_task_that_is_not_ready_in_time_is_tried_again_and_its_children_wait() {
    let dir = Dir::new();
    let text = r#"
[env]
DEFAULT_RESTART_DELAY = "10ms"
[logger]
level = "error"
[[task]]
name = "slow"
path = "sh"
args = ["-c", "echo slow $$ >> up; exec sleep 1000"]
maxstartup = "150ms"
[[task.monitors]]
name = "ready"
type = "http"
url = "http://127.0.0.1:1/"
[[task]]
name = "below"
path = "touch"
args = ["below"]
parent = "slow"
"#;
    dir.write("f.toml", text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("it has been tried thrice", || ups(&dir).len() == 3);
    assert!(!dir.path("below").exists());
    let (_, err) = procmon.end("QUIT", 0);
    assert_eq!(err, "", "the log has errors alone");
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)));
}

#[test]
fn a_period_with_a_shutdown_is_an_outage_and_one_that_terminates_is_the_end() {
    let dir = Dir::new();
    let every = |name: &str, period: &str, more: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\npath = \"true\"\n[task.specials]\nonetime = true\nperiodic = \"{period}\"\n{more}"
        )
    };
    let text = format!("{}{}", chain(), every("backup", "400ms", "shutdown = \"yes\"\n"));
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("it has run twice", || started(&dir).iter().filter(|name| *name == "backup").count() == 2);
    assert_eq!(started(&dir)[..8].join(" "), "a b c backup a b c backup");
    procmon.end("TERM", 0);
    dir.write("f.toml", &format!("{}{}", chain(), every("last", "100ms", "terminate = \"t\"\n")));
    let procmon = Procmon::start(&dir, &["f.toml"]);
    assert_eq!(procmon.wait(), Some(0));
    assert_eq!(started(&dir).join(" "), "a b c last");
    assert!(ups(&dir).iter().all(|(_, pid)| !common::is_alive(*pid)));
}

fn task(name: &str, script: &str, more: &str) -> String {
    format!("[[task]]\nname = \"{name}\"\npath = \"sh\"\nargs = [\"-c\", \"{script}\"]\n{more}")
}

const ONETIME: &str = "[task.specials]\nonetime = true\n";

#[test]
fn a_task_without_a_path_that_is_run_aside_is_over_when_what_is_run_before_it_is() {
    let dir = Dir::new();
    let aside = |name: &str, signal: &str, more: &str| {
        format!("[[task]]\nname = \"{name}\"\nprerun = [\"pre\"]\n{ONETIME}signal = \"{signal}\"\n{more}")
    };
    let text = format!(
        "{}{}{}{}",
        task("pre", "echo pre 0 >> up", ONETIME),
        task("a", "echo a $$ >> up; exec sleep 1000", ""),
        aside("hup", "HUP", "shutdown = true\n"),
        aside("term", "TERM", "")
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    procmon.signal("HUP");
    until("it is back", || started(&dir).len() == 4);
    procmon.end("TERM", 0);
    assert_eq!(started(&dir).join(" "), "a pre hup a pre term");
}

#[test]
fn a_signal_during_the_prologue_ends_it_before_anything_is_started() {
    let dir = Dir::new();
    // It accepts, and never answers.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[[prologue]]\nname = \"p\"\ntype = \"http\"\nurl = \"http://{}/\"\ntimeout = \"1h\"\n{}",
        server.local_addr().unwrap(),
        task("a", "touch started", "")
    );
    dir.write("f.toml", &text);
    for signal in ["TERM", "INT", "QUIT"] {
        let procmon = Procmon::start(&dir, &["f.toml"]);
        let _asked = server.accept().unwrap();
        procmon.end(signal, 0);
    }
    assert!(!dir.path("started").exists());
}

#[test]
fn what_is_below_a_task_that_is_never_ready_never_starts_and_the_rest_runs() {
    let dir = Dir::new();
    let text = format!(
        "{}{}{}{}{}",
        task("a", "echo a $$ >> up; exec sleep 1000", ""),
        task(
            "once",
            "echo once 0 >> up; while ! [ -e go ]; do sleep 0.01; done",
            &format!("parent = \"a\"\n{ONETIME}")
        ),
        task("below", "touch below", "parent = \"once\"\n"),
        task("hup", "echo hup 0 >> up", &format!("{ONETIME}signal = \"HUP\"\n")),
        task("under", "touch under", "parent = \"hup\"\n"),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    procmon.signal("HUP");
    until("the task on the signal has run", || ups(&dir).len() == 3);
    dir.write("go", "");
    until("it is done", || dir.read("err").contains("\"msg\":\"ended\",\"task\":\"once\""));
    let (_, err) = procmon.end("TERM", 0);
    assert!(err.contains("below never starts: its parent once") && err.contains("under never starts: its parent hup"));
    assert!(!dir.path("below").exists() && !dir.path("under").exists());
}

#[test]
fn an_outage_waits_for_what_is_run_before_a_start_and_does_not_wait_for_what_it_has_stopped() {
    let dir = Dir::new();
    // The second run of what stands before takes its time, and heeds no TERM.
    let slow = "n=$(cat n 2>/dev/null); echo x$n > n; [ -z \\\"$n\\\" ] && exit; trap '' TERM; echo > slow; while ! [ -e go ]; do sleep 0.01; done; echo slow 0 >> up";
    let text = format!(
        "{}{}{}{}",
        format_args!(
            "[env]\nDEFAULT_RESTART_DELAY = \"10ms\"\n{}",
            task("pre", slow, &format!("maxshutdown = \"1h\"\n{ONETIME}"))
        ),
        task("a", "echo a 0 >> up; while ! [ -e die ]; do sleep 0.01; done; rm die; exit 1", "prerun = [\"pre\"]\n"),
        task("db", "exec sleep 1000", ""),
        task(
            "backup",
            "echo backup 0 >> up",
            &format!("prerun = [\"db\"]\n{ONETIME}signal = \"HUP\"\nshutdown = true\n")
        ),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    dir.write("die", "");
    until("it runs before the start", || dir.path("slow").exists());
    procmon.signal("HUP");
    until("the outage has begun", || dir.read("err").contains("running shutdown task"));
    dir.write("go", "");
    until("all are back", || ups(&dir).iter().filter(|(name, _)| name == "a").count() == 2);
    let names: Vec<String> = ups(&dir).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..3].join(" "), "a slow backup", "{names:?}");
    let (_, err) = procmon.end("TERM", 0);
    assert!(err.contains("backup stops everything, db too"), "{err}");
}

#[test]
fn one_that_is_both_below_a_parent_and_before_others_runs_once_at_a_time() {
    let dir = Dir::new();
    let locked = "exec 9>lock; flock -n 9 || echo twice >> twice; echo once 0 >> up; sleep 0.2";
    let once = task("once", locked, &format!("parent = \"a\"\n{ONETIME}")).replace("\"sh\"", "\"bash\"");
    let text = format!(
        "{}{once}{}{}",
        task("a", "exec sleep 1000", ""),
        task("b", "echo b $$ >> up; exec sleep 1000", "prerun = [\"once\"]\n"),
        task("c", "echo c $$ >> up; exec sleep 1000", "prerun = [\"once\"]\n"),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("all are up", || ups(&dir).len() == 5);
    procmon.end("TERM", 0);
    assert_eq!(dir.read("twice"), "");
}

#[test]
fn a_start_that_never_comes_about_holds_up_no_task_on_a_signal() {
    let dir = Dir::new();
    let on = |name: &str, signal: &str, more: &str| {
        task(name, &format!("echo {name} 0 >> up"), &format!("{ONETIME}signal = \"{signal}\"\n{more}"))
    };
    let text = format!(
        "[env]\nDEFAULT_RESTART_DELAY = \"10ms\"\n{}{}{}",
        task("fails", "exit 1", "[[task.monitors]]\nname = \"ready\"\ntype = \"portinuse\"\nport = \"1\"\n"),
        task("waits", "touch never", "prerun = [\"fails\"]\n"),
        on("hup", "HUP", "")
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.signal_when_caught("HUP");
    until("its task has run", || ups(&dir).len() == 1);
    procmon.end("TERM", 0);
    // One that hangs before a start holds up whoever wants to give up least of all.
    let text = format!(
        "{}{}{}",
        task("hangs", "echo hangs $$ >> up; exec sleep 1000", ONETIME),
        task("waits", "touch never", "prerun = [\"hangs\"]\n"),
        on("int", "INT", "terminate = true\n")
    );
    std::fs::remove_file(dir.path("up")).unwrap();
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("it hangs", || ups(&dir).len() == 1);
    procmon.end("INT", 0);
    assert!(ups(&dir).len() == 2 && !common::is_alive(ups(&dir)[0].1) && !dir.path("never").exists());
}

#[test]
fn what_the_list_has_started_or_stopped_is_heeded_by_an_outage() {
    let dir = Dir::new();
    let hup = task(
        "hup",
        "echo hup 0 >> up; [ -e first ] && exit; echo > first; while ! [ -e go ]; do sleep 0.01; done",
        &format!("{ONETIME}signal = \"HUP\"\nshutdown = true\n"),
    );
    dir.write("f.toml", &format!("{}{hup}", chain()));
    let procmon = Procmon::start(&dir, &["f.toml", "--listen", "./sock"]);
    procmon.until_up();
    until("all are up", || ups(&dir).len() == 3);
    assert!(ask(&dir, "stop c\n").contains("stopped c"));
    assert!(ask(&dir, "start hup\n").contains("started hup"));
    until("it runs", || dir.path("first").exists());
    procmon.signal("HUP");
    until("two are back", || started(&dir).len() == 7);
    until("the outage is over", || dir.read("err").contains("shutdown processing complete"));
    assert!(!ask(&dir, "list\n").contains("\nc "), "it stays stopped");
    assert_eq!(started(&dir).join(" "), "a b c hup hup a b", "once by hand, and once in the outage");
    procmon.end("TERM", 0);
}

#[test]
fn periods_do_not_hold_each_other_up_and_every_end_is_told() {
    let dir = Dir::new();
    let every = |name: &str, script: &str| task(name, script, &format!("{ONETIME}periodic = \"50ms\"\n"));
    let text = format!(
        "{}{}{}",
        chain(),
        every("long", "echo long >> longs; exec sleep 1000"),
        every("short", "echo short >> shorts")
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("the short one has run thrice", || dir.read("shorts").lines().count() >= 3);
    let (_, err) = procmon.end("TERM", 0);
    assert_eq!(dir.read("longs"), "long\n", "it never overlaps itself");
    for name in ["a", "b", "c", "long"] {
        assert!(
            err.contains(&format!("\"msg\":\"ended\",\"signal\":\"SIGTERM\",\"task\":\"{name}\"")),
            "{name}: {err}"
        );
    }
}

#[test]
fn a_reader_that_is_gone_is_a_failure_and_no_panic() {
    let dir = Dir::new();
    dir.write("f.toml", &chain());
    for args in [&["--dry-run", "f.toml"][..], &["--completions", "bash"], &["--man"], &[], &["nothing.toml"]] {
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = dir.command(args).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{args:?}");
    }
}

#[test]
fn the_last_task_waits_for_nothing_that_would_never_come() {
    let dir = Dir::new();
    let on = |name: &str, signal: &str, more: &str| {
        task(
            name,
            &format!("echo {name} 0 >> up; while ! [ -e go ]; do sleep 0.01; done"),
            &format!("{more}{ONETIME}signal = \"{signal}\"\n"),
        )
    };
    // What stands before it runs just now for its own signal.
    let text = format!(
        "{}{}{}",
        chain(),
        on("hup", "HUP", ""),
        task("last", "echo last 0 >> up", &format!("prerun = [\"hup\"]\n{ONETIME}signal = \"TERM\"\n"))
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.until_up();
    procmon.signal("HUP");
    until("its task runs", || ups(&dir).iter().any(|(name, _)| name == "hup"));
    procmon.signal("TERM");
    until("it is heard", || dir.read("err").contains("a task runs before the end"));
    dir.write("go", "");
    assert_eq!(procmon.wait(), Some(0));
    assert_eq!(ups(&dir).last().unwrap().0, "last");
    // What stands before it never becomes ready.
    let never = "[[task.monitors]]\nname = \"ready\"\ntype = \"portinuse\"\nport = \"1\"\n";
    let text = format!(
        "{}{}",
        task("db", "exec sleep 1000", never),
        task("last", "echo last 1 >> up", &format!("prerun = [\"db\"]\n{ONETIME}signal = \"TERM\"\n"))
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    procmon.signal_when_caught("TERM");
    assert_eq!(procmon.wait(), Some(0));
    assert_eq!(ups(&dir).last().unwrap(), &("last".to_string(), 1));
}

#[test]
fn nothing_in_an_outage_waits_for_what_it_has_stopped_and_what_is_cut_off_ends_nothing() {
    let dir = Dir::new();
    let text = format!(
        "{}{}{}{}",
        task("db", "echo db 0 >> up; exec sleep 1000", ""),
        task(
            "hup",
            "echo hup 0 >> up; while ! [ -e go ]; do sleep 0.01; done",
            &format!("{ONETIME}signal = \"HUP\"\nshutdown = true\n")
        ),
        task("usr", "echo usr 0 >> up", &format!("prerun = [\"db\"]\n{ONETIME}signal = \"USR1\"\n")),
        task("tick", "echo > tick; exec sleep 1000", &format!("{ONETIME}periodic = \"50ms\"\nterminate = true\n")),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("the task with a period runs", || dir.path("tick").exists());
    procmon.signal("HUP");
    until("the outage has begun", || ups(&dir).iter().any(|(name, _)| name == "hup"));
    procmon.signal("USR1");
    until("it is heard", || dir.read("err").contains("got SIGUSR1"));
    dir.write("go", "");
    until("all are back", || ups(&dir).len() == 4);
    assert_eq!(ups(&dir).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" "), "db hup usr db");
    procmon.end("TERM", 0);
}

#[test]
fn a_task_with_preruns_of_its_own_that_is_both_below_and_before_others_runs_once_at_a_time() {
    let dir = Dir::new();
    let locked = "exec 9>lock; flock -n 9 || echo twice >> twice; echo once 0 >> up; sleep 0.3";
    let once =
        task("once", locked, &format!("parent = \"a\"\nprerun = [\"pre\"]\n{ONETIME}")).replace("\"sh\"", "\"bash\"");
    let text = format!(
        "{}{}{once}{}",
        task("pre", "sleep 0.2", ONETIME),
        task("a", "exec sleep 1000", ""),
        task("b", "echo b $$ >> up; exec sleep 1000", "prerun = [\"once\"]\n"),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml"]);
    until("both have run", || ups(&dir).len() == 3);
    procmon.end("TERM", 0);
    assert_eq!(dir.read("twice"), "");
}

#[test]
fn one_whose_stop_at_the_list_is_not_over_stays_stopped_through_an_outage() {
    let dir = Dir::new();
    let text = format!(
        "{}{}{}",
        task("a", "echo a $$ >> up; exec sleep 1000", ""),
        task(
            "deaf",
            "trap '' TERM; echo deaf $$ >> up; while ! [ -e go ]; do sleep 0.01; done",
            "maxshutdown = \"1h\"\n"
        ),
        task("hup", "echo hup 0 >> up", &format!("{ONETIME}signal = \"HUP\"\nshutdown = true\n")),
    );
    dir.write("f.toml", &text);
    let procmon = Procmon::start(&dir, &["f.toml", "--listen", "./sock"]);
    until("both are up", || ups(&dir).len() == 2);
    procmon.until_up();
    let mut stream = std::os::unix::net::UnixStream::connect(dir.path("sock")).unwrap();
    stream.write_all(b"stop deaf\n").unwrap();
    until("it is being stopped", || ask(&dir, "list\n").contains("deaf  stopping"));
    procmon.signal("HUP");
    until("the outage has begun", || dir.read("err").contains("running shutdown task"));
    dir.write("go", "");
    until("the outage is over", || dir.read("err").contains("shutdown processing complete"));
    until("one is back", || ups(&dir).len() == 4);
    assert!(!ask(&dir, "list\n").contains("\ndeaf "));
    procmon.end("TERM", 0);
}
