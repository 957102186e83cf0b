//! Kills in a program that cannot unwind. Exits with 0 if all is as documented, built with `panic = "abort"`.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let list = pm::ProcList::new();
    let task = list.start("a");
    let mut client = TcpStream::connect(list.spawn(":0").unwrap()).unwrap();
    client.write_all(b"kill a too slow\n").unwrap();
    let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map(Result::unwrap).skip(2);
    let told = lines.next().unwrap();
    assert!(told.starts_with(r#"killing a in "init", 0."#), "{told}");
    assert!(told.ends_with("s old: built with panic=abort, so only try_status, check and run can stop it"), "{told}");

    task.status("goes on")();
    list.status("a", "still goes on")();
    pm::catch(|| task.status("and on")()).unwrap();
    assert_eq!(list.get("a").unwrap().status, "and on");

    assert_eq!(task.try_status("x").unwrap_err().message(), "too slow");
    assert_eq!(task.check().unwrap_err().message(), "too slow");
    assert_eq!(task.killed().await.message(), "too slow");
    assert_eq!(task.run(std::future::pending::<()>()).await.unwrap_err().message(), "too slow");
    assert_eq!(list.check("a").unwrap_err().message(), "too slow");
    assert_eq!(list.try_status("a", "by id").unwrap_err().message(), "too slow");
    assert_eq!(task.done().outcome, Some(pm::Outcome::Killed));
    assert!(lines.next().unwrap().starts_with("killed a after "));

    // What has only `status(..)()` is promised no kill point.
    let task = list.start("b");
    task.status("stuck")();
    client.write_all(b"kill b\n").unwrap();
    let told = lines.find(|line| line.starts_with("b is still running")).unwrap();
    assert_eq!(
        told,
        "b is still running 5s after the kill, in \"stuck\": built with panic=abort, \
         it stops at its next try_status, check or run, if it has one"
    );
}
