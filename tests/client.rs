//! The client, against our server and against one that answers as the Go package's does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use pm::client::{Client, Error, Waited};
use pm::{Outcome, ProcList};

fn client(addr: SocketAddr) -> Client {
    Client::new(format!("http://{addr}/"))
}

fn served(list: &ProcList) -> Client {
    client(list.spawn_http(":0").expect("a free port"))
}

/// A server that answers each path so, and the requests that it gets.
async fn other(
    answer: impl Fn(&str) -> (StatusCode, String) + Clone + Send + Sync + 'static,
) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let app = Router::new().fallback(move |request: Request| {
        noted.lock().expect("no panic").push(format!("{} {}", request.method(), request.uri()));
        let answer = answer(request.uri().path());
        async move { answer.into_response() }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (client(addr), asked)
}

/// As the Go package's server.
fn go(path: &str) -> (StatusCode, String) {
    const LIST: &str = r#"{"procs":[
        {"id":"young","procTime":"2026-05-01T12:00:05+02:00","statusTime":"2026-05-01T10:00:05.5Z","status":"init"},
        {"id":"b","attrs":{"n":17,"ok":true,"deep":{"a":[null]},"uri":"/x"},"procTime":"2026-05-01T10:00:00.123456789Z",
         "statusTime":"2026-05-01T10:00:01Z","status":"[cancel request: too slow]","cancelling":true},
        {"id":"a","attrs":null,"procTime":"2026-05-01T10:00:00.123456789Z","statusTime":"2026-05-01T10:00:00.123456789Z","status":"init"}
        ],"serverTime":"2026-05-01T10:00:10.123456789Z"}"#;
    match path {
        "/procs/" => (StatusCode::OK, LIST.to_string()),
        "/procs/a/history" => (
            StatusCode::OK,
            r#"{"history":[{"ts":"2026-05-01T10:00:00Z","status":"init"}],"serverTime":"2026-05-01T10:00:10Z"}"#
                .to_string(),
        ),
        "/procs/a" => (StatusCode::OK, String::new()),
        "/procs/locked" => (StatusCode::FORBIDDEN, "forbidden\n{\"x\":".to_string()),
        _ => (StatusCode::NOT_FOUND, "no such process\n{}".to_string()),
    }
}

#[tokio::test]
async fn rows_of_our_server_are_snapshots() {
    let list = ProcList::new();
    let first = list.start("a/b").col("uri", "/report").col("kind", "x");
    let second = list.start("z");
    first.set_status("merging");
    let client = served(&list);
    let procs = client.processes().await.expect("it answers");
    assert_eq!(procs.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a/b", "z"]);
    let known = list.get("a/b").expect("is running");
    assert_eq!((&procs[0].status, &procs[0].cols, procs[0].started), (&known.status, &known.cols, known.started));
    assert!(procs[0].elapsed <= known.elapsed && procs[0].elapsed > Duration::ZERO);
    let whole = client.process("a/b").await.expect("is running");
    assert_eq!((&whole.site, whole.history.len(), whole.profile.len()), (&known.site, 2, 2));
    let history = client.history("a/b").await.expect("is running");
    assert_eq!(history.steps.iter().map(|(_, status)| status.as_str()).collect::<Vec<_>>(), ["init", "merging"]);
    assert_eq!((history.steps[0].0, history.folded), (known.started, 0));
    drop((first, second));
}

#[tokio::test]
async fn a_kill_tells_what_became_of_it() {
    let list = ProcList::new();
    let task = list.start("a/b %2F");
    task.set_status("merging");
    let working = tokio::spawn(task.scope(std::future::pending::<()>()));
    let (deaf, stubborn) = (list.start("deaf"), list.start("stubborn").forbid_kill());
    let client = served(&list);
    let waited = client.kill_and_wait("a/b %2F", "too slow", Duration::from_secs(20)).await.expect("is running");
    let Waited::Ended(end) = waited else { panic!("{waited:?}") };
    assert_eq!((end.outcome, end.status.as_str()), (Outcome::Killed, "merging"));
    assert_eq!(working.await.expect("no panic").expect_err("was killed").message(), "too slow");
    client.kill("deaf", "first").await.expect("is running");
    let waited = client.kill_and_wait("deaf", "second", Duration::from_millis(10)).await.expect("is running");
    assert_eq!(waited, Waited::Running { status: "init".to_string(), seen: false });
    let procs = client.processes().await.expect("it answers");
    assert_eq!(procs[0].killing.as_ref().map(|killing| killing.message.as_str()), Some("first"));
    let refused = client.kill("stubborn", "").await.expect_err("it refuses");
    assert!(
        matches!(refused, Error::Forbidden { .. }) && refused.to_string() == "forbidden: stubborn may not be killed"
    );
    let unknown = client.kill("nobody", "").await.expect_err("there is none");
    assert!(matches!(unknown, Error::NotFound { .. }) && unknown.to_string() == "no such process 'nobody'");
    for nowhere in ["", ".", ".."] {
        assert!(matches!(client.kill(nowhere, "").await, Err(Error::NotFound { .. })), "{nowhere:?}");
    }
    drop((deaf, stubborn));
}

#[tokio::test]
async fn a_token_is_sent() {
    let list = ProcList::new();
    let task = list.start("a");
    let addr = list.server().see_token("look").spawn_http(":0").expect("a free port");
    let refused = client(addr).processes().await.expect_err("it wants a token");
    assert!(matches!(refused, Error::Forbidden { .. }), "{refused}");
    assert!(refused.to_string().starts_with("this processlist wants a token"), "{refused}");
    assert_eq!(client(addr).token("look").processes().await.expect("it may see").len(), 1);
    assert!(matches!(client(addr).token("look").kill("a", "").await, Err(Error::Forbidden { .. })));
    drop(task);
}

#[tokio::test]
async fn the_go_package_is_understood() {
    let (client, asked) = other(go).await;
    let procs = client.processes().await.expect("it answers");
    assert_eq!(procs.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "b", "young"]);
    let (a, b) = (&procs[0], &procs[1]);
    assert_eq!((a.elapsed, a.cols.len()), (Duration::from_secs(10), 0));
    let cols: Vec<_> = b.cols.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(cols, [("n", "17"), ("ok", "true"), ("deep", r#"{"a":[null]}"#), ("uri", "/x")]);
    assert_eq!(b.killing.as_ref().map(|killing| killing.message.as_str()), Some("too slow"));
    let noon: SystemTime = UNIX_EPOCH + Duration::from_secs(1_777_629_605);
    assert_eq!(procs[2].started, noon);
    assert_eq!(client.history("a").await.expect("is running").steps.len(), 1);
    assert_eq!(client.kill_and_wait("a", "x", Duration::from_secs(1)).await.expect("is accepted"), Waited::Untold);
    let refused = client.kill("locked", "").await.expect_err("it refuses");
    assert_eq!(refused.to_string(), "forbidden");
    assert!(matches!(client.history("nobody").await, Err(Error::NotFound { .. })));
    asked.lock().expect("no panic").clear();
    // It would take that for another task.
    assert!(matches!(client.kill("a/b", "").await, Err(Error::NotFound { .. })));
    assert!(asked.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn an_id_with_a_slash_is_not_sent_to_a_server_that_is_not_known_yet() {
    let (client, asked) = other(go).await;
    assert!(matches!(client.kill("a/b", "").await, Err(Error::NotFound { .. })));
    assert_eq!(*asked.lock().expect("no panic"), ["GET /procs/"]);
}

#[tokio::test]
async fn what_is_no_processlist_is_told_apart_from_what_is_not_there() {
    let (page, _) = other(|_| (StatusCode::OK, "<html>".to_string())).await;
    let (nothing, _) = other(|_| (StatusCode::NOT_FOUND, "nope".to_string())).await;
    let (broken, _) = other(|_| (StatusCode::BAD_GATEWAY, "\u{1b}[2Jno backend".to_string())).await;
    for client in [&page, &nothing] {
        assert!(matches!(client.processes().await, Err(Error::NotPm { .. })));
        assert!(matches!(client.history("a").await, Err(Error::NotPm { .. })));
    }
    let failed = broken.processes().await.expect_err("it fails");
    assert_eq!(failed.to_string(), r"the processlist answered 502: \x1b[2Jno backend");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    drop(listener);
    for address in [
        format!("http://{addr}"),
        "not an address".to_string(),
        "ftp://localhost".to_string(),
        format!("http://{addr}/?x=1"),
        format!("http://{addr}/#"),
        String::new(),
    ] {
        let error = Client::new(&address).processes().await.expect_err("there is nothing");
        assert!(matches!(error, Error::Unreachable { .. }), "{address}: {error:?}");
    }
}

#[tokio::test]
async fn an_error_without_an_end_is_read_no_further_than_it_is_shown() {
    let endless = || async {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(vec![b'x'; 1 << 16]));
        (StatusCode::BAD_GATEWAY, axum::body::Body::from_stream(pieces))
    };
    let app = Router::new().fallback(endless);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let error = client(addr).processes().await.expect_err("it fails");
    assert!(error.to_string().len() < 600 && matches!(error, Error::Failed { status: 502, .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let app = Router::new().fallback(|| async { (StatusCode::FOUND, [("location", "http://127.0.0.1:1/procs/")]) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let error = client(addr).token("strike").processes().await.expect_err("it is elsewhere");
    assert!(matches!(error, Error::NotPm { .. }), "{error:?}");
}
