//! The example `blocked`: every worker of a runtime waits for ever, and the list says so.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[path = "../examples/blocked.rs"]
mod blocked;

#[test]
fn the_list_answers_while_every_worker_of_the_runtime_is_blocked() {
    let list = pm::ProcList::new();
    list.set_cols(["uri"]);
    let addr = list.spawn(":0").unwrap();
    let runtime = blocked::hang(&list).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while list.procs().iter().filter(|proc| proc.status.contains("waits for")).count() < 2 {
        assert!(Instant::now() < deadline, "{}", list.contents());
        std::thread::yield_now();
    }
    // Really blocked: nothing that is spawned is run any more.
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move { tell.send(()) });
    assert!(told.recv_timeout(Duration::from_millis(500)).is_err());

    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"delay 1h\nshow buy\nkill buy stuck\nquit\n").unwrap();
    let lines: Vec<_> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {}", lines.join("\n"));
    has("has orders, waits for stock");
    has("has stock, waits for orders");
    has("set at ");
    has("examples/blocked.rs:");
    has(r#"killing buy in "has orders, waits for stock""#);
    has("buy is still running 5s after the kill");
    runtime.shutdown_background();
}
