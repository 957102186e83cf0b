//! The commands at the port, in a session and over HTTP.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{overseer, sh, until};
use pm::ProcList;
use pm_overseer::{Overseer, State};

/// A client of the port.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(common::DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }

    /// Reads until a line that holds this.
    #[track_caller]
    fn hears(&mut self, text: &str) -> String {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            let n = self.0.read_line(&mut line).unwrap_or(0);
            assert!(n > 0, "no line with '{text}', but:\n{heard}");
            heard.push_str(&line);
            if line.contains(text) {
                return line.trim_end().to_string();
            }
        }
    }
}

fn serve() -> (Overseer, ProcList, SocketAddr) {
    let (overseer, list) = overseer();
    list.set_cols(["kind"].into_iter().chain(pm_overseer::COLS).chain(["next", "cmd"]));
    let server = list.server().delay(Duration::from_secs(3600)).commands(overseer.commands());
    let addr = server.spawn("127.0.0.1:0").unwrap();
    (overseer, list, addr)
}

fn up(overseer: &Overseer, id: &str, script: &str) {
    overseer.add(id, sh(script)).unwrap();
    overseer.start(id).unwrap();
    until("it is up", || !overseer.last_lines(id, 1).unwrap().is_empty());
}

#[test]
fn a_row_is_a_task_among_tasks_and_a_kill_tells_how_it_ended() {
    let (overseer, list, addr) = serve();
    let task = list.start("req1");
    up(&overseer, "web", "echo up; exec sleep 1000");
    let mut client = Client::new(addr);
    client.say("where kind=process");
    let row = client.hears("sleep 1000");
    let pid = overseer.status("web").unwrap().pid.unwrap();
    assert!(row.contains("  running  ") && row.contains(&format!("process  {pid}  yes")), "{row}");
    client.say("kill web a new one is coming");
    client.hears("killing web in \"running\", ");
    let end = client.hears("killed web after ");
    assert!(end.ends_with("in \"running\": SIGTERM"), "{end}");
    client.say("start");
    assert_eq!(client.hears("web"), "web  SIGTERM, killed: a new one is coming");
    // At once again after a run: how that ended is known.
    client.say("start web");
    client.hears("started web");
    client.say("restart web");
    client.hears("restarted web after ");
    until("it is told", || list.get("web").is_some_and(|row| row.cols.contains(&("last".into(), "SIGTERM".into()))));
    drop(task);
}

#[test]
fn restart_stop_start_and_signal_tell_what_came_of_them() {
    let (overseer, list, addr) = serve();
    let task = list.start("req1");
    up(&overseer, "web", "trap 'echo hup' HUP; echo up; while :; do sleep 0.01; done");
    let first = overseer.status("web").unwrap().pid.unwrap();
    let mut client = Client::new(addr);
    client.say("restart web");
    let told = client.hears("restarted web after ");
    let second = overseer.status("web").unwrap().pid.unwrap();
    assert!(first != second && told.ends_with(&format!("pid {second}")), "{told}");
    until("it is up", || overseer.last_lines("web", 9).unwrap().len() == 2);
    client.say("signal web hup");
    client.hears(&format!("sent SIGHUP to web: group {second}"));
    until("it has heard it", || overseer.last_lines("web", 1).unwrap() == ["hup"]);
    client.say("signal web nonsense");
    client.hears("no such signal 'nonsense'");
    client.say("signal web");
    client.hears("invalid command 'signal': signal <id> <name>");
    client.say("signal nothing HUP");
    client.hears("no such program 'nothing'");
    client.say("restart req1");
    client.hears("req1 is no child process");
    client.say("restart nothing");
    client.hears("no such program 'nothing': there is web");
    client.say("stop web req1");
    client.hears("invalid command 'stop': stop <id>, and nothing after it");
    client.say("stop web");
    let told = client.hears("stopped web after ");
    assert!(told.ends_with(": SIGTERM"), "{told}");
    assert_eq!(overseer.status("web").unwrap().state, State::Interrupted);
    client.say("stop web");
    client.hears("web is idle (SIGTERM, stopped): start web brings it back");
    client.say("start web");
    client.hears("started web");
    client.say("start web");
    client.hears("web is supervised already: running");
    client.say("start");
    client.hears("nothing is idle");
    client.say("stop where kind=process");
    let confirm = client.hears("to stop this one");
    let token = confirm.split_whitespace().nth(1).unwrap();
    client.say(&format!("stop {token}"));
    client.hears("stopped web after ");
    // One that is idle is started by a restart, and what does not come up says why.
    client.say("restart web");
    client.hears("restarted web");
    overseer.add("bad", pm_overseer::Program::new("/no/such")).unwrap();
    client.say("restart bad");
    let told = client.hears("bad did not come up after ");
    assert!(told.ends_with("'/no/such' is not there"), "{told}");
    client.say("stop bad");
    client.hears("stopped bad");
    overseer.add("below", pm_overseer::Program::new("true").parent("bad")).unwrap();
    client.say("start below");
    client.hears("below waits for bad: start bad, if that is idle");
    client.say("logs -n below");
    client.hears("invalid command 'logs': logs [-f] <id> [n]");
    client.say("signal web 1");
    client.hears("sent SIGHUP to web");
    client.say("cols id,next,last,kind");
    client.hears("web     ");
    drop(task);
}

#[test]
fn logs_are_the_last_lines_of_what_runs_and_of_what_has_ended_and_can_be_followed() {
    let (overseer, _list, addr) = serve();
    up(&overseer, "web", "seq 30; echo err >&2; while read line < /dev/null; do :; done; exec sleep 1000");
    until("all is printed", || overseer.last_lines("web", 99).unwrap().len() == 31);
    let mut client = Client::new(addr);
    client.say("logs web 2");
    client.hears("30");
    client.say("logs web 0");
    client.hears("invalid command 'logs': logs [-f] <id> [n]");
    overseer.add("old", sh("echo 'its last \x1b[31mwords'")).unwrap();
    client.say("logs old");
    client.hears("old has printed nothing that is kept");
    overseer.start("old").unwrap();
    until("it has ended", || overseer.last_outcome("old").is_some());
    client.say("logs old");
    client.hears("its last \\x1b[31mwords");

    overseer.add("talks", sh("while :; do echo tick; sleep 0.02; done")).unwrap();
    overseer.start("talks").unwrap();
    client.say("logs -f talks");
    for _ in 0..5 {
        assert_eq!(client.hears("tick"), "tick");
    }
    client.say("");
    client.say("logs web 1");
    client.say("quit");
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).unwrap();
    let end: Vec<&str> = rest.lines().rev().take(2).collect();
    assert!(end.iter().any(|line| line.contains("30") || line.contains("err")), "{rest}");
}

#[test]
fn they_are_at_the_rows_over_http_too() {
    let (overseer, list) = overseer();
    up(&overseer, "web", "echo up; exec sleep 1000");
    let addr = list.server().commands(overseer.commands()).spawn_http("127.0.0.1:0").unwrap();
    let ask = |request: &str, body: &str| {
        let mut stream = TcpStream::connect(addr).unwrap();
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let commands = ask("GET /commands", "");
    for name in ["restart", "stop", "signal", "logs"] {
        assert!(commands.contains(&format!("\"name\":\"{name}\"")), "{commands}");
    }
    assert!(ask("POST /commands/logs", "web").contains("up"));
    assert!(ask("POST /commands/restart", "web").contains("restarted web after "));
    let stopped = ask("POST /commands/stop", "web");
    assert!(stopped.starts_with("HTTP/1.1 200") && stopped.contains("stopped web after "), "{stopped}");
    assert!(ask("POST /commands/logs", "web 1").contains("up"), "also of what has ended");
    assert!(ask("POST /commands/start", "web").contains("started web"));
}
