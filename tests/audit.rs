//! The feature `tracing`: each kill is an event, also when its client has left.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    for (line, end) in log.lines().iter().zip(["requested", "ended"]) {
        assert!(line.contains(&format!("INFO pm::audit: kill {end} peer=\"")), "{line}");
        assert!(line.contains(r#" victim="req1" reason="too\u{1b}[2J slow""#), "{line}");
        assert!(line.contains(&format!(" at {addr}").replace(&addr.port().to_string(), "")), "{line}");
    }
    assert!(log.lines()[1].contains(r#" outcome="killed" seconds=0."#), "{:?}", log.lines());

    // A kill of the program itself, and no runtime anywhere.
    let task = list.start("job7");
    list.kill("job7", "deadline of 2s").unwrap();
    task.done_with("rolled back");
    let [requested, ended] = &log.lines()[2..] else { panic!("{:?}", log.lines()) };
    assert!(requested.contains(r#"kill requested peer="the program" victim="job7" reason="deadline of 2s""#));
    assert!(ended.contains(r#" outcome="ended" "#) && ended.contains(r#" note="rolled back""#), "{ended}");
}

/// Panics at each event.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic::resume_unwind(Box::new("a bug of the subscriber"));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_that_panics_while_a_task_unwinds_does_not_end_the_program() {
    let list = pm::ProcList::new();
    let task = list.start("a");
    // Its event is not for the subscriber of the other test.
    let none = tracing::subscriber::NoSubscriber::default();
    let pending = tracing::subscriber::with_default(none, || list.request_kill("a", "too slow").unwrap());
    let died = tracing::subscriber::with_default(Panics, || {
        panic::catch_unwind(AssertUnwindSafe(|| {
            let task = task;
            task.status("merging")();
        }))
    });
    assert!(died.unwrap_err().is::<pm::Killed>());
    assert_eq!(pending.try_outcome().unwrap().outcome, pm::Outcome::Killed);
}
