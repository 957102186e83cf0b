//! What a file means, and what is said of one that is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn given(env: &[(&str, &str)]) -> Given {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Given { env, ..Given::default() }
}

fn good(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = load("f.toml", text, &given(&[])).unwrap_or_else(|faults| panic!("{faults:?}"));
    (config, warnings.iter().map(ToString::to_string).collect())
}

fn bad(text: &str) -> Vec<String> {
    let faults = load("f.toml", text, &given(&[])).expect_err("it is wrong");
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_of_the_go_tool_is_read_as_it_is() {
    let text = r#"
[env]
LEVEL = "debug"
NAME = "api-$STAGE"
STAGE = "test"
PORT = "12341"

[logger]
output = "STDERR"
format = "text"
level = "$LEVEL"

[[prologue]]
    name = "ports"
    type = "portavailable"
    port = "$PORT 12342"

[[task]]
    name = "backup"
    path = "/bin/sh"
    args = ["-c", "echo $(date) $$ $NAME"]
    stdout = "backup.log"
    [task.specials]
        onetime = true
        shutdown = true
        signal = "SIGHUP"
        terminate = false
        exit_signals = {1 = "SIGHUP", 2 = "SIGTERM"}

[[task]]
    name = "timer"
    path = "date"
    [task.specials]
        onetime = "yes"
        periodic = "17s"

[[task]]
    name = "$NAME"
    path = "demo"
    args = ["--port=${PORT}"]
    stderr = "$NAME.log"
    maxshutdown = "2s"
    [[task.monitors]]
        name = "health"
        type = "http"
        verb = "GET"
        url = "http://localhost:$PORT/health"
        period = "2s"
        timeout = "1s"
        retries = 3
    [[task.monitors]]
        name = "ready"
        type = "portinuse"
        port = "$PORT"

[[Task]]
    NAME = "below"
    Path = "demo"
    parent = "api-test"
    prerun = ["backup"]
    stdout = "SUPPRESS"
"#;
    // Two spellings of one table are an error.
    let faults = bad(text);
    assert_eq!(faults, ["f.toml:56:3: Task is in line 18 already, as task"]);
    let (config, warnings) = good(&text.replace("[[Task]]", "[[task]]"));
    assert_eq!(warnings, ["f.toml:28:9: [task.specials] has no key 'exit_signals'"]);
    assert_eq!(config.logger, Logger { output: Output::Stderr, format: Format::Text, level: Level::Debug });
    assert_eq!(config.prologue, [("ports".to_string(), Check::PortAvailable { ports: vec![12341, 12342] })]);
    let [backup, timer, api, below] = &config.tasks[..] else { panic!("{:?}", config.tasks) };
    assert_eq!((backup.kind, backup.shutdown, backup.is_onetime), (Kind::Signal(Signal::Hup), true, true));
    assert_eq!(backup.args[1], "echo $(date) $$ api-test");
    assert_eq!(backup.stdout, Output::File("backup.log".to_string()));
    assert_eq!((timer.kind, timer.is_onetime), (Kind::Periodic(Duration::from_secs(17)), true));
    assert_eq!((&*api.name, &*api.args[0], api.kind), ("api-test", "--port=12341", Kind::Root));
    assert_eq!((api.max_startup, api.max_shutdown), (Duration::from_secs(10), Duration::from_secs(2)));
    assert_eq!(api.stderr, Output::File("api-test.log".to_string()));
    let [health] = &api.health[..] else { panic!("{:?}", api.health) };
    assert_eq!((health.period, health.retries), (Duration::from_secs(2), 3));
    let url = "http://localhost:12341/health".to_string();
    assert_eq!(health.check, Check::Http { url, verb: "GET".into(), timeout: Duration::from_secs(1) });
    let ready = Check::PortInUse { ports: vec![12341], timeout: Duration::from_millis(100) };
    assert_eq!(api.ready, Some(ready));
    assert_eq!((below.kind, &below.prerun[..]), (Kind::Child(2), &[0][..]));
    assert_eq!((&below.stdout, &below.stderr), (&Output::Suppress, &Output::Stderr));
    assert_eq!((config.restart_delay, config.shutdown_max), (Duration::from_secs(1), Duration::from_secs(75)));
}

#[test]
fn the_environment_wins_and_sets_the_delays() {
    let text = "[env]\nA = \"file\"\nSHUTDOWN_MAX = \"3s\"\n[[task]]\nname = \"$A\"\npath = \"$HOME/x\"\n";
    let outer = given(&[("A", "outer"), ("DEFAULT_RESTART_DELAY", "250ms"), ("HOME", "/root"), ("B", "$A")]);
    let (config, warnings) = load("f.toml", text, &outer).expect("it is right");
    assert_eq!(warnings, []);
    assert_eq!((&*config.tasks[0].name, &*config.tasks[0].path), ("outer", "/root/x"));
    assert_eq!((config.restart_delay, config.shutdown_max), (Duration::from_millis(250), Duration::from_secs(3)));
    let env = [("A", "outer"), ("SHUTDOWN_MAX", "3s")].map(|(name, value)| (name.to_string(), value.to_string()));
    assert_eq!(config.env, BTreeMap::from(env));
    let (config, warnings) = load("f.toml", "", &given(&[("SHUTDOWN_MAX", "soon")])).expect("it is right");
    assert_eq!((config.shutdown_max, warnings.len()), (Duration::from_secs(75), 1));
}

#[test]
fn several_mistakes_are_told_at_once_and_where_they_are() {
    let text = r#"
[env]
X = "$Y"
Y = "$X"
Z = "a $NOWHERE"

[[prologue]]
name = "p"
type = "portavailable"

[[task]]
name = "a"
parent = "b"
args = "x"
maxstartup = "5"

[[task]]
name = "a"
path = 5
prerun = ["a", "c"]
[task.specials]
signal = "SIGWINCH"
[[task.monitors]]
name = "ready"
type = "htpp"
"#;
    let expected = [
        "f.toml:3:5: X -> Y -> X use one another",
        "f.toml:5:5: Unprocessed envvars still found in Env: Z:a $NOWHERE",
        "f.toml:7:1: a monitor of the type portavailable needs port",
        "f.toml:13:10: the parent of a is 'b', which is not declared before it; nothing is",
        "f.toml:14:8: args is a list of texts, as [\"a\", \"b\"], and not a text",
        "f.toml:15:14: maxstartup: '5' is no duration: use one like 300ms, 5s or 1h30m",
        "f.toml:18:8: a task has the name 'a' already, in line 11",
        "f.toml:19:8: path is a text, in quotes, and not a number",
        "f.toml:20:16: the prerun of a is 'c', which is not declared before it; these are: a",
        "f.toml:22:10: 'SIGWINCH' is no signal: use SIGHUP, SIGINT, SIGTERM, SIGUSR1 or SIGUSR2",
        "f.toml:25:8: there is no monitor of the type 'htpp': use portavailable, portinuse, ensuredir, redis or http",
    ];
    assert_eq!(bad(text), expected);
    let faults = load("f.toml", "[env]\nZ = \"$N\"\n", &Given { nocheck: true, ..Given::default() });
    assert!(faults.is_ok(), "{faults:?}");
}

#[test]
fn mistakes_of_the_syntax_have_their_place_too() {
    let faults = bad("[env\nA = \"x\"\n[[task]]\nname = \"a\nb = 1\n");
    assert!(
        faults.len() >= 2 && faults[0].starts_with("f.toml:1:") && faults[1].starts_with("f.toml:4:"),
        "{faults:?}"
    );
}

#[test]
fn what_is_perhaps_not_meant_is_a_warning_and_strictly_an_error() {
    let text = r#"
[extra]
[[task]]
name = "usr"
path = "x"
colour = 1
[task.specials]
signal = "USR1"
onetime = "maybe"
[[task]]
name = "usr2"
path = "x"
[task.specials]
signal = "SIGUSR1"
onetime = true
[[task]]
name = "below"
path = "x"
parent = "usr2"
[[task.monitors]]
name = "ready"
type = "ensuredir"
path = "/tmp"
verb = "GET"
[[task.monitors]]
name = "ready"
type = "redis"
"#;
    let expected = [
        "f.toml:2:2: the file has no key 'extra'",
        "f.toml:4:8: usr is run on a signal or every so often: it counts as onetime",
        "f.toml:6:1: [[task]] has no key 'colour'",
        "f.toml:9:11: onetime is neither true nor false: it counts as false",
        "f.toml:11:8: usr2 is run on the signal of usr, which never runs by it now",
        "f.toml:17:8: below never starts: its parent usr2 is onetime, and never ready",
        "f.toml:24:8: the monitor 'ready' of below has no parameter 'verb'",
        "f.toml:25:1: below has several monitors that are called ready: the last counts",
    ];
    assert_eq!(good(text).1, expected);
    let strict = Given { strict: true, ..Given::default() };
    let faults = load("f.toml", text, &strict).expect_err("it is strict");
    assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}
