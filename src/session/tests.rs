//! Sessions over a pipe in paused time: every pause is exact, and nobody waits.

use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::access::{Access, PeerLookup, Role, TokenSource};
use crate::peer::{Peer, User};
use crate::{ProcList, Task};
use tokio::io::{ReadHalf, WriteHalf};

const SECOND: Duration = Duration::from_secs(1);

/// The far end of a session: what a person at netcat types and reads.
struct Client {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: Option<WriteHalf<DuplexStream>>,
    session: JoinHandle<io::Result<()>>,
    connected: Instant,
}

/// Connects a client whose pipe holds `capacity` unread bytes.
fn connect_through(capacity: usize, service: &Arc<Service>) -> Client {
    connect_as(Some(Role::Kill), capacity, service)
}

fn connect_as(role: Option<Role>, capacity: usize, service: &Arc<Service>) -> Client {
    let (near, far) = tokio::io::duplex(capacity);
    let user = Some(User { uid: 1001, name: Some("amy".to_string()) });
    let peer = Arc::new(Peer { user, address: Some(([127, 0, 0, 1], 7).into()) });
    let admitted = Admitted { role, peer };
    let session = tokio::spawn(run(near, Arc::clone(service), admitted));
    let (reader, writer) = tokio::io::split(far);
    Client { reader: BufReader::new(reader), writer: Some(writer), session, connected: Instant::now() }
}

fn service_of(list: &ProcList) -> Arc<Service> {
    service_with(list, Access::default())
}

fn service_with(list: &ProcList, access: Access) -> Arc<Service> {
    service_that(list, access, Vec::new())
}

fn service_that(list: &ProcList, access: Access, commands: Vec<crate::PortCommand>) -> Arc<Service> {
    let (service, worker) = Service::new(list.clone(), access, PeerLookup::open(), 3 * SECOND, 1000, commands);
    tokio::spawn(worker.run());
    service
}

fn connect(list: &ProcList) -> Client {
    connect_through(1 << 20, &service_of(list))
}

impl Client {
    async fn types(&mut self, text: &str) {
        self.types_bytes(text.as_bytes()).await;
    }

    async fn types_bytes(&mut self, bytes: &[u8]) {
        let writer = self.writer.as_mut().expect("still typing");
        writer.write_all(bytes).await.expect("the session is listening");
    }

    /// Sends no more, as `nc -N` at the end of its input.
    async fn stops_typing(&mut self) {
        self.writer.take().expect("still typing").shutdown().await.expect("the session is there");
    }

    /// The next line, or `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let reading = time::timeout(120 * SECOND, self.reader.read_line(&mut line)).await;
        match reading.expect("the session says something").expect("the pipe is whole") {
            0 => None,
            _ => Some(line.strip_suffix('\n').expect("only whole lines are sent").to_string()),
        }
    }

    /// The next line is `expected`. The age of a task is by the system's clock, and not exact.
    async fn reads(&mut self, expected: &str) {
        let line = self.line().await;
        let expected = expected.strip_suffix(", 0.0s old").unwrap_or(expected);
        let line = match &line {
            Some(line) if line.ends_with("s old") => line.rsplit_once(", ").map(|(line, _age)| line),
            line => line.as_deref(),
        };
        assert_eq!(line, Some(expected));
    }

    /// Passes over all lines up to one with this in it.
    async fn reads_up_to(&mut self, part: &str) {
        for _ in 0..10_000 {
            if self.line().await.expect("it comes").contains(part) {
                return;
            }
        }
        panic!("{part:?} did not come");
    }

    async fn reads_the_end(&mut self) {
        assert_eq!(self.line().await, None);
    }

    /// The ids of the rows of the next frame, which has `rows` of them.
    async fn first_frame(&mut self, rows: usize) -> Vec<String> {
        let header = self.line().await.expect("a frame");
        assert!(header.starts_with("id "), "{header:?} is no header");
        let mut ids = Vec::new();
        for _ in 0..rows {
            let row = self.line().await.expect("a row");
            assert!(row.contains("  0."), "{row:?} is no row");
            ids.push(row.split(' ').next().unwrap_or_default().to_string());
        }
        ids
    }

    async fn frame(&mut self, rows: usize) -> Vec<String> {
        self.reads("").await;
        self.first_frame(rows).await
    }

    /// The time since the connection, exact to the millisecond.
    fn now(&self) -> Duration {
        Duration::from_millis(self.connected.elapsed().as_millis() as u64)
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_comes_at_once_and_then_every_delay_after_an_empty_line() {
    let list = ProcList::new();
    let _a = list.start("a");
    let mut client = connect(&list);
    assert_eq!(client.first_frame(1).await, ["a"]);
    assert_eq!(client.now(), Duration::ZERO);
    let _b = list.start("b");
    assert_eq!(client.frame(2).await, ["a", "b"]);
    assert_eq!(client.now(), 3 * SECOND);
    assert_eq!(client.frame(2).await, ["a", "b"]);
    assert_eq!(client.now(), 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_silent_shows_a_frame_at_once_and_sets_the_pace() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    time::advance(SECOND).await;
    client.types("delay 500ms\n").await;
    for millis in [1000, 1500, 2000] {
        client.frame(0).await;
        assert_eq!(client.now(), Duration::from_millis(millis));
    }
    client.types("delay 0s\n").await;
    client.reads("invalid duration '0s': use 100ms to 1h").await;
    client.frame(0).await;
    assert_eq!(client.now(), Duration::from_millis(2500));
}

/// A client that has asked to kill the task `proc2`, which is sorting.
async fn kill_proc2() -> (ProcList, Task, Client) {
    let list = ProcList::new();
    let task = list.start("proc2");
    task.set_status("sorting");
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("kill proc2 houston, we have a problem\n").await;
    client.reads(r#"killing proc2 in "sorting", 0.0s old"#).await;
    (list, task, client)
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_answered_at_once_and_then_with_its_outcome() {
    let (_list, task, mut client) = kill_proc2().await;
    let killed = task.try_status("merging").expect_err("was killed");
    assert_eq!(killed.message(), "houston, we have a problem");
    drop(task);
    client.reads(r#"killed proc2 after 0.0s in "merging""#).await;
    client.frame(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_before_it_sees_the_kill_ended_by_itself() {
    let (_list, task, mut client) = kill_proc2().await;
    drop(task);
    client.reads("proc2 ended by itself before the kill reached it").await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_saw_its_kill_and_went_on_is_told_apart() {
    let (_list, task, mut client) = kill_proc2().await;
    for row in 0..40 {
        let _ignored = task.try_status(format!("row {row}"));
    }
    drop(task);
    client.reads(r#"killed proc2 after 0.0s in "row 39", 39 kill points after it saw the kill"#).await;
    client.types("audit\ndone\n").await;
    client.reads_up_to("killed after 0.0s, 39 kill points after it saw the kill").await;
    client.reads_up_to("39 kill points after it saw the kill  houston, we have a problem").await;
}

#[tokio::test(start_paused = true)]
async fn work_that_was_given_up_says_so_in_json_show_and_done() {
    let list = ProcList::new();
    let (gone, kept) = (list.start("gone"), list.start("kept"));
    for task in [&gone, &kept] {
        time::timeout(SECOND, task.run(std::future::pending::<()>())).await.expect_err("it never ends");
    }
    drop(gone);
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("json\nshow kept\ndone\n").await;
    client.reads_up_to(r#","note":"abandoned","time":"#).await;
    client.reads_up_to("note: abandoned").await;
    client.reads_up_to("outcome  note").await;
    client.reads_up_to("ended    abandoned").await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_before_it_sees_the_kill_panicked() {
    let (_list, task, mut client) = kill_proc2().await;
    let died = std::thread::spawn(move || {
        let _task = task;
        std::panic::resume_unwind(Box::new("a bug"));
    });
    died.join().expect_err("it panicked");
    client.reads("proc2 panicked before the kill reached it").await;
}

#[tokio::test(start_paused = true)]
async fn a_victim_without_a_kill_point_is_reported_after_five_seconds_and_once() {
    let (_list, task, mut client) = kill_proc2().await;
    client.frame(1).await;
    client.reads(r#"proc2 is still running 5s after the kill, in "sorting": it has passed no kill point so far, and may have none"#).await;
    assert_eq!(client.now(), 5 * SECOND);
    for second in [6, 9, 12] {
        client.frame(1).await;
        assert_eq!(client.now(), second * SECOND);
    }
    task.check().expect_err("was killed");
    drop(task);
    client.reads(r#"killed proc2 after 0.0s in "sorting""#).await;
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_has_passed_a_kill_point_before_is_said_to_stop_at_the_next() {
    let (list, _task, mut client) = kill_proc2().await;
    let loops = list.start("loops");
    loops.check().expect("nobody has killed it");
    client.types("kill loops\n").await;
    let awaits = list.start("awaits");
    let mut run = Box::pin(awaits.run(std::future::pending::<()>()));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(run.as_mut().poll(cx))).await.is_pending());
    client.types("kill awaits\n").await;
    let at_its_next =
        |id: &str| format!(r#"{id} is still running 5s after the kill, in "init": it stops at its next kill point"#);
    client.reads_up_to(&at_its_next("loops")).await;
    client
        .reads(&(at_its_next("awaits") + ", an await: until then it computes, blocks, or awaits outside of run"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_cleans_up_is_reported_as_such() {
    let (_list, task, mut client) = kill_proc2().await;
    task.try_status("rollback").expect_err("was killed");
    client.frame(1).await;
    client.reads(r#"proc2 saw the kill and is still cleaning up after 5s, in "rollback""#).await;
    drop(task);
    client.reads(r#"killed proc2 after 0.0s in "rollback""#).await;
}

#[tokio::test(start_paused = true)]
async fn a_victim_of_which_a_part_may_not_have_seen_the_kill_is_not_said_to_clean_up() {
    let (_list, task, mut client) = kill_proc2().await;
    let deaf = task.keep();
    task.check().expect_err("was killed");
    drop(task);
    client.frame(1).await;
    let part = "it is cleaning up, or a part of it has passed no kill point since";
    client.reads(&format!(r#"proc2 saw the kill and is still there after 5s, in "sorting": {part}"#)).await;
    drop(deaf);
    client.reads(r#"killed proc2 after 0.0s in "sorting""#).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_killer_is_told_who_was_first_and_hears_the_outcome_too() {
    let (list, task, mut first) = kill_proc2().await;
    let mut second = connect(&list);
    second.first_frame(1).await;
    for _ in 0..2 {
        second.types("kill proc2 me too\n").await;
        second.reads(r#"already killing proc2: "houston, we have a problem""#).await;
    }
    task.check().expect_err("was killed");
    drop(task);
    for client in [&mut first, &mut second] {
        client.reads(r#"killed proc2 after 0.0s in "sorting""#).await;
        client.frame(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_cannot_be_says_why() {
    let list = ProcList::new();
    let _task = list.start("init").forbid_kill();
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("kill init\nkill proc9 x\nkill\nkill where\n").await;
    client.reads("forbidden: init may not be killed").await;
    client.reads("no such process 'proc9'").await;
    client.reads("invalid command 'kill': kill <id> [message]").await;
    client.reads("invalid command 'kill': kill where <expression>").await;
}

#[tokio::test(start_paused = true)]
async fn an_id_with_blanks_is_killed_by_the_name_in_the_table() {
    let list = ProcList::new();
    let _tasks = [list.start("nightly job"), list.start("nightly"), list.start("@x"), list.start("where")];
    let mut client = connect(&list);
    let names = client.first_frame(4).await;
    assert_eq!(names, [r"nightly\x20job", "nightly", r"\x40x", r"\x77here"]);
    for name in names {
        client.types(&format!("kill {name} go\n")).await;
        client.reads(&format!(r#"killing {name} in "init", 0.0s old"#)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn commands_are_lines_however_the_bytes_arrive() {
    let list = ProcList::new();
    let mut client = connect(&list);
    client.first_frame(0).await;
    client.types("kill a\r\nkill b\nki").await;
    client.reads("no such process 'a'").await;
    client.reads("no such process 'b'").await;
    for piece in ["l", "l ", "\tc", " x", "\n"] {
        client.types(piece).await;
        tokio::task::yield_now().await;
    }
    client.reads("no such process 'c'").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_freezes_and_another_thaws_with_a_frame_at_once() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types("\n").await;
    client.reads("frozen: type a command, or Enter to go on").await;
    time::advance(20 * SECOND).await;
    client.types("kill x\n").await;
    client.reads("no such process 'x'").await;
    time::advance(20 * SECOND).await;
    client.types("\n").await;
    client.frame(0).await;
    assert_eq!(client.now(), 40 * SECOND);
    client.frame(0).await;
    assert_eq!(client.now(), 43 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_stream_thaws_by_itself_thirty_seconds_after_the_last_command() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types("\n").await;
    client.reads("frozen: type a command, or Enter to go on").await;
    time::advance(29 * SECOND).await;
    client.types("help\n").await;
    client.reads_up_to("Ctrl-R").await;
    client.frame(0).await;
    assert_eq!(client.now(), 59 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_delay_typed_while_frozen_shows_one_frame_and_stays_frozen() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types("\ndelay 1s\n").await;
    client.reads("frozen: type a command, or Enter to go on").await;
    client.frame(0).await;
    assert_eq!(client.now(), Duration::ZERO);
    for second in [30, 31] {
        client.frame(0).await;
        assert_eq!(client.now(), second * SECOND);
    }
}

#[tokio::test] // its frame is made by a thread, which paused time would not wait for
async fn a_frozen_client_gets_the_frame_of_its_delay_although_a_reply_comes_in_between() {
    let list = ProcList::new();
    // So many that the frame is made elsewhere, and the reply is first.
    let _tasks: Vec<_> = (0..1000).map(|n| list.start(format!("t{n}"))).collect();
    let mut client = connect(&list);
    client.first_frame(1000).await;
    client.types("\ndelay 1s\nkill x\n").await;
    client.reads("frozen: type a command, or Enter to go on").await;
    let mut first = client.line().await.expect("a reply or a frame");
    if first.is_empty() {
        client.first_frame(1000).await; // the thread was quicker
        first = client.line().await.expect("a reply");
    } else {
        client.frame(1000).await;
    }
    assert_eq!(first, "no such process 'x'");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_too_long_for_an_id_means_nobody() {
    let list = ProcList::new();
    let task = list.start("x".repeat(300));
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types(&format!("kill {}other\n", "x".repeat(290))).await;
    client.reads(&format!("no such process '{}…'", "x".repeat(79))).await;
    task.check().expect("nobody killed it");
    client.types(&format!("kill {}\n", task.id())).await;
    client.reads(&format!(r#"killing {} in "init", 0.0s old"#, task.id())).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_is_answered_to_the_last_line_and_shows_no_more_frames() {
    let mut client = connect(&ProcList::new());
    client.types("kill a\nkill b").await;
    client.stops_typing().await;
    client.first_frame(0).await;
    client.reads("no such process 'a'").await;
    client.reads("incomplete command: end it with Enter").await;
    client.reads_the_end().await;
    assert_eq!(client.now(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn after_quit_nothing_is_obeyed() {
    for quit in ["quit", "EXIT"] {
        let list = ProcList::new();
        let task = list.start("a");
        let mut client = connect(&list);
        client.types(&format!("help\n{quit}\nkill a\n")).await;
        client.first_frame(1).await;
        client.reads_up_to("Ctrl-R").await;
        client.reads_the_end().await;
        task.check().expect("nobody killed it");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_kept_for_the_outcome_of_a_kill() {
    let (_list, task, mut client) = kill_proc2().await;
    client.stops_typing().await;
    time::advance(4 * SECOND).await;
    task.check().expect_err("was killed");
    drop(task);
    client.reads(r#"killed proc2 after 0.0s in "sorting""#).await;
    client.reads_the_end().await;
    assert_eq!(client.now(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_not_kept_for_ever() {
    let (_list, _task, mut client) = kill_proc2().await;
    time::advance(SECOND).await;
    client.types("quit\n").await;
    client.reads(r#"proc2 is still running 5s after the kill, in "sorting": it has passed no kill point so far, and may have none"#).await;
    assert_eq!(client.now(), 5 * SECOND);
    client.reads_the_end().await;
    assert_eq!(client.now(), 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_answered_and_the_session_goes_on() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types(&format!("{}\n", "x".repeat(5000))).await;
    client.reads("line too long: 4096 bytes at most").await;
    client.types_bytes(b"\xff\xfe\xfd\xc3\x28\nkill\0\n").await;
    client.reads("invalid command: not text").await;
    client.reads("invalid command: not text").await;
    client.types("foo bar\nkill a\n").await;
    client.reads("invalid command 'foo': try help").await;
    client.reads("no such process 'a'").await;
}

#[tokio::test(start_paused = true)]
async fn ten_faults_in_a_row_close_the_session_and_nine_do_not() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    let faults = ["foo", "kill", "delay x", "bar\0", &"x".repeat(5000), "a", "b", "c", "d"];
    for round in 0..2 {
        for fault in faults {
            client.types(&format!("{fault}\n")).await;
            client.line().await.expect("an answer");
        }
        if round == 0 {
            client.types("kill x\n").await;
            client.reads("no such process 'x'").await;
        }
    }
    client.types("the tenth\nkill x\n").await;
    client.reads("invalid command 'the': try help").await;
    client.reads("10 faulty lines in a row: closed").await;
    client.reads_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_browser_gets_a_400_and_nothing_it_sends_is_executed() {
    let forged = [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nkill a\n",
        "POST\nkill a\n",
        "help\nHost: localhost:8081\nkill a\n",
        "help\nDELETE /procs/a HTTP/1.1\nkill a\n",
        "kill a HTTP/1.1\n",
        &format!("GET /{} HTTP/1.1\r\nkill a\n", "x".repeat(5000)),
        "GET /\0 HTTP/1.1\r\nkill a\n",
    ];
    for request in forged {
        let list = ProcList::new();
        let task = list.start("a");
        let mut client = connect(&list);
        client.first_frame(1).await;
        client.types(request).await;
        let mut answer = String::new();
        let reading = time::timeout(120 * SECOND, client.reader.read_to_string(&mut answer)).await;
        reading.expect("the session ends").expect("the pipe is whole");
        let (_, answer) = answer.split_at(answer.find("HTTP/1.1 400 Bad Request\r\n").expect("a 400"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && body.lines().count() == 1, "{answer}");
        task.check().expect("nobody killed it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_frame_that_is_late_keeps_nobody_from_a_kill() {
    let list = ProcList::new();
    let task = list.start("a");
    let (service, worker) =
        Service::new(list.clone(), Access::default(), PeerLookup::open(), 3 * SECOND, 1000, Vec::new());
    let mut client = connect_through(1 << 20, &service);
    client.types("kill a\nkill b\n").await;
    client.reads(r#"killing a in "init", 0.0s old"#).await;
    client.reads("no such process 'b'").await;
    assert_eq!(client.now(), SECOND);
    task.check().expect_err("was killed");
    tokio::spawn(worker.run());
    client.first_frame(1).await; // the first, so no empty line before it
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_not_kept_for_the_outcome_of_what_came_before_it() {
    let (_list, _task, mut client) = kill_proc2().await;
    client.types("Host: localhost\n").await;
    while client.line().await.is_some() {}
    assert_eq!(client.now(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_dropped_after_ten_seconds_and_holds_up_nobody() {
    let list = ProcList::new();
    let _tasks: Vec<_> = (0..100).map(|n| list.start(format!("t{n}"))).collect();
    let service = service_of(&list);
    let deaf = connect_through(64, &service);
    let mut other = connect_through(1 << 20, &service);
    other.first_frame(100).await;
    for _ in 0..3 {
        other.frame(100).await;
    }
    assert_eq!(other.now(), 9 * SECOND);
    assert!(!deaf.session.is_finished());
    let error = deaf.session.await.expect("no panic").expect_err("is dropped");
    assert_eq!((other.now(), error.kind()), (10 * SECOND, io::ErrorKind::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_misses_frames_and_gets_whole_ones() {
    let list = ProcList::new();
    let _tasks: Vec<_> = (0..10).map(|n| list.start(format!("t{n}"))).collect();
    let mut client = connect_through(64, &service_of(&list));
    client.first_frame(10).await;
    for _ in 0..5 {
        time::advance(8 * SECOND).await; // some of it fits into the pipe
        client.frame(10).await;
    }
    assert!(client.now() >= 40 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_listen_is_not_listened_to() {
    let mut client = connect_through(1024, &service_of(&ProcList::new()));
    client.first_frame(0).await;
    let mut writer = client.writer.take().expect("still typing");
    let asking = tokio::spawn(async move {
        let mut asked = 0_u64;
        while writer.write_all(b"help\n").await.is_ok() {
            asked += 1;
        }
        asked
    });
    let error = client.session.await.expect("no panic").expect_err("is dropped");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let asked = asking.await.expect("no panic");
    let held = 64 * 1024 / (command::help().join("\n").len() + 70) as u64;
    // The rest is in the two pipes and the buffer of the decoder.
    assert!(asked > held && asked < held + 700, "{asked} questions were taken in, {held} is the limit");
}

#[tokio::test(start_paused = true)]
async fn clients_share_a_frame_while_it_is_fresh_and_only_if_no_reply_came_after_it() {
    let list = ProcList::new();
    let service = service_of(&list);
    let mut first = connect_through(1 << 20, &service);
    first.first_frame(0).await;
    let _task = list.start("a");
    time::advance(Duration::from_millis(100)).await;
    let mut second = connect_through(1 << 20, &service);
    second.first_frame(0).await; // the same frame, without the task
    second.types("kill b\ndelay 1s\n").await;
    second.reads("no such process 'b'").await;
    second.frame(1).await; // newer than the reply
    let _task = list.start("c");
    time::advance(Duration::from_millis(101)).await;
    let mut third = connect_through(1 << 20, &service);
    third.first_frame(2).await; // the last one is too old
    third.types("delay 100ms\n").await;
    third.frame(2).await;
    let _task = list.start("d");
    time::advance(Duration::from_millis(11)).await;
    third.types("delay 100ms\n").await;
    third.frame(3).await; // at this pace a tenth of the delay is 10 ms
}

#[tokio::test] // its frame is made by a thread, which paused time would not wait for
async fn more_kills_than_anybody_watches_are_refused() {
    let list = ProcList::new();
    let tasks: Vec<_> = (0..1025).map(|n| list.start(format!("t{n}"))).collect();
    let mut client = connect(&list);
    let mut line = client.line().await.expect("a frame");
    while !line.starts_with("...") {
        line = client.line().await.expect("a row");
    }
    for n in 0..1024 {
        client.types(&format!("kill t{n}\n")).await;
        client.reads(&format!(r#"killing t{n} in "init", 0.0s old"#)).await;
    }
    client.types("kill t1024\n").await;
    client.reads("too many kills: 1024 outcomes are awaited, try again after the next").await;
    tasks[1024].check().expect("nobody killed it");
}

/// A list of requests, every tenth an export; the first is the oldest.
fn requests(n: usize) -> (ProcList, Vec<Task>) {
    let list = ProcList::new();
    list.set_cols(["method", "uri"]);
    let uri = |n| if n % 10 == 0 { format!("/export/{n}") } else { format!("/users/{n}") };
    let tasks = (0..n).map(|n| list.start(format!("t{n}")).col("method", "GET").col("uri", uri(n))).collect();
    (list, tasks)
}

#[tokio::test(start_paused = true)]
async fn a_view_is_of_one_client_and_shows_at_once() {
    let (list, _tasks) = requests(20);
    let service = service_of(&list);
    let mut one = connect_through(1 << 20, &service);
    let mut other = connect_through(1 << 20, &service);
    one.first_frame(20).await;
    other.first_frame(20).await;
    one.types("where uri~/export\n").await;
    assert_eq!(one.frame(2).await, ["t0", "t10"]);
    one.types("sort -id\n").await;
    assert_eq!(one.frame(2).await, ["t10", "t0"]);
    one.types("limit 1\n").await;
    assert_eq!(one.frame(1).await, ["t10"]);
    one.reads("... 1 more (limit 1)").await;
    one.types("where\n").await;
    assert_eq!(one.frame(1).await, ["t9"]);
    one.reads("... 19 more (limit 1)").await;
    one.types("sort\n").await;
    assert_eq!(one.frame(1).await, ["t0"]);
    one.reads("... 19 more (limit 1)").await;
    one.types("limit all\n").await;
    assert_eq!(one.frame(20).await[..2], ["t0", "t1"]);
    one.types("where id=t7\n").await;
    one.frame(1).await;
    one.types("cols uri,id\n").await;
    one.reads("").await;
    one.reads("uri       id").await;
    one.reads("/users/7  t7").await;
    assert_eq!(one.now(), Duration::ZERO);
    other.frame(20).await;
    assert_eq!(other.now(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_mistake_changes_nothing_and_says_where_it_is() {
    let (list, _tasks) = requests(2);
    let mut client = connect(&list);
    client.first_frame(2).await;
    client.types("where tme>30s\nsort tme\ncols id,tme\nby tme\nby time\nlimit x\n").await;
    let known = "no column of that name (id, status, time, in_status, method, uri)";
    client.reads(&format!("invalid expression at 'tme': {known}")).await;
    for _ in 0..3 {
        client.reads(&format!("invalid column 'tme': {known}")).await;
    }
    client.reads("invalid column 'time': by counts texts that are equal").await;
    client.reads("invalid command 'limit': limit <n|all>").await;
    assert_eq!(client.frame(2).await, ["t0", "t1"]);
    client.types("by a\nby b\nby c\nby d\n").await;
    for _ in 0..4 {
        client.line().await.expect("a reply");
    }
    client.reads("10 faulty lines in a row: closed").await;
    client.reads_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn one_frame_may_be_asked_for_while_the_table_is_frozen() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types("list\n").await;
    client.frame(0).await;
    client.types("\nlist\nlist\n").await;
    client.reads("frozen: type a command, or Enter to go on").await;
    client.frame(0).await;
    client.frame(0).await;
    assert_eq!(client.now(), Duration::ZERO);
    client.frame(0).await;
    assert_eq!(client.now(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_in_order_and_by_is_a_frame() {
    let (list, mut tasks) = requests(20);
    let mut client = connect(&list);
    client.first_frame(20).await;
    drop(tasks.pop());
    client.types("where uri~/export\n").await;
    client.frame(2).await;
    client.types("by method\nkill nobody\nshow t0\ndone where id=t19\nslow 1 where not id=t0\nstats\naudit\njson\nshow t19\n").await;
    client.reads("").await;
    client.reads("method  count  oldest  median     p99").await;
    assert!(client.line().await.expect("a group").starts_with("GET         2  0.0"));
    client.reads("no such process 'nobody'").await;
    assert!(client.line().await.expect("of show").starts_with("t0 has been running for 0."));
    client.reads_up_to("  init").await;
    for _ in ["done", "slow"] {
        let header = client.line().await.expect("a header");
        assert!(
            header.split_whitespace().eq("id status time ago outcome method uri note message".split(' ')),
            "{header}"
        );
        assert!(client.line().await.expect("a row").starts_with("t19  init "));
    }
    client.reads("running           19").await;
    client.reads_up_to("columns left out").await;
    client.reads("no kills").await;
    for id in ["t0", "t10"] {
        assert!(client.line().await.expect("an object").starts_with(&format!(r#"{{"id":"{id}","attrs":{{"#)));
    }
    assert!(client.line().await.expect("its end").starts_with("t19 ended 0.0s ago, after 0.0s, in \"init\""));
    client.reads_up_to("  init").await;
    client.frame(2).await;
}

#[tokio::test] // json of so many is made by a thread, which paused time would not wait for
async fn a_large_answer_reaches_a_client_that_has_said_all() {
    let (list, _tasks) = requests(2000);
    let mut client = connect(&list);
    client.types("where uri~/users\nlimit 1\njson\n").await;
    client.stops_typing().await;
    let mut text = String::new();
    client.reader.read_to_string(&mut text).await.expect("the pipe is whole");
    let objects: Vec<_> = text.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(objects.len(), 1800);
    assert!(objects.iter().all(|object| object.contains("/users/") && object.ends_with('}')));
}

/// The token of the set that `kill where` has just shown.
async fn token(client: &mut Client) -> String {
    for _ in 0..100 {
        let line = client.line().await.expect("the way to go on");
        if let Some(rest) = line.strip_prefix("kill @") {
            return format!("@{}", &rest[..4]);
        }
    }
    panic!("no set was shown");
}

#[tokio::test(start_paused = true)]
async fn a_set_is_shown_and_then_just_that_set_is_killed() {
    let (list, tasks) = requests(31);
    let mut client = connect(&list);
    client.first_frame(31).await;
    client.types("kill where uri~/export and id!=t0\n").await;
    client.reads("id   status    time  method  uri").await;
    for id in ["t10", "t20", "t30"] {
        assert!(client.line().await.expect("a victim").starts_with(id));
    }
    let line = client.line().await.expect("the way to go on");
    assert!(line.starts_with("kill @") && line.ends_with(" <message> to kill these 3"), "{line}");
    let token = line.split(' ').nth(1).expect("a token").to_string();
    assert!(tasks.iter().all(|task| task.check().is_ok()), "nobody is killed yet");

    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    tasks[10] = None; // it ends meanwhile ..
    let other = list.start("t10").col("uri", "/export/new"); // .. and another one takes its id
    client.types(&format!("kill {token} too slow\n")).await;
    client.reads("killing 2 of 3").await;
    client.reads("t10 ended by itself before the kill").await;
    for n in [20, 30] {
        let task = tasks[n].take().expect("is running");
        assert_eq!(task.check().expect_err("was killed").message(), "too slow");
    }
    for id in ["t20", "t30"] {
        client.reads(&format!(r#"killed {id} after 0.0s in "init""#)).await;
    }
    client.reads(&format!("{token}: 2 killed, 1 ended")).await;
    other.check().expect("nobody killed it");
    assert!(tasks.iter().flatten().all(|task| task.check().is_ok()));

    client.types(&format!("kill {token}\naudit\n")).await;
    client.reads(&format!("no such set '{token}': it has been used, kill where <expression> shows the next one")).await;
    for id in ["t20", "t30"] {
        let line = client.line().await.expect("a record");
        assert!(
            line.contains(&format!(r#"Z amy (uid 1001) at 127.0.0.1:7: {id} "too slow": killed after 0.0s (method="#)),
            "{line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_a_set_that_somebody_else_has_killed_did_not_end_by_itself() {
    let (list, mut tasks) = requests(2);
    let mut client = connect(&list);
    client.first_frame(2).await;
    client.types("kill where id~t\n").await;
    let token = token(&mut client).await;
    list.kill("t0", "I was first").expect("it runs");
    tasks.remove(0).check().expect_err("it was killed");
    client.types(&format!("kill {token} me too\n")).await;
    client.reads("killing 1 of 2").await;
    client.reads(r#"t0 was killed before: "I was first""#).await;
    drop(tasks);
    client.reads("t1 ended by itself before the kill reached it").await;
    client.reads(&format!("{token}: 1 ended, 1 killed before")).await;
}

#[tokio::test(start_paused = true)]
async fn a_set_is_good_for_a_minute_and_of_one_session() {
    let (list, tasks) = requests(1);
    let service = service_of(&list);
    let mut client = connect_through(1 << 20, &service);
    let mut other = connect_through(1 << 20, &service);
    client.types("kill where id=t0\nkill where id=t1\ndelay 1h\n").await;
    let first = token(&mut client).await;
    client.reads("no task matches").await;
    other.types(&format!("kill {first} x\n")).await;
    other.first_frame(1).await;
    other.reads(&format!("no such set '{first}': kill where <expression> shows one, for 60 s")).await;
    time::advance(59 * SECOND).await;
    client.types("kill where id=t0\n").await;
    let second = token(&mut client).await;
    time::advance(2 * SECOND).await;
    client.types(&format!("kill {first} x\n")).await;
    client.reads_up_to(&format!("no such set '{first}': kill where <expression> shows one, for 60 s")).await;
    tasks[0].check().expect("nobody killed it");
    client.types(&format!("kill {} x\n", second.to_uppercase())).await;
    client.reads("killing 1 of 1").await;
}

#[tokio::test(start_paused = true)]
async fn every_member_of_a_set_has_one_outcome_and_those_that_stay_are_counted_at_the_end() {
    let list = ProcList::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| list.start(id));
    let d = d.forbid_kill();
    let mut client = connect(&list);
    client.first_frame(4).await;
    client.types("kill c first\nkill where status=init\n").await;
    client.reads(r#"killing c in "init", 0.0s old"#).await;
    let token = token(&mut client).await;
    client.types(&format!("kill {token}\nquit\n")).await;
    client.reads("killing 2 of 4").await;
    client.reads(r#"already killing c: "first""#).await;
    client.reads("forbidden: d may not be killed").await;
    a.check().expect_err("was killed");
    drop(a);
    client.reads(r#"killed a after 0.0s in "init""#).await;
    drop(b);
    client.reads("b ended by itself before the kill reached it").await;
    client
        .reads(
            r#"c is still running 5s after the kill, in "init": it has passed no kill point so far, and may have none"#,
        )
        .await;
    client.reads(&format!("{token}: 1 killed, 1 ended, 1 may not be killed, 1 still running")).await;
    client.reads_the_end().await;
    drop((c, d));
}

/// What has been drawn by now, as text: the escape sequences of a screen taken away.
async fn drawn(client: &mut Client, up_to: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(up_to) {
        let byte = time::timeout(120 * SECOND, client.reader.read_u8()).await.expect("something is drawn");
        text.push(char::from(byte.expect("the pipe is whole")));
        assert!(text.len() < 100_000, "no {up_to:?} in {:?} ..", &text[..3000]);
    }
    text
}

#[tokio::test(start_paused = true)]
async fn top_draws_in_place_and_leaves_the_input_line_alone() {
    let (list, _tasks) = requests(30);
    let mut client = connect(&list);
    client.first_frame(30).await;
    client.types("top 2 40\n").await;
    let first = drawn(&mut client, "\x1b8").await;
    assert!(first.starts_with("\x1b[2J\x1b[1;1H\x1b7\x1b[3;1H\x1b[Kid  status  "), "{first:?}");
    assert!(
        first.contains("\x1b[5;1H\x1b[Kt1 ") && first.contains("\x1b[6;1H\x1b[K... 28 more (limit 2)\x1b8"),
        "{first:?}"
    );
    let second = drawn(&mut client, "\x1b8").await;
    assert!(second.starts_with("\x1b7\x1b[3;1H") && !second.contains('\n'), "{second:?}");
    assert_eq!(client.now(), 3 * SECOND);

    // A reply stands on row 2, the cursor is back on the empty row 1.
    client.types("kill x\n").await;
    let reply = drawn(&mut client, "\x1b8").await;
    assert_eq!(reply, "\x1b[2;1H\x1b[K\x1b[1;1H\x1b[K\x1b7\x1b[2;1H\x1b[Kno such process 'x'\x1b8");

    // Several lines take the place of the table until they have been read.
    client.types("stats\n").await;
    let stats = drawn(&mut client, "table\x1b8").await;
    assert!(
        stats.contains("\x1b[3;1H\x1b[Krunning ") && stats.contains("more lines: they show after plain"),
        "{stats:?}"
    );
    client.types("\n").await;
    assert!(drawn(&mut client, "\x1b8").await.contains("\x1b[3;1H\x1b[Kid  status  "));
    assert_eq!(client.now(), 3 * SECOND);

    client.types("json\n").await;
    assert!(drawn(&mut client, "\x1b8").await.contains("json is for a pipe: type plain before it"));
    client.types("plain\n").await;
    assert!(drawn(&mut client, "\x1b[2J\x1b[1;1H").await.starts_with("\x1b[2;1H"));
    assert_eq!(client.frame(30).await.len(), 30);
    client.types("top\nquit\n").await;
    drawn(&mut client, "\x1b[25;1H\n").await;
    client.reads_the_end().await;
}

/// A service that wants a token: `look` to see, `strike` to kill.
fn guarded(list: &ProcList) -> Arc<Service> {
    let mut access = Access::default();
    access.tokens.see = Some(TokenSource::Text("look".to_string()));
    access.tokens.kill = Some(TokenSource::Text("strike".to_string()));
    service_with(list, access)
}

const TOKEN: &str = "this processlist wants a token: auth <token>";

#[tokio::test(start_paused = true)]
async fn without_a_token_there_is_nothing_to_be_seen_or_done() {
    let list = ProcList::new();
    let task = list.start("a");
    let mut client = connect_as(None, 1 << 20, &guarded(&list));
    client.types("\nkill a\nlist\nstats\n").await;
    for _ in 0..5 {
        client.reads(TOKEN).await;
    }
    client.reads("no token within 10 s: closed").await;
    client.reads_the_end().await;
    assert_eq!(client.now(), 10 * SECOND);
    task.check().expect("nobody killed it");
}

#[tokio::test(start_paused = true)]
async fn a_token_lets_in_and_a_better_one_raises() {
    let list = ProcList::new();
    list.set_cols(["secret"]);
    let _task = list.start("a").secret_col("secret", "8e2b");
    let mut client = connect_as(None, 1 << 20, &guarded(&list));
    client.reads(TOKEN).await;
    client.types("auth look\n").await;
    client.reads("you may see").await;
    client.first_frame(0).await;
    assert!(client.line().await.expect("a row").ends_with("  ***"));
    client.types("kill a\nkill where id=a\nkill @7f3a\nwhere secret=8e2b\nauth look\nauth strike\n").await;
    for _ in 0..3 {
        client.reads("forbidden: you may see, not kill: auth <token> may help").await;
    }
    client.reads_up_to("invalid expression at 'secret': no column of that name (id, status, time, in_status)").await;
    client.reads("you may see").await;
    client.reads("you may see and kill").await;
    client.frame(0).await;
    assert!(client.line().await.expect("a row").ends_with("  8e2b"));
    client.types("auth look\nkill a\n").await;
    client.reads("you may see and kill").await;
    client.reads(r#"killing a in "init", 0.0s old"#).await;
}

#[tokio::test(start_paused = true)]
async fn three_guesses_a_connection_a_second_each_and_the_right_one_is_always_let_in() {
    let service = guarded(&ProcList::new());
    for _ in 0..4 {
        let mut client = connect_as(None, 1 << 20, &service);
        client.reads(TOKEN).await;
        client.types("auth a\nauth b\nauth c\n").await;
        for second in 1..=3 {
            client.reads("wrong token").await;
            assert_eq!(client.now(), second * SECOND);
        }
        client.reads("3 wrong tokens: closed").await;
        client.reads_the_end().await;
        let mut client = connect_as(None, 1 << 20, &service);
        client.reads(TOKEN).await;
        client.types("auth strike\n").await;
        client.reads("you may see and kill").await;
        assert_eq!(client.now(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_way_in_is_looked_at_before_a_token() {
    let service = guarded(&ProcList::new());
    let mut client = connect_as(None, 1 << 20, &service);
    client.reads(TOKEN).await;
    for line in ["delay 18446744073709551615s 1000000000ns", "where time>\"1s", "foo", "kill", ""] {
        client.types(&format!("{line}\n")).await;
        client.reads(TOKEN).await;
    }
    client.types("auth\nhelp\nquit\n").await;
    client.reads("invalid command 'auth': auth <token>").await;
    client.reads_up_to("quit ").await;
}

#[tokio::test(start_paused = true)]
async fn a_first_line_that_is_no_text_ends_the_session_and_a_later_one_does_not() {
    let list = ProcList::new();
    let task = list.start("req1");
    // A TLS record whose length happens to be a line feed, one that holds a NUL, one without a
    // line end for long, one behind empty lines.
    let long = [b"\x16\x03\x01\xff".as_slice(), &[b'x'; 5000]].concat();
    for hello in [b"\x16\x03\x01\n\x00\x01".as_slice(), b"\x16\x03\x01\x02\x00\x01", &long, b"\r\n\n\x16\x03\x01"] {
        let mut client = connect(&list);
        client.first_frame(1).await;
        client.types_bytes(hello).await;
        client.types("\nkill req1 ..\n").await;
        client.reads_up_to("invalid command: not text").await;
        client.reads_the_end().await;
        task.check().expect("nothing after it is executed");
    }
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types_bytes(b"\x1b[A\n\x16\x03\x01\x00\nkill req1 ..\n").await;
    client.reads(r"invalid command '\x1b[A': try help").await;
    client.reads("invalid command: not text").await;
    client.reads_up_to("killing req1 in").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_kills_where_it_is_read_only() {
    let list = ProcList::new();
    let task = list.start("a");
    let service = service_with(&list, Access { read_only: true, ..Access::default() });
    let mut client = connect_as(Some(Role::See), 1 << 20, &service);
    client.first_frame(1).await;
    client.types("kill a\nauth x\n").await;
    client.reads("forbidden: this processlist is read-only").await;
    client.reads("no token is set: you may see").await;
    task.check().expect("nobody killed it");
}

#[tokio::test(start_paused = true)]
async fn a_token_to_kill_only_lets_see_where_it_is_read_only() {
    let list = ProcList::new();
    let task = list.start("a");
    let mut access = Access { read_only: true, ..Access::default() };
    access.tokens.kill = Some(TokenSource::Text("strike".to_string()));
    let mut client = connect_as(None, 1 << 20, &service_with(&list, access));
    client.types("auth strike\nkill a\n").await;
    client.reads(TOKEN).await;
    client.reads("you may see").await;
    client.reads_up_to("forbidden: this processlist is read-only").await;
    task.check().expect("nobody killed it");
}

#[tokio::test] // its frame is made by a thread, which paused time would not wait for
async fn a_set_has_1024_members_at_most_and_only_as_many_as_there_is_room_for_outcomes() {
    let list = ProcList::new();
    let tasks: Vec<_> = (0..1100).map(|n| list.start(format!("t{n}"))).collect();
    let mut client = connect(&list);
    client.types("limit 1\nkill where id~t\n").await;
    client.reads_up_to("... 1050 more").await;
    let line = client.line().await.expect("the way to go on");
    assert!(line.ends_with(" to kill the oldest 1024 of these 1100"), "{line}");
    let token = line.split(' ').nth(1).expect("a token").to_string();
    client.types(&format!("kill t1099\nkill {token}\n")).await;
    client.reads_up_to("killing t1099 in").await;
    client.reads_up_to("too many kills: 1024 outcomes are awaited, try again after the next").await;
    assert_eq!(tasks.iter().filter(|task| task.check().is_err()).count(), 1);
    drop(tasks);
    client.reads_up_to("killed t1099 after").await;
    client.types(&format!("kill {token}\n")).await;
    client.reads_up_to("1024 ended").await;
}

#[tokio::test(start_paused = true)]
async fn the_audit_keeps_the_last_256_kills_of_all_servers() {
    let list = ProcList::new();
    let mut one = connect(&list);
    one.first_frame(0).await;
    for n in 0..260 {
        let task = list.start(format!("t{n}"));
        one.types(&format!("kill t{n}\n")).await;
        one.reads_up_to("killing t").await;
        drop(task);
        one.reads_up_to("ended by itself").await;
    }
    let mut other = connect(&list);
    other.first_frame(0).await;
    other.types("audit\nkill x\n").await;
    for n in 4..260 {
        assert!(other.line().await.expect("a record").contains(&format!(": t{n} \"\": ended after")));
    }
    other.reads("no such process 'x'").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_nothing_is_no_empty_line() {
    let mut client = connect(&ProcList::new());
    client.first_frame(0).await;
    client.types("json\nkill x\ncols id,status,id\n").await;
    client.reads("no such process 'x'").await;
    client.reads("invalid column 'id': it is there already").await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_was_asked_for_is_due_to_who_says_no_more() {
    let (list, _tasks) = requests(20);
    for end in ["", "quit\n"] {
        let mut client = connect(&list);
        client.types(&format!("where uri~/export\nsort -id\nlimit 1\nlist\n{end}")).await;
        client.stops_typing().await;
        client.first_frame(20).await;
        let mut last = Vec::new();
        while let Some(line) = client.line().await {
            last.push(line);
        }
        assert_eq!(last.last().expect("a frame"), "... 1 more (limit 1)", "{last:?}");
        assert!(last[last.len() - 2].starts_with("t10 "), "{last:?}");
        assert_eq!(client.now(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn in_top_the_way_to_kill_a_set_is_always_to_be_seen() {
    let (list, tasks) = requests(50);
    let mut client = connect(&list);
    client.first_frame(50).await;
    client.types("top 5\n").await;
    drawn(&mut client, "\x1b8").await;
    client.types("kill where id~t\n").await;
    let shown = drawn(&mut client, "these 50\x1b8").await;
    assert!(shown.contains("\x1b[K... 45 more\x1b"), "{shown:?}");
    let token = &shown[shown.find("\x1b[2;1H\x1b[Kkill @").expect("on row 2") + "\x1b[2;1H\x1b[Kkill ".len()..][..5];
    // A mistake leaves it there.
    client.types("kil\n").await;
    let mistake = "\x1b[2;1H\x1b[Kinvalid command 'kil': try help\x1b[3;1H\x1b[Kkill ";
    drawn(&mut client, &format!("{mistake}{token} <message> to kill these 50\x1b8")).await;
    client.types(&format!("kill {token} x\n")).await;
    drawn(&mut client, "\x1b7\x1b[2;1H\x1b[Kkilling 50 of 50\x1b8").await;
    assert!(tasks.iter().all(|task| task.check().is_err()));
    // The table goes on by itself when the outcomes are in.
    let at = client.now();
    drop(tasks);
    let sum = drawn(&mut client, "50 killed\x1b8").await;
    assert!(sum.ends_with(&format!("killing 50 of 50\x1b[3;1H\x1b[K{token}: 50 killed\x1b8")), "{sum:?}");
    drawn(&mut client, "\x1b[4;1H\x1b[Kid  status  time  method  uri\x1b[5;1H\x1b[K\x1b").await;
    assert_eq!(client.now(), at, "and not after 30 s");
}

#[tokio::test(start_paused = true)]
async fn no_row_is_an_empty_line() {
    let list = ProcList::new();
    list.set_cols(["", " ", "uri"]);
    let task = list.start("a");
    task.set_status("   ");
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("cols status,uri\nquit\n").await;
    client.reads("").await;
    client.reads("status  uri").await;
    client.reads("-").await;
    client.reads_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn an_id_of_control_characters_widens_its_own_row_only() {
    let list = ProcList::new();
    let wide = "\x07".repeat(256);
    let _tasks = [list.start("a"), list.start(wide.clone()), list.start("b")];
    let mut client = connect(&list);
    let lines = [(); 4].map(|()| String::new());
    let mut shown = Vec::new();
    for _ in lines {
        shown.push(client.line().await.expect("a line"));
    }
    assert!([0, 1, 3].iter().all(|at| shown[*at].len() < 30), "{shown:?}");
    let name = "\\x07".repeat(256);
    assert!(shown[2].starts_with(&format!("{name}  init  ")), "{shown:?}");
    client.types(&format!("kill {name}\n")).await;
    client.reads_up_to("killing ").await;
}

#[tokio::test(start_paused = true)]
async fn names_with_blanks_and_dashes_stand_between_quotes() {
    let list = ProcList::new();
    list.set_cols(["my column", "-dash"]);
    let _a = list.start("a").col("my column", "x").col("-dash", "10000000000000001");
    let _b = list.start("b").col("my column", "y").col("-dash", "10000000000000000");
    let mut client = connect(&list);
    assert_eq!(client.first_frame(2).await, ["a", "b"]);
    client.types("sort -\"my column\"\n").await;
    assert_eq!(client.frame(2).await, ["b", "a"]);
    client.types("sort \"-dash\"\n").await;
    assert_eq!(client.frame(2).await, ["b", "a"]);
    client.types("sort --dash\n").await;
    assert_eq!(client.frame(2).await, ["a", "b"]);
    client.types("cols id,'my column'\nby 'my column'\nsort \"my\nwhere -dash>10000000000000000\nquit\n").await;
    client.reads_up_to("id  my column").await;
    client.reads_up_to("my column  count").await;
    client.reads_up_to("invalid column '\"my': the closing quote is missing").await;
    client.reads_up_to("id  my column").await;
    client.reads("a   x").await;
    client.reads_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn ids_of_two_quotes_are_found_as_they_print() {
    let list = ProcList::new();
    let _tasks = ["\"\"", "''", "a"].map(|id| list.start(id));
    let mut client = connect(&list);
    client.first_frame(3).await;
    for (expr, id) in [("id=\"\"", "\"\""), ("id=''", "''"), ("id='a'", "a")] {
        client.types(&format!("where {expr}\n")).await;
        assert_eq!(client.frame(1).await, [id]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_holds_its_tasks_for_a_minute_and_no_longer() {
    let list = ProcList::new();
    list.keep_done(0);
    let task = list.start("a");
    let entry = Arc::downgrade(&task.entry);
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("delay 1h\nkill where id=a\n").await;
    client.reads_up_to("to kill this one").await;
    drop(task);
    assert!(entry.upgrade().is_some());
    time::sleep(59 * SECOND).await;
    assert!(entry.upgrade().is_some());
    time::sleep(2 * SECOND).await;
    assert!(entry.upgrade().is_none(), "nobody had to type anything");
}

#[tokio::test(start_paused = true)]
async fn in_top_no_answer_is_cut_and_the_last_kills_are_shown() {
    let list = ProcList::new();
    for n in 0..30 {
        let task = list.start("a");
        list.kill("a", format!("{n} {}", "x".repeat(100))).expect("it runs");
        drop(task);
    }
    let _task = list.start("a").col("a column with a long name, which the table does not print", "");
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("top 4 60\naudit\n").await;
    drawn(&mut client, "\x1b8").await;
    let audit = drawn(&mut client, "table\x1b8").await;
    assert!(audit.contains("lines before these: they show after plain\x1b"), "{audit:?}");
    assert!(audit.contains("by the program: a \"29\x1b") && audit.contains("ended after 0.0s\x1b["), "{audit:?}");
    // It does not stand above the answer to an earlier question.
    client.types("show b\n").await;
    assert!(drawn(&mut client, "table\x1b8").await.contains("\x1b[3;1H\x1b[Kno such process 'b'\x1b[4;1H\x1b[K\x1b"));
    // A long reply takes rows of the table, until the next line.
    client.types("\nwhere b=1\n").await;
    let fault = drawn(&mut client, "print)\x1b8").await;
    assert!(fault.ends_with("which\x1b[4;1H\x1b[Kthe table does not print)\x1b8"), "{fault:?}");
    let table = drawn(&mut client, "\x1b8").await;
    assert!(table.starts_with("\x1b7\x1b[5;1H\x1b[Kid  status") && !table.contains("\x1b[9;1H"), "{table:?}");
    client.types("foo\n").await;
    let fault = drawn(&mut client, "help\x1b8").await;
    assert!(fault.starts_with("\x1b[4;1H\x1b[K\x1b[3;1H\x1b[K\x1b[2;1H\x1b[K\x1b[1;1H\x1b[K"), "{fault:?}");
    assert!(fault.contains("\x1b7\x1b[3;1H\x1b[Kid  status"), "{fault:?}");
    assert!(fault.ends_with("\x1b7\x1b[2;1H\x1b[Kinvalid command 'foo': try help\x1b8"), "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn in_top_an_outcome_stands_below_what_was_answered() {
    let (list, mut tasks) = requests(30);
    let mut client = connect(&list);
    client.first_frame(30).await;
    client.types("top 4 80\nkill t0 t1\n").await;
    let killing = r#"killing t0 in "init", 0.0s old: the rest of the line is its message"#;
    drawn(&mut client, &format!("\x1b7\x1b[2;1H\x1b[K{killing}\x1b8")).await;
    tasks.remove(0).check().expect_err("it was killed");
    let killed = drawn(&mut client, "\x1b8").await;
    let outcome = r#"killed t0 after 0.0s in "init""#;
    assert_eq!(killed, format!("\x1b7\x1b[2;1H\x1b[K{killing}\x1b[3;1H\x1b[K{outcome}\x1b8"));
    // The table has moved down, and the next one is as much shorter.
    drawn(&mut client, "\x1b[4;1H\x1b[Kid  status").await;
    drawn(&mut client, "\x1b[4;1H\x1b[Kid  status").await;
    let rows = drawn(&mut client, "\x1b8").await;
    assert!(
        rows.contains("\x1b[7;1H\x1b[Kt3 ") && rows.ends_with("\x1b[8;1H\x1b[K... 26 more (limit 3)\x1b8"),
        "{rows:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn in_top_the_table_comes_back_with_a_kill_and_a_mistake_leaves_the_answer() {
    let (list, _tasks) = requests(3);
    let mut client = connect(&list);
    client.first_frame(3).await;
    client.types("top 8 80\nby status\n").await;
    drawn(&mut client, "back to the table\x1b8").await;
    client.types("kil t0\n").await;
    let mistake = "\x1b[2;1H\x1b[Kinvalid command 'kil': try help";
    drawn(&mut client, &format!("{mistake}\x1b[3;1H\x1b[KEnter: back to the table\x1b8")).await;
    drawn(&mut client, "\x1b[4;1H\x1b[Kstatus  count").await;
    drawn(&mut client, "\x1b8").await;
    let at = client.now();
    client.types("kill t0\n").await;
    drawn(&mut client, "\x1b[2;1H\x1b[Kkilling t0 in \"init\", 0.0s old\x1b8").await;
    drawn(&mut client, "\x1b[4;1H\x1b[Kt0  init (killing 0.0s)  ").await;
    assert_eq!(client.now(), at, "at once");
}

#[tokio::test(start_paused = true)]
async fn in_top_what_was_asked_for_last_is_not_overwritten_by_other_news() {
    let (list, mut tasks) = requests(3);
    let mut client = connect(&list);
    client.first_frame(3).await;
    client.types("top 4 80\nkill t0\nkill t1\n").await;
    drawn(&mut client, "killing t1 in \"init\", 0.0s old\x1b8").await;
    drop(tasks.remove(1));
    let own = "\x1b[3;1H\x1b[Kt1 ended by itself before the kill reached it";
    drawn(&mut client, &format!("{own}\x1b8")).await;
    drawn(&mut client, "it has passed no kill point so\x1b[5;1H\x1b[Kfar, and may have none\x1b8").await;
    drop(tasks.remove(0));
    drawn(&mut client, &format!("{own}\x1b[4;1H\x1b[Kt0 ended by itself before the kill reached it\x1b8")).await;
}

#[tokio::test(start_paused = true)]
async fn in_top_the_outcomes_of_a_family_stand_below_its_reply_until_the_table_is_back() {
    let list = ProcList::new();
    let parent = list.start("p");
    let (child, _refuses) = (parent.child("a"), parent.child("b").forbid_kill());
    let mut client = connect(&list);
    client.first_frame(3).await;
    client.types("top 8 80\nkill p\n").await;
    let killing = r#"killing p in "init", 0.0s old, and 1 below it"#;
    drawn(&mut client, &format!("\x1b[3;1H\x1b[K{killing}\x1b[4;1H\x1b[Kforbidden: p/b may not be killed\x1b[5;1H"))
        .await;
    drop(child);
    drawn(&mut client, "\x1b[5;1H\x1b[Kp/a ended by itself before the kill reached it\x1b[6;1H\x1b[K\x1b").await;
    parent.check().expect_err("it was killed");
    drop(parent);
    let sum = "p, and 1 below it: 1 killed, 1 ended, 1 may not be killed";
    drawn(&mut client, &format!("\x1b7\x1b[2;1H\x1b[K{killing}\x1b[3;1H\x1b[K{sum}\x1b8")).await;
    drawn(&mut client, "\x1b[4;1H\x1b[Kid ").await;
}

#[tokio::test(start_paused = true)]
async fn in_top_a_where_that_leaves_tasks_out_is_to_be_seen() {
    let (list, _tasks) = requests(30);
    let mut client = connect(&list);
    client.first_frame(30).await;
    client.types("top 4 80\nwhere id~t2\n").await;
    drawn(&mut client, "\x1b[K... 7 more (limit 4), 19 that where leaves out\x1b8").await;
    client.types("where id=t2\n").await;
    drawn(&mut client, "\x1b[K... 29 more that where leaves out\x1b[").await;
    client.types("where id~t\n").await;
    drawn(&mut client, "\x1b[K... 26 more (limit 4)\x1b8").await;
    // Not where a script may read it.
    client.types("plain\nwhere id=t2\nquit\n").await;
    drawn(&mut client, "\n\nid  status    time  method  uri\nt2  init    ").await;
    assert!(!drawn(&mut client, "\n").await.contains("..."));
    client.reads_the_end().await;
}

#[tokio::test(start_paused = true)]
async fn in_top_what_looks_like_the_table_is_live() {
    let (list, _tasks) = requests(3);
    let mut client = connect(&list);
    client.first_frame(3).await;
    client.types("top 4 60\nby status\n").await;
    drawn(&mut client, "back to the table\x1b8").await;
    client.types("where id=t1\n").await;
    drawn(&mut client, "\x1b[Kt1 ").await;
    let asked = client.now();
    drawn(&mut client, "\x1b[Kt1 ").await;
    assert_eq!(client.now(), asked + 3 * SECOND, "it goes on");
    // One that stands still because the client wants it so says so.
    client.types("\n").await;
    drawn(&mut client, "frozen: type a command, or Enter to go on\x1b8").await;
    client.types("where\n").await;
    drawn(&mut client, "\x1b[Kt2 ").await;
    drawn(&mut client, "frozen: type a command, or Enter to go on\x1b8").await;
    let asked = client.now();
    drawn(&mut client, "\x1b[Kt2 ").await;
    assert_eq!(client.now(), asked + 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn in_top_every_column_is_to_be_seen() {
    let list = ProcList::new();
    list.set_cols(["host", "method", "uri"]);
    let task = list.start("req1").col("host", "127.0.0.1:18364").col("method", "GET").col("uri", "/users/5/friends");
    task.set_status("s".repeat(200));
    let mut client = connect(&list);
    client.first_frame(1).await;
    client.types("top\n").await;
    let drawn = drawn(&mut client, "\x1b8").await;
    let lines: Vec<_> = drawn.split("\x1b[K").collect();
    let header = lines.iter().find(|line| line.starts_with("id ")).expect("a header");
    assert!(header.contains("method  uri"), "{header:?}");
    let row = lines.iter().find(|line| line.starts_with("req1  sss")).expect("a row");
    assert!(row.contains("  0.0") && row.contains("127.0.0.1:18364  GET     /users/5/friends"), "{row:?}");
}
