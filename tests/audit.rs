//! The feature `tracing`: each kill is an event, also when its client has left.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
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
    /// The lines, as soon as there are so many: a thread sends them.
    fn lines(&self, expected: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<_> = text.lines().map(str::to_string).collect();
            if lines.len() >= expected {
                assert_eq!(lines.len(), expected, "{text}");
                return lines;
            }
            assert!(Instant::now() < deadline, "{text}");
            thread::sleep(Duration::from_millis(2));
        }
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
    log.lines(1);
    task.check().unwrap_err();
    drop(task);
    for (line, end) in log.lines(2).iter().zip(["requested", "ended"]) {
        assert!(line.contains(&format!("INFO pm::audit: kill {end} peer=\"")), "{line}");
        assert!(line.contains(r#" victim="req1" reason="too\u{1b}[2J slow""#), "{line}");
        assert!(line.contains(&format!(" at {addr}").replace(&addr.port().to_string(), "")), "{line}");
    }
    assert!(log.lines(2)[1].contains(r#" outcome="killed" seconds=0."#), "{:?}", log.lines(2));

    // A kill of the program itself, and no runtime anywhere.
    let task = list.start("job7");
    list.kill("job7", "deadline of 2s").unwrap();
    task.done_with("rolled back");
    let [requested, ended] = &log.lines(4)[2..] else { panic!("{:?}", log.lines(4)) };
    assert!(requested.contains(r#"kill requested peer="the program" victim="job7" reason="deadline of 2s""#));
    assert!(ended.contains(r#" outcome="ended" "#) && ended.contains(r#" note="rolled back""#), "{ended}");
}

/// Notes the message of each event.
struct Messages(mpsc::Sender<String>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if ["victim", "message"].contains(&field.name()) {
                    self.0 += &format!("{value:?} ");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        _ = self.0.send(text.0);
    }
}

#[test]
fn the_end_of_a_kill_comes_after_its_request() {
    use tracing_subscriber::layer::SubscriberExt;
    let (tell, told) = mpsc::channel();
    let messages = tracing::Dispatch::new(tracing_subscriber::registry().with(Messages(tell)));
    let list = pm::ProcList::new();
    for _ in 0..200 {
        let task = list.start("a");
        let start = Arc::new(Barrier::new(2));
        let (theirs, their_start) = (messages.clone(), Arc::clone(&start));
        let ending = thread::spawn(move || {
            tracing::dispatcher::with_default(&theirs, || {
                their_start.wait();
                while task.check().is_ok() {}
                drop(task);
            });
        });
        tracing::dispatcher::with_default(&messages, || {
            start.wait();
            list.kill("a", "").unwrap();
        });
        ending.join().unwrap();
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!([next(), next()], ["kill requested \"a\" ", "kill ended \"a\" "]);
    }
}

/// Tells of each event which thread has sent it, and panics.
struct Panics(mpsc::Sender<Option<String>>);

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
        _ = self.0.send(thread::current().name().map(str::to_string));
        panic::resume_unwind(Box::new("a bug of the subscriber"));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn events_come_from_a_thread_of_its_own_which_outlives_a_subscriber_that_panics() {
    let list = pm::ProcList::new();
    let task = list.start("a");
    let (tell, told) = mpsc::channel();
    let died = tracing::subscriber::with_default(Panics(tell), || {
        let pending = list.request_kill("a", "too slow").unwrap();
        let died = panic::catch_unwind(AssertUnwindSafe(|| {
            let task = task;
            task.status("merging")();
        }));
        assert_eq!(pending.try_outcome().unwrap().outcome, pm::Outcome::Killed);
        died
    });
    assert!(died.unwrap_err().is::<pm::Killed>());
    for _ in ["requested", "ended"] {
        assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap().as_deref(), Some("pm-audit"));
    }
}
