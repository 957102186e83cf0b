//! The transitions of a dialogue, by calling it: no socket, no timer, no runtime.

use super::*;
use crate::access::{Access, PeerLookup, TokenSource};
use crate::list::ProcList;
use crate::port_command::Invocation;

const SECOND: Duration = Duration::from_secs(1);

struct Client {
    dialogue: Dialogue,
    list: ProcList,
    now: Instant,
}

impl Client {
    fn new(role: Option<Role>, access: Access, commands: Vec<PortCommand>) -> Self {
        let (list, now) = (ProcList::new(), Instant::now());
        let (service, _worker) = Service::new(list.clone(), access, PeerLookup::open(), 3 * SECOND, 1000, commands);
        let admitted = Admitted { role, peer: Arc::new(Peer { user: None, address: None }) };
        Client { dialogue: Dialogue::new(service, admitted, now), list, now }
    }

    /// One that has its first frame.
    fn streaming() -> Self {
        let mut client = Client::new(Some(Role::Kill), Access::default(), Vec::new());
        assert!(!client.dialogue.wants_line(client.now), "the first frame comes before the first command");
        client.makes_frame("one\n");
        assert_eq!(client.said(), "one\n");
        client
    }

    fn types(&mut self, line: &str) {
        assert!(self.dialogue.wants_line(self.now), "{line}");
        self.dialogue.on_line(Line::Text(line.to_string()), self.now);
    }

    /// Takes the next job, which is for a frame, and does it.
    fn makes_frame(&mut self, table: &str) -> (View, Wish) {
        let (id, job) = self.dialogue.next_job(self.now).expect("a job");
        let Job::Frame(view, wish) = job else { panic!("it is for a frame") };
        self.dialogue.on_made(id, Made::Frame(Frame::new(table, self.now, Duration::ZERO)), self.now);
        (view, wish)
    }

    fn answers(&mut self, answer: Answer) {
        let (id, job) = self.dialogue.next_job(self.now).expect("a job");
        assert!(matches!(job, Job::Answer(..)));
        self.dialogue.on_made(id, Made::Answer(answer), self.now);
    }

    fn goes_on(&mut self, time: Duration) {
        self.now += time;
        self.dialogue.on_time(self.now);
    }

    /// All that is to be sent.
    fn said(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(chunk) = self.dialogue.out.next() {
            said.extend_from_slice(chunk);
            let all = chunk.len();
            self.dialogue.out.sent(all, self.now);
        }
        String::from_utf8(said).expect("text")
    }
}

#[test]
fn enter_while_a_frame_is_being_made_freezes_and_the_frame_is_not_shown() {
    let mut client = Client::streaming();
    client.goes_on(3 * SECOND);
    let (id, _) = client.dialogue.next_job(client.now).expect("a frame is due");
    assert!(client.dialogue.awaits(id) && client.dialogue.next_job(client.now).is_none());
    client.types("");
    assert!(!client.dialogue.awaits(id), "the session drops it");
    client.dialogue.on_made(id, Made::Frame(Frame::new("late\n", client.now, SECOND)), client.now);
    assert_eq!(client.said(), "frozen: type a command, or Enter to go on\n");
    assert_eq!(client.dialogue.wake_at(client.now), Some(client.now + FROZEN));
    client.types("");
    client.makes_frame("two\n");
    assert_eq!(client.said(), "\ntwo\n");
}

#[test]
fn work_that_is_due_is_begun_and_not_waited_for() {
    let mut client = Client::streaming();
    assert_eq!(client.dialogue.wake_at(client.now), Some(client.now + 3 * SECOND));
    client.types("list");
    let (view, wish) = client.makes_frame("two\n");
    assert!(wish.is_asked && view.filter.is_none());
    assert_eq!(client.said(), "\ntwo\n");
    client.goes_on(3 * SECOND);
    let (_, wish) = client.makes_frame("three\n");
    assert!(!wish.is_asked && wish.newer_than.is_some());
}

#[test]
fn no_line_is_read_before_the_answer_is_there() {
    let mut client = Client::streaming();
    client.types("where id=a");
    assert!(!client.dialogue.wants_line(client.now));
    let view = View::new(7, Role::clearance(Some(Role::Kill)));
    client.answers(Answer::View(view));
    assert!(!client.dialogue.wants_line(client.now), "the table of it is part of the answer");
    assert_eq!(client.makes_frame("two\n").0.limit, 7);
    assert!(client.dialogue.wants_line(client.now));
    assert_eq!(client.said(), "\ntwo\n");
}

#[test]
fn a_table_that_is_older_than_an_outcome_is_made_again() {
    let mut client = Client::streaming();
    let task = client.list.start("a");
    client.types("kill a");
    let kill = client.dialogue.kills.take_new().remove(0);
    client.said();
    client.types("list");
    let (id, _) = client.dialogue.next_job(client.now).expect("a job");
    let old = Frame::new("a is running\n", client.now, Duration::ZERO);
    drop(task);
    client.goes_on(SECOND);
    client.dialogue.on_kill_ended(&kill, client.now);
    client.dialogue.on_made(id, Made::Frame(old), client.now);
    assert!(!client.dialogue.wants_outcomes(), "no outcome makes it old again");
    client.makes_frame("nothing\n");
    assert!(client.dialogue.wants_outcomes());
    assert_eq!(client.said(), "a ended by itself before the kill reached it\n\nnothing\n");
}

#[test]
fn a_kill_that_takes_long_is_told_once_five_seconds_after_the_first_kill() {
    let mut client = Client::streaming();
    let _tasks = ["a", "b"].map(|id| client.list.start(id));
    client.list.kill("a", "first").expect("is running");
    client.goes_on(11 * SECOND);
    client.types("kill a");
    client.types("kill b");
    client.goes_on(Duration::ZERO);
    let said = client.said();
    let [first, second, third] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(first, "already killing a: \"first\"");
    assert!(second.starts_with("killing b in") && third.starts_with("a is still running 1"), "at once: {said}");
    client.goes_on(4 * SECOND);
    assert_eq!(client.said(), "");
    client.goes_on(2 * SECOND);
    assert!(client.said().starts_with("b is still running "));
    client.goes_on(60 * SECOND);
    assert_eq!(client.said(), "");
}

#[test]
fn the_end_of_input_waits_for_outcomes_and_for_the_first_table() {
    let mut client = Client::new(Some(Role::Kill), Access::default(), Vec::new());
    let (late, _) = client.dialogue.next_job(client.now).expect("the first frame");
    client.goes_on(SECOND);
    assert!(client.dialogue.wants_line(client.now) && client.dialogue.awaits(late));
    let task = client.list.start("a");
    client.types("kill a");
    client.dialogue.on_end_of_input(client.now);
    client.makes_frame("one\n");
    assert!(!client.dialogue.wants_line(client.now) && !client.dialogue.is_over());
    client.goes_on(5 * SECOND);
    let said = client.said();
    assert!(said.starts_with("killing a in \"init\"") && said.contains("\none\n"), "{said}");
    assert!(said.ends_with(
        "a is still running 5s after the kill, in \"init\": it has passed no kill point so far, and may have none\n"
    ));
    assert!(client.dialogue.is_over());
    drop(task);
}

#[test]
fn a_client_without_a_role_has_ten_seconds_and_a_token_opens() {
    let mut access = Access::default();
    access.tokens.see = Some(TokenSource::Text("look".to_string()));
    let mut client = Client::new(None, access, Vec::new());
    client.types("list");
    client.types("nonsense");
    assert_eq!(client.said(), format!("{TOKEN_FIRST}\n").repeat(3));
    assert_eq!(client.dialogue.wake_at(client.now), Some(client.now + TOKEN_WITHIN));
    client.types("auth look");
    let (id, job) = client.dialogue.next_job(client.now).expect("a job");
    assert!(matches!(job, Job::Auth(token) if token == "look"));
    client.dialogue.on_made(id, Made::Auth(AuthResult::Right(Role::See)), client.now);
    client.makes_frame("one\n");
    assert_eq!(client.said(), "you may see\n");
    client.makes_frame("one\n");
    assert_eq!(client.said(), "one\n", "no frame before what was said");
}

#[test]
fn a_token_that_comes_too_late_opens_nothing() {
    let mut access = Access::default();
    access.tokens.see = Some(TokenSource::Text("look".to_string()));
    let mut client = Client::new(None, access, Vec::new());
    client.types("auth look");
    let (id, _) = client.dialogue.next_job(client.now).expect("a job");
    client.goes_on(TOKEN_WITHIN);
    client.dialogue.on_made(id, Made::Auth(AuthResult::Right(Role::See)), client.now);
    assert_eq!(client.said(), format!("{TOKEN_FIRST}\nno token within 10 s: closed\n"));
    assert!(client.dialogue.is_over());
}

#[test]
fn lines_that_follow_stay_on_their_row_of_the_screen_and_leave_a_frozen_table_frozen() {
    let log = PortCommand::new("log", |_: Invocation| async { Ok("") });
    let mut client = Client::new(Some(Role::Kill), Access::default(), vec![log]);
    client.makes_frame("one\n");
    for line in ["top", "", "log"] {
        if line.is_empty() {
            client.makes_frame("one\n");
        }
        client.types(line);
    }
    let (id, _) = client.dialogue.next_job(client.now).expect("a job");
    client.dialogue.on_made(id, Made::Called(Called::Lines), client.now);
    client.said();
    client.dialogue.on_followed(Some("a\nb".to_string()), client.now);
    assert!(client.dialogue.is_following() && client.said().contains("\x1b[2;1H\x1b[Kb\x1b8"));
    client.dialogue.on_followed(None, client.now);
    assert_eq!(client.dialogue.wake_at(client.now), Some(client.now + FROZEN));
}

#[test]
fn a_command_of_the_program_is_pending_while_frames_go_on() {
    let drain = PortCommand::new("drain", |_: Invocation| async { Ok("drained") });
    let mut client = Client::new(Some(Role::Kill), Access::default(), vec![drain]);
    client.makes_frame("one\n");
    client.said();
    client.types("drain now");
    let (id, job) = client.dialogue.next_job(client.now).expect("a job");
    assert!(matches!(job, Job::Call(call) if call.args == "now") && !client.dialogue.wants_line(client.now));
    client.goes_on(3 * SECOND);
    client.makes_frame("two\n");
    assert_eq!(client.said(), "\ntwo\n");
    client.goes_on(2 * SECOND);
    assert_eq!(client.said(), "drain is still running after 5s\n");
    client.dialogue.on_made(id, Made::Called(Called::Text("drained\n\n\x1b[2J".to_string())), client.now);
    assert_eq!(client.said(), "drained\n-\n\\x1b[2J\n");
    assert!(client.dialogue.wants_line(client.now));
}

#[test]
fn a_client_that_sends_lines_all_the_time_is_read_no_faster_than_one_in_5_ms() {
    let mut client = Client::streaming();
    for _ in 0..1000 {
        client.types("kill nobody");
        client.said();
    }
    assert!(!client.dialogue.wants_line(client.now));
    assert_eq!(client.dialogue.wake_at(client.now), Some(client.now + LINE_EVERY));
    client.goes_on(LINE_EVERY);
    client.types("kill nobody");
    assert!(!client.dialogue.wants_line(client.now));
}

#[test]
fn what_could_not_be_made_is_said_and_the_session_goes_on() {
    let mut client = Client::streaming();
    client.types("json");
    let (id, _) = client.dialogue.next_job(client.now).expect("a job");
    client.dialogue.on_made(id, Made::Failed, client.now);
    assert!(client.said().starts_with("internal error") && client.dialogue.wants_line(client.now));
}
