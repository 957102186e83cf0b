//! The feature `tracing`: each kill is an event, also when its client has left.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_string).collect()
    }
}

#[test]
fn a_kill_is_logged_when_it_is_asked_for_and_when_it_has_come_to_its_end() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_writer(move || writer.clone()).without_time().init();
    let list = pm::ProcList::new();
    let task = list.start("req1");
    let addr = list.spawn(":0").unwrap();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"kill req1 too\x1b[2J slow\nkill req2 nobody\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("killing req1 ")));
    assert!(lines.any(|line| line == "no such process 'req2'"));
    drop(lines); // the client leaves before the outcome
    assert_eq!(log.lines().len(), 1);
    task.check().unwrap_err();
    drop(task);
    let deadline = Instant::now() + Duration::from_secs(20);
    while log.lines().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", log.lines());
        std::thread::yield_now();
    }
    for (line, end) in log.lines().iter().zip(["requested", "ended"]) {
        assert!(line.contains(&format!("INFO pm::audit: kill {end} peer=\"")), "{line}");
        assert!(line.contains(r#" victim="req1" reason="too\u{1b}[2J slow""#), "{line}");
        assert!(line.contains(&format!(" at {addr}").replace(&addr.port().to_string(), "")), "{line}");
    }
    assert!(log.lines()[1].contains(r#" outcome="killed" seconds=0."#), "{:?}", log.lines());
}
