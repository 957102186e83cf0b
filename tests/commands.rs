//! Commands of the program's own at the port.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use pm::{Invocation, Outcome, PortCommand, ProcList, Reply, Role};

mod port;
use port::Client;

fn echo() -> PortCommand {
    PortCommand::new("echo", |call: Invocation| async move { Ok(call.args) })
}

fn serve(list: &ProcList, commands: impl IntoIterator<Item = PortCommand>) -> SocketAddr {
    list.server().commands(commands).spawn(":0").unwrap()
}

#[test]
fn it_takes_the_rest_of_the_line_as_it_was_typed_and_is_in_help() {
    let list = ProcList::new();
    let addr = serve(
        &list,
        [echo().usage("echo <text>").help("says it again"), PortCommand::new("reload", |_| async { Ok(()) })],
    );
    let mut client = Client::connect(addr);
    assert_eq!(client.asks("ECHO  two  blanks 'inside' \x1b[2J"), r"two  blanks 'inside' \x1b[2J");
    assert_eq!(client.asks("reload"), "done");
    client.types("help\n");
    client.up_to("quit");
    client.up_to("Ctrl-R");
    assert_eq!(client.line(), "commands of this program:");
    assert_eq!(client.line(), "echo <text>              says it again");
    assert_eq!(client.line(), "reload");
}

#[test]
fn an_error_is_a_fault_and_a_panic_ends_nothing() {
    let list = ProcList::new();
    let fails = PortCommand::new("fails", |_| async { Err::<(), _>("no such level 'x\n'".into()) });
    let panics = PortCommand::new("panics", |_| async {
        std::panic::resume_unwind(Box::new("a bug"));
        #[allow(unreachable_code)]
        Ok(())
    });
    let addr = serve(&list, [fails, panics, echo()]);
    let mut client = Client::connect(addr);
    assert_eq!(client.asks("fails"), r"no such level 'x\n'");
    assert_eq!(client.asks("panics"), "panics panicked");
    assert_eq!(client.asks("echo a"), "a");
    for _ in 0..9 {
        client.asks("fails");
    }
    client.types("fails\n");
    client.up_to("10 faulty lines in a row: closed");
}

#[test]
fn one_that_needs_the_role_to_kill_is_refused_without_it_and_is_in_the_audit() {
    let list = ProcList::new();
    let flush =
        || PortCommand::new("flush", |call: Invocation| async move { Ok(call.peer.to_string()) }).role(Role::Kill);
    let read_only = list.server().read_only().command(flush()).spawn(":0").unwrap();
    assert_eq!(Client::connect(read_only).asks("flush all"), "forbidden: this processlist is read-only");
    let mut client = Client::connect(serve(&list, [flush(), echo()]));
    let peer = client.asks("flush all");
    assert!(peer.contains(" at 127.0.0.1:"), "{peer}");
    client.asks("echo not in the audit");
    let record = client.asks("audit");
    assert!(record.ends_with(&format!("Z {peer}: \"flush all\": ended")), "{record}");
    assert_eq!(client.asks("kill nobody"), "no such process 'nobody'", "and nothing else is");
}

#[test]
fn one_for_rows_is_called_for_a_task_or_for_those_that_were_shown() {
    let list = ProcList::new();
    let tasks = ["a", "b", "c"].map(|id| list.start(id).col("uri", format!("/{id}")));
    let called = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&called);
    let hurry = PortCommand::new("hurry", move |call: Invocation| {
        let task = call.task.expect("it is for rows");
        seen.lock().unwrap().push((task.id.clone(), call.args));
        async move { if task.id == "b" { Err("no".into()) } else { Ok(task.cols[0].1.clone()) } }
    })
    .usage("hurry <id> [level]")
    .on_rows();
    let mut client = Client::connect(serve(&list, [hurry]));
    assert_eq!(client.asks("hurry"), "invalid command 'hurry': hurry <id> [level]");
    assert_eq!(client.asks("hurry x"), "no such process 'x'");
    assert_eq!(client.asks("hurry a  very  much"), "/a");
    client.types("hurry where id!=c\n");
    let next = client.up_to("hurry @");
    assert!(next.ends_with(" to hurry these 2"), "{next}");
    let token = next.split(' ').nth(1).unwrap().to_string();
    assert_eq!(
        client.asks(&format!("kill {token}")),
        format!("no such set '{token}': kill where <expression> shows one, for 60 s")
    );
    assert_eq!(client.asks(&format!("hurry {token} now")), "a: /a");
    assert_eq!((client.line(), client.line()), ("b: no".to_string(), "1 of 2 done".to_string()));
    let calls: Vec<_> = called.lock().unwrap().iter().map(|(id, args)| format!("{id} {args}")).collect();
    assert_eq!(calls, ["a very  much", "a now", "b now"]);
    assert!(client.asks(&format!("hurry {token}")).starts_with("no such set"));
    drop(tasks);
}

#[test]
fn one_whose_row_is_optional_is_called_with_the_whole_line_where_there_is_none() {
    let list = ProcList::new();
    let _task = list.start("a");
    let tell = PortCommand::new("tell", |call: Invocation| async move {
        Ok(format!("{:?} with '{}'", call.task.map(|task| task.id), call.args))
    });
    let mut client = Client::connect(serve(&list, [tell.on_rows().optional_row()]));
    assert_eq!(client.asks("tell a  very  much"), r#"Some("a") with 'very  much'"#);
    assert_eq!(client.asks("tell b  very  much"), "None with 'b  very  much'");
    assert_eq!(client.asks("tell -f a"), "None with '-f a'");
    assert!(client.asks("tell").starts_with("invalid command 'tell'"));
    assert!(client.asks("tell @7f3a").starts_with("no such set '@7f3a'"));
    client.types("tell where id=a\n");
    client.up_to("to tell this one");
}

#[test]
fn lines_that_follow_stop_at_enter_and_at_the_next_command() {
    let list = ProcList::new();
    let _task = list.start("a");
    let follow = || {
        stream::iter(1..).then(|n: u64| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            n.to_string()
        })
    };
    let log = PortCommand::new("log", move |_| async move { Ok(Reply::lines(follow())) }).role(Role::Kill);
    let few = PortCommand::new("few", |_| async { Ok(Reply::lines(stream::iter(["x".to_string(), String::new()]))) });
    let mut client = Client::connect(serve(&list, [log, few]));
    assert_eq!(client.asks("log"), "1");
    client.up_to("3");
    client.types("\n");
    client.up_to("id  status"); // frames come again
    client.types("log\n");
    client.up_to("2");
    client.types("kill a too slow\n");
    client.up_to("killing a in");
    client.types("few\n");
    client.up_to("x");
    assert_eq!(client.line(), "-");
    client.types("audit\n");
    client.up_to("\"log\": stopped");
}

#[test]
fn it_is_dropped_when_its_client_is_gone() {
    let list = ProcList::new();
    let (tell, told) = mpsc::channel();
    struct Tells(mpsc::Sender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let forever = PortCommand::new("forever", move |_| {
        let tells = Tells(tell.clone());
        async move {
            let _tells = tells;
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    let addr = list.server().delay(Duration::from_millis(100)).command(forever).spawn(":0").unwrap();
    let mut client = Client(BufReader::new(TcpStream::connect(addr).unwrap()));
    client.types("forever\n");
    client.up_to("id");
    client.up_to("id"); // frames go on meanwhile
    drop(client);
    told.recv_timeout(Duration::from_secs(20)).expect("its future is dropped");
}

#[test]
fn a_name_that_is_taken_or_cannot_be_typed_is_refused_at_bind() {
    for name in ["kill", "LIST", "exit", "", "two words", "caf\u{e9}", "GET", "@a", "Host:"] {
        let error =
            ProcList::new().server().command(PortCommand::new(name, |_| async { Ok(()) })).spawn(":0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
    }
    let error = ProcList::new().server().command(echo()).command(echo()).spawn(":0").unwrap_err();
    assert_eq!(error.to_string(), r#"the command "echo" cannot be added: the name is taken"#);
}

#[test]
fn a_kill_of_the_program_is_in_the_audit_and_needs_no_runtime() {
    let list = ProcList::new();
    let task = list.start("job7");
    let pending = list.request_kill("job7", "deadline of 2s").unwrap();
    task.check().unwrap_err();
    task.done_with("rolled back");
    let ending = pending.try_outcome().unwrap();
    assert_eq!((ending.outcome, ending.note.as_deref()), (Outcome::Killed, Some("rolled back")));
    let record = Client::connect(serve(&list, [])).asks("audit");
    assert!(record.contains("Z by the program: job7 \"deadline of 2s\": killed after 0."), "{record}");
    assert!(record.ends_with("s: rolled back"), "{record}");
}

/// An error that cannot be told, and a stream that ends badly.
struct Bad;

impl std::fmt::Display for Bad {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::panic::resume_unwind(Box::new("a bug"))
    }
}

impl std::fmt::Debug for Bad {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Bad {}

impl Drop for Bad {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("a bug"));
        }
    }
}

#[test]
fn nothing_of_a_command_ends_the_session_and_lines_without_end_can_be_stopped() {
    let list = ProcList::new();
    let bad_error = PortCommand::new("error", |_| async { Err::<(), _>(Box::new(Bad).into()) });
    let bad_stream = PortCommand::new("stream", |_| async {
        let line = |n: u64| if n == 2 { std::panic::resume_unwind(Box::new("a bug")) } else { n.to_string() };
        Ok(Reply::lines(stream::iter(0..5).map(line)))
    });
    let endless = PortCommand::new("endless", |_| async {
        let bad = Bad;
        Ok(Reply::lines(stream::iter(0_u64..).map(move |n| {
            let _kept = &bad;
            n.to_string()
        })))
    });
    let touch = PortCommand::new("touch", |_| async { Ok("one\ntwo") }).role(Role::Kill).on_rows();
    let _tasks = ["a\nb", "c"].map(|id| list.start(id));
    let mut client = Client::connect(serve(&list, [bad_error, bad_stream, endless, touch]));
    assert_eq!(client.asks("error"), "error panicked");
    assert_eq!(client.asks("stream"), "0");
    assert_eq!((client.line(), client.line()), ("1".to_string(), "stream panicked".to_string()));
    client.types("endless\n");
    client.up_to("100");
    client.types("kill nobody\n");
    while client.line() != "no such process 'nobody'" {}
    client.types("touch where time>=0\n");
    let next = client.up_to("touch @");
    client.types(&format!("touch {} x\n", next.split(' ').nth(1).unwrap()));
    client.up_to(r"a\nb: one");
    assert_eq!(client.line(), r"a\nb: two");
    client.up_to("2 of 2 done");
    client.types("audit\n");
    client.up_to(r#""touch a\\nb x": ended"#);
}
