//! The process-wide list. Alone in its file, because it is one for the process.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

#[test]
fn the_free_functions_work_on_one_list() {
    pm::set_cols(["host", "method", "uri"]);
    let id = String::from("req1");
    let task = pm::start(&id).col("host", "::1").col("method", "GET").col("uri", "/");
    pm::status(&id, "authenticating")();
    pm::set_status(&id, format!("querying {}", 7));
    assert_eq!(pm::global().get("req1").unwrap().status, "querying 7");
    assert!(pm::contents().starts_with("id    status        time  host  method  uri\nreq1  querying 7  0."));

    let addr = pm::spawn("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"kill req1 too slow\n").unwrap();
    let mut lines = BufReader::new(client).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("id "));
    assert!(lines.next().unwrap().starts_with("req1 "));
    let told = lines.next().unwrap();
    assert!(told.starts_with(r#"killing req1 in "querying 7", 0."#) && told.ends_with("s old"), "{told}");
    let killed = pm::catch(|| pm::status(&id, "rendering")()).unwrap_err();
    assert_eq!(killed.message(), "too slow");
    assert!(matches!(pm::kill(&id, ""), Err(pm::KillError::AlreadyKilled { .. })));
    drop(task);
    assert!(lines.next().unwrap().starts_with("killed req1 after "));
    assert!(pm::done(&id).is_none());

    let refused = pm::spawn(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}
