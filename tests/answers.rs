//! The same commands, however they arrive: the same answers in the same order. Real sockets, a real clock.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use pm::{ProcList, Task};

/// A list of so many requests, served with frames so seldom that none comes in between.
fn serve(tasks: usize) -> (ProcList, Vec<Task>, SocketAddr) {
    let list = ProcList::new();
    list.set_cols(["uri"]);
    let uri = |n| if n % 10 == 1 { format!("/export/{n}") } else { format!("/users/{n}") };
    let tasks = (0..tasks).map(|n| list.start(format!("t{n}")).col("uri", uri(n))).collect();
    let addr = list.server().delay(Duration::from_secs(3600)).spawn(":0").unwrap();
    (list, tasks, addr)
}

/// What a client reads behind the first frame that sends these pieces, and then no more. Times are left out.
fn transcript(addr: SocketAddr, tasks: usize, pieces: &[&[u8]]) -> Vec<String> {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A first frame that is late would not be the first thing that is sent.
    let mut stream = BufReader::new(stream);
    let first_frame = 1 + tasks.min(1000) + usize::from(tasks > 1000);
    stream.by_ref().lines().take(first_frame).for_each(|line| drop(line.unwrap()));
    for piece in pieces {
        stream.get_mut().write_all(piece).unwrap();
    }
    stream.get_mut().shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let is_time = |word: &str| word.parse::<f64>().is_ok() && word.contains('.');
    let words = |line: &str| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

const COMMANDS: &str = "where uri~/export/1\nlist\nkill nobody\nwhere uri~/users/2\nlist\n\nlist\n\nsort -id\nlimit 1\nlist\n\
    by uri\nshow t3\ncols id,uri\nnonsense\ndelay 1h\nwhere\nquit\n";

#[test]
fn the_answers_are_the_same_in_the_same_order_however_the_bytes_arrive() {
    // The second list is rendered on a thread of its own.
    for tasks in [30, 3000] {
        let (_list, _tasks, addr) = serve(tasks);
        let at_once = transcript(addr, tasks, &[COMMANDS.as_bytes()]);
        let lines: Vec<_> = COMMANDS.split_inclusive('\n').map(str::as_bytes).collect();
        let bytes: Vec<_> = COMMANDS.as_bytes().chunks(1).collect();
        for _ in 0..3 {
            assert_eq!(transcript(addr, tasks, &lines), at_once);
            assert_eq!(transcript(addr, tasks, &bytes), at_once);
        }
        // A table for each command that changes it, each `list`, each thaw, and `by`.
        assert_eq!(at_once.iter().filter(|line| line.is_empty()).count(), 13, "{at_once:#?}");
    }
}

#[test]
fn a_list_in_one_packet_is_answered_as_the_view_is_at_that_line() {
    let (_list, _tasks, addr) = serve(30);
    let answers = transcript(addr, 30, &[b"where uri~/export/1\nlist\nwhere uri~/users/2\nlist\n"]);
    let tables = answers.split(String::is_empty).skip(1);
    let uris: Vec<_> = tables
        .map(|table| table.iter().skip(1).map(|row| row.rsplit(' ').next().unwrap()).collect::<Vec<_>>())
        .collect();
    let (exports, users) = (vec!["/export/1", "/export/11"], vec!["/users/2", "/users/20", "/users/22"]);
    for (table, exports_and_users) in uris.iter().zip([&exports, &exports, &users, &users]) {
        assert!(table.iter().all(|uri| exports_and_users.iter().any(|start| uri.starts_with(start))), "{uris:?}");
    }
    assert_eq!(uris.len(), 4);
}

#[test]
fn a_list_before_enter_is_answered_before_the_table_freezes() {
    let (_list, _tasks, addr) = serve(3);
    let answers = transcript(addr, 3, &[b"list\n\n\n"]);
    let said: Vec<_> = answers.iter().filter(|line| line.is_empty() || line.starts_with("frozen")).collect();
    assert_eq!(said, ["", "frozen: type a command, or Enter to go on", ""]);
}

#[test]
fn a_column_that_only_the_tasks_know_may_be_named() {
    let (list, _tasks, addr) = serve(3);
    let _child = list.start("web").col("kind", "process").secret_col("token", "8e2b");
    let answers = transcript(addr, 4, &[b"where kind=process\ncols id,kind\nby kind\nwhere knd=x\nquit\n"]);
    assert!(answers.contains(&"web process".to_string()), "{answers:#?}");
    assert!(answers.contains(&"kind count oldest median p99".to_string()), "{answers:#?}");
    assert!(answers.iter().any(|line| line.starts_with("invalid expression at 'knd': no column of that name")));
}
