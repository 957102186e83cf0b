//! The real `nc`, as it is typed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use pm::ProcList;

/// An `nc` to the port of `list`. Only OpenBSD's closes its half of the connection at the end of its input.
fn nc(list: &ProcList, args: &[&str]) -> Child {
    let addr = list.spawn(":0").unwrap();
    let port = addr.port().to_string();
    let mut command = Command::new("nc");
    // Idle for 20 s: the test has failed, and must not hang.
    command.args(args).args(["-w", "20", "localhost", &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap)
}

#[test]
#[ignore = "needs nc with the option -N (netcat-openbsd)"]
fn a_pipe_into_nc_prints_the_table_the_kill_and_its_outcome_and_ends() {
    let list = ProcList::new();
    list.set_cols(["uri"]);
    let task = list.start("proc2").col("uri", "/users/");
    task.set_status("sorting");
    let mut nc = nc(&list, &["-N"]);
    nc.stdin.take().unwrap().write_all(b"kill proc2 too slow\n").unwrap();
    let victim = thread::spawn(move || {
        while task.try_status("sorting").is_ok() {
            thread::yield_now();
        }
    });
    let lines: Vec<_> = lines(&mut nc).collect();
    victim.join().unwrap();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("id     status ") && lines[0].ends_with("time  uri"), "{lines:?}");
    assert!(lines[1].starts_with("proc2  ") && lines[1].ends_with("  /users/"), "{lines:?}");
    let told = &lines[2];
    assert!(told.starts_with(r#"killing proc2 in "sorting", 0."#) && told.ends_with("s old"), "{told}");
    assert!(lines[3].starts_with("killed proc2 after 0.") && lines[3].ends_with(r#" in "sorting""#), "{lines:?}");
    assert!(nc.wait().unwrap().success());
}

#[test]
#[ignore = "needs nc with the option -N (netcat-openbsd)"]
fn a_person_at_nc_types_reads_and_leaves() {
    let list = ProcList::new();
    let task = list.start("req2");
    let mut nc = nc(&list, &[]);
    let mut keyboard = nc.stdin.take().unwrap();
    let mut screen = lines(&mut nc);
    assert!(screen.next().unwrap().starts_with("id "));
    assert!(screen.next().unwrap().starts_with("req2 "));
    let mut types = |line: &str| keyboard.write_all(line.as_bytes()).unwrap();
    types("kill req2 houston, we have a problem\n");
    let told = screen.next().unwrap();
    assert!(told.starts_with(r#"killing req2 in "init", 0."#) && told.ends_with("s old"), "{told}");
    assert_eq!(task.check().unwrap_err().message(), "houston, we have a problem");
    drop(task);
    assert!(screen.next().unwrap().starts_with("killed req2 after 0."));
    types("delay 500ms\n");
    assert_eq!((screen.next().unwrap(), screen.next().unwrap()), ("".into(), "id  status  time".into()));
    types("quit\n");
    // Without -N, nc sees the end of the connection when it has no more to send.
    drop(keyboard);
    // Frames that were due in between, and then the end.
    assert!(screen.all(|line| line.is_empty() || line == "id  status  time"));
    assert!(nc.wait().unwrap().success());
}
