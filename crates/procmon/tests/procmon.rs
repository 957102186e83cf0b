//! The program `procmon`, with real processes.

#![allow(clippy::unwrap_used)]

mod common;

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
