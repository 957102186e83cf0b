//! Kills in a program that cannot unwind. Exits with 0 if all is as documented.
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let list = pm::ProcList::new();
    let task = list.start("a");
    let mut client = TcpStream::connect(list.spawn(":0").unwrap()).unwrap();
    client.write_all(b"kill a too slow\n").unwrap();
    let mut lines = BufReader::new(client).lines().map(Result::unwrap).skip(2);
    assert_eq!(
        lines.next().unwrap(),
        r#"killing a in "init", 0.0s old: built with panic=abort, so only try_status, check and run can stop it"#
    );

    task.status("goes on")();
    list.status("a", "still goes on")();
    pm::catch(|| task.status("and on")()).unwrap();
    assert_eq!(list.get("a").unwrap().status, "and on");

    assert_eq!(task.try_status("x").unwrap_err().message(), "too slow");
    assert_eq!(task.check().unwrap_err().message(), "too slow");
    assert_eq!(task.killed().await.message(), "too slow");
    assert_eq!(task.run(std::future::pending::<()>()).await.unwrap_err().message(), "too slow");
    assert_eq!(task.done().outcome, Some(pm::Outcome::Killed));
    assert!(lines.next().unwrap().starts_with("killed a after "));
}
