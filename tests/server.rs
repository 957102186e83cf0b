//! The server over real sockets: what is about sockets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use pm::ProcList;
use tokio::net::TcpListener;

/// A client that gives up after a while instead of hanging the test.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    fn types(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line that is not of a frame of an empty list.
    fn reply(&mut self) -> String {
        loop {
            let line = self.line();
            if !line.is_empty() && !line.starts_with("id ") {
                return line;
            }
        }
    }
}

/// Polls `condition` until it holds.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_address_may_be_a_str_a_string_or_a_socket_address_and_needs_no_host() {
    let list = ProcList::new();
    let addrs = [
        list.spawn(":0").unwrap(),
        list.spawn(String::from("127.0.0.1:0")).unwrap(),
        list.spawn(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap(),
        list.spawn("localhost:0").unwrap(),
    ];
    for addr in addrs {
        assert!(addr.ip().is_loopback());
        assert!(Client::connect(addr).line().starts_with("id  status  time"));
    }
    assert_eq!(addrs[0].ip().to_string(), "127.0.0.1");
}

#[test]
fn a_bad_address_says_what_to_use() {
    let list = ProcList::new();
    for bad in ["8081", "", "127.0.0.1", ":99999", "[::1"] {
        let error = list.spawn(bad).unwrap_err().to_string();
        assert!(
            error.contains(&format!("cannot use the address '{bad}'")) && error.ends_with("use host:port, or :port"),
            "{error}"
        );
    }
    let taken = list.spawn(":0").unwrap();
    assert_eq!(list.spawn(taken).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn only_loopback_is_bound_and_served() {
    let list = ProcList::new();
    for addr in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let mut refusals = vec![list.spawn(addr).unwrap_err()];
        refusals.push(list.server().bind(addr).await.unwrap_err());
        refusals.push(list.listen_and_serve(addr).await.unwrap_err());
        if let Ok(listener) = TcpListener::bind(addr).await {
            refusals.push(list.serve(listener).await.unwrap_err());
        }
        for refusal in refusals {
            assert_eq!(refusal.kind(), ErrorKind::PermissionDenied, "{addr}");
            assert!(refusal.to_string().contains("is not a loopback address"), "{refusal}");
        }
    }
}

#[test]
fn a_list_served_from_its_own_thread_answers_while_the_runtime_is_blocked() {
    let list = ProcList::new();
    let task = list.start("a");
    let addr = list.spawn(":0").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The only thread of this runtime never gives way in here.
    runtime.block_on(async {
        let mut client = Client::connect(addr);
        assert!(client.line().starts_with("id "));
        assert!(client.line().starts_with("a "));
        client.types("kill a\n");
        let told = client.line();
        assert!(told.starts_with(r#"killing a in "init", 0."#) && told.ends_with("s old"), "{told}");
        task.check().unwrap_err();
    });
}

#[test]
fn a_runtime_whose_blocking_threads_are_all_busy_shows_a_large_table_and_kills() {
    let list = ProcList::new();
    let tasks: Vec<_> = (0..1000).map(|n| list.start(format!("t{n}"))).collect();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    drop(runtime.spawn_blocking(move || busy.recv()));
    let bound = runtime.block_on(list.server().bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    let mut client = Client::connect(bound.local_addr());
    drop(runtime.spawn(bound.serve()));
    client.types("kill t7 too slow\n");
    assert!(client.line().starts_with("id "));
    for _ in 0..1000 {
        assert!(client.line().starts_with('t'));
    }
    let told = client.line();
    assert!(told.starts_with(r#"killing t7 in "init", 0."#) && told.ends_with("s old"), "{told}");
    assert_eq!(tasks[7].check().unwrap_err().message(), "too slow");
    drop(free);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_server_ends_its_sessions_and_frees_its_port() {
    let list = ProcList::new();
    let bound = list.server().bind(":0").await.unwrap();
    let addr = bound.local_addr();
    let serving = tokio::spawn(bound.serve());
    let mut client = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(addr);
        assert!(client.line().starts_with("id "));
        client
    })
    .await
    .unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    tokio::task::spawn_blocking(move || match client.0.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    })
    .await
    .unwrap();
    let listener = TcpListener::bind(addr).await.unwrap();
    drop(tokio::spawn(list.serve(listener)));
}

#[test]
fn one_client_too_many_is_told_and_others_come_in_when_one_leaves() {
    let addr = ProcList::new().server().max_connections(2).spawn(":0").unwrap();
    let mut served: Vec<_> = (0..2).map(|_| Client::connect(addr)).collect();
    for client in &mut served {
        assert!(client.line().starts_with("id "));
    }
    let mut third = Client::connect(addr);
    assert_eq!((third.line().as_str(), third.line().as_str()), ("too many connections", ""));
    served.pop();
    wait_until("a place becomes free", || Client::connect(addr).line().starts_with("id "));
}

#[test]
fn the_settings_of_a_server_show() {
    let list = ProcList::new();
    let _tasks: Vec<_> = (0..5).map(|n| list.start(format!("t{n}"))).collect();
    let addr = list.server().delay(Duration::from_nanos(1)).limit(2).spawn(":0").unwrap();
    let mut client = Client::connect(addr);
    let began = Instant::now();
    for frame in 0..3 {
        let lines: Vec<_> = (0..4).map(|_| client.line()).collect();
        assert!(lines[0].starts_with("id ") && lines[1].starts_with("t0 ") && lines[2].starts_with("t1 "));
        assert_eq!(lines[3], "... 3 more (limit 2)");
        if frame < 2 {
            assert_eq!(client.line(), "");
        }
    }
    // A delay below what a client may ask for is raised to that.
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
}

#[test]
fn ten_megabytes_without_a_line_end_are_one_fault() {
    let addr = ProcList::new().spawn(":0").unwrap();
    let mut client = Client::connect(addr);
    let megabyte = vec![b'x'; 1 << 20];
    for _ in 0..10 {
        client.types(&megabyte);
    }
    client.types("\nkill a\n");
    assert_eq!(client.reply(), "line too long: 4096 bytes at most");
    assert_eq!(client.reply(), "no such process 'a'");
}

#[test]
fn a_browser_reads_its_400_to_the_end_although_it_had_more_to_say() {
    let list = ProcList::new();
    let task = list.start("a");
    let addr = list.spawn(":0").unwrap();
    let mut client = Client::connect(addr);
    client.types(format!("POST / HTTP/1.1\r\nHost: {addr}\r\n\r\n{}", "kill a\n".repeat(10_000)));
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nHTTP/1.1 400 Bad Request\r\n"), "{answer}");
    task.check().expect("nobody killed it");
}

#[test]
fn a_half_closed_client_is_answered_to_the_end() {
    let list = ProcList::new();
    let task = list.start("a");
    let addr = list.spawn(":0").unwrap();
    let mut client = Client::connect(addr);
    client.types("kill b\nkill a too slow\n");
    client.0.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!((client.line().starts_with("id "), client.line().starts_with("a ")), (true, true));
    assert_eq!(client.line(), "no such process 'b'");
    let told = client.line();
    assert!(told.starts_with(r#"killing a in "init", 0."#) && told.ends_with("s old"), "{told}");
    task.check().unwrap_err();
    drop(task);
    let rest: Vec<_> = client.0.lines().map(Result::unwrap).collect();
    assert!(rest.len() == 1 && rest[0].starts_with("killed a after "), "{rest:?}");
}

/// Runs itself again with few file descriptors: a limit is for a whole process.
#[test]
fn out_of_file_descriptors_the_sessions_go_on_and_later_clients_come_in() {
    const INSIDE: &str = "PM_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_none() {
        let name = "out_of_file_descriptors_the_sessions_go_on_and_later_clients_come_in";
        let script = format!("ulimit -n 40 && exec \"$0\" --exact {name} --nocapture");
        let status =
            Command::new("sh").arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(INSIDE, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    let addr = ProcList::new().spawn(":0").unwrap();
    let mut served = Client::connect(addr);
    assert!(served.line().starts_with("id "));
    let mut crowd = Vec::new();
    let refused = loop {
        match TcpStream::connect(addr) {
            Ok(stream) => crowd.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(24), "EMFILE: {refused}");
    served.types("kill a\n");
    assert_eq!(served.reply(), "no such process 'a'");
    crowd.clear();
    wait_until("the server accepts again", || {
        io::Result::ok(TcpStream::connect(addr)).is_some_and(|stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("id ")
        })
    });
}

#[test]
fn a_runtime_without_timers_is_an_error_that_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let list = ProcList::new();
    let error = runtime.block_on(list.listen_and_serve(":0")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().ends_with("call enable_time() or enable_all() on its builder"), "{error}");
}
