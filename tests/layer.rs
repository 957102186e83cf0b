//! The layer in axum and in plain hyper, over real sockets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use pm::layer::ProcListLayer;
use pm::{Outcome, Proc, ProcList};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

/// Looks again and again, for 20 s at most.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The one request that is in the list, as soon as its status is this one.
async fn listed(list: &ProcList, status: &str) -> Proc {
    until(status, || list.procs().into_iter().find(|proc| proc.status == status)).await
}

async fn empty(list: &ProcList) {
    until("an empty list", || list.is_empty().then_some(())).await;
}

/// What the port prints of the requests that have ended: outcome, status, note.
async fn done(list: &ProcList) -> String {
    empty(list).await;
    let addr = tokio::task::spawn_blocking({
        let list = list.clone();
        move || list.spawn(":0").unwrap()
    });
    let addr = addr.await.unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"done\nquit\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Serves `app`, whose requests are in the list that this returns.
async fn serve(app: Router, layer: impl FnOnce(ProcListLayer) -> ProcListLayer) -> (ProcList, SocketAddr) {
    let list = ProcList::new();
    let app = app.layer(layer(pm::layer().list(&list)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).into_future());
    (list, addr)
}

fn as_is(layer: ProcListLayer) -> ProcListLayer {
    layer
}

async fn send(addr: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(format!("{head}\r\nhost: a.example\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// The whole response, to a request line.
async fn ask(addr: SocketAddr, head: &str) -> String {
    let mut text = String::new();
    send(addr, head).await.read_to_string(&mut text).await.unwrap();
    text
}

/// Reads until `text` has come.
async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the end came before {text:?}");
    }
}

async fn parked() -> &'static str {
    pm::current().set_status("parked");
    std::future::pending().await
}

/// A response that never ends.
async fn endless() -> Body {
    let chunks = stream::once(async { Ok::<_, Infallible>("first\n") }).chain(stream::pending());
    Body::from_stream(chunks)
}

#[tokio::test]
async fn a_request_is_listed_with_peer_method_path_and_route_and_leaves_with_its_response() {
    let app = Router::new().route("/users/{id}", get(parked)).route("/", get(|| async { "hello" }));
    let (list, addr) = serve(app, as_is).await;
    assert!(ask(addr, "GET / HTTP/1.1").await.ends_with("hello"));
    empty(&list).await;
    let stream = send(addr, "GET /users/5?token=8e2b HTTP/1.1").await;
    let proc = listed(&list, "parked").await;
    let host = stream.local_addr().unwrap().to_string();
    let expected = [("host", host.as_str()), ("method", "GET"), ("uri", "/users/5"), ("route", "/users/{id}")];
    assert_eq!(proc.cols, expected.map(|(name, value)| (name.to_string(), value.to_string())));
    assert!(proc.id.starts_with("req"));
    let header = list.contents().lines().next().unwrap().split_whitespace().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(header, ["id", "status", "time", "host", "method", "uri"], "printed although nobody named them");
    assert!(!list.contents().contains("8e2b"));
}

#[tokio::test]
async fn a_kill_of_a_parked_request_is_a_503_without_the_message() {
    let (list, addr) = serve(Router::new().route("/", get(parked)), as_is).await;
    let asked = tokio::spawn(async move { ask(addr, "GET / HTTP/1.1").await });
    let pending = list.request_kill(&listed(&list, "parked").await.id, "too slow").unwrap();
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("content-type: text/plain"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nprocess killed"), "{answer}");
    let ending = pending.outcome().await;
    assert_eq!((ending.outcome, ending.status.as_str()), (Outcome::Killed, "parked"));
}

#[tokio::test]
async fn a_kill_of_the_request_reaches_a_kill_point_far_below() {
    let app = Router::new().route(
        "/",
        get(|| async {
            pm::current().kill("deep").unwrap();
            pm::current().status("querying")();
        }),
    );
    let (list, addr) = serve(app, |layer| layer.show_message(true)).await;
    assert!(ask(addr, "GET / HTTP/1.1").await.ends_with("\r\n\r\nprocess killed: \"deep\""));
    assert!(done(&list).await.contains("killed"));
}

#[tokio::test]
async fn a_killed_request_answers_in_the_format_of_the_program_which_hears_the_reason() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&log);
    let (list, addr) = serve(Router::new().route("/", get(parked)), |layer| {
        layer.on_kill(move |killed, task| {
            assert_eq!(pm::current(), *task);
            heard.lock().unwrap().push(format!("{} {killed}", killed.id()));
            (StatusCode::IM_A_TEAPOT, [("x-reason", "kill")], "{}").into_response()
        })
    })
    .await;
    let asked = tokio::spawn(async move { ask(addr, "GET / HTTP/1.1").await });
    let id = listed(&list, "parked").await.id;
    list.kill(&id, "too slow").unwrap();
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 418 ") && answer.contains("x-reason: kill") && answer.ends_with("{}"));
    assert_eq!(*log.lock().unwrap(), [format!("{id} process killed: \"too slow\"")]);
}

#[tokio::test]
async fn the_program_hears_the_reason_for_the_kill_of_a_stream_too() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&log);
    let (list, addr) = serve(Router::new().route("/", get(endless)), |layer| {
        layer.on_kill(move |killed, task| {
            heard.lock().unwrap().push(format!("{} {}", task.id(), killed.message()));
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        })
    })
    .await;
    let mut stream = send(addr, "GET / HTTP/1.1").await;
    read_until(&mut stream, "first").await;
    let id = listed(&list, "streaming").await.id;
    list.kill(&id, "too slow").unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(*log.lock().unwrap(), [format!("{id} too slow")]);
}

#[tokio::test]
async fn blocking_work_answers_at_once_and_keeps_the_row_until_it_has_stopped() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let app = Router::new().route(
        "/",
        get(move || async move {
            let work = pm::current().spawn_blocking(move |task| {
                task.set_status("sorting");
                wait.lock().unwrap().recv().unwrap();
                pm::current().in_scope(|| pm::current().status("merging")());
            });
            work.await.unwrap().unwrap();
        }),
    );
    let (list, addr) = serve(app, as_is).await;
    let asked = tokio::spawn(async move { ask(addr, "GET / HTTP/1.1").await });
    let pending = list.request_kill(&listed(&list, "sorting").await.id, "").unwrap();
    assert!(asked.await.unwrap().starts_with("HTTP/1.1 503 "));
    assert!(pending.try_outcome().is_none() && list.len() == 1);
    go.send(()).unwrap();
    let ending = pending.outcome().await;
    let ending = (ending.outcome, ending.status.as_str(), ending.note);
    assert_eq!(ending, (Outcome::Killed, "merging", None), "it ended at its first kill point");
}

#[tokio::test]
async fn a_stream_is_listed_until_it_has_been_sent_and_a_kill_breaks_it() {
    let (list, addr) = serve(Router::new().route("/", get(endless)), as_is).await;
    let mut stream = send(addr, "GET / HTTP/1.1").await;
    read_until(&mut stream, "first").await;
    let proc = listed(&list, "streaming").await;
    let pending = list.request_kill(&proc.id, "").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains("0\r\n\r\n"), "it does not look whole: {rest:?}");
    assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
    assert!(list.is_empty());
}

#[tokio::test]
async fn a_stream_reports_on_its_task_and_dies_at_a_kill_point_of_its_own() {
    let (feed, chunks) = mpsc::unbounded_channel::<&'static str>();
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let app = Router::new().route(
        "/",
        get(move || async move {
            let chunks = chunks.lock().unwrap().take().unwrap();
            Body::from_stream(stream::unfold(chunks, |mut chunks| async move {
                let chunk = chunks.recv().await?;
                pm::current().status(chunk)();
                Some((Ok::<_, Infallible>(chunk), chunks))
            }))
        }),
    );
    let (list, addr) = serve(app, as_is).await;
    let mut stream = send(addr, "GET / HTTP/1.1").await;
    feed.send("chapter 1").unwrap();
    read_until(&mut stream, "chapter 1").await;
    let id = listed(&list, "chapter 1").await.id;
    list.kill(&id, "").unwrap();
    feed.send("chapter 2").ok();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains("chapter 2"));
    assert!(done(&list).await.contains("killed"));
}

#[tokio::test]
async fn server_sent_events_are_found_and_killed() {
    let events = || async {
        let hello = stream::once(async { Ok::<_, Infallible>(Event::default().data("hello")) });
        Sse::new(hello.chain(stream::pending()))
    };
    let (list, addr) = serve(Router::new().route("/events", get(events)), as_is).await;
    let mut stream = send(addr, "GET /events HTTP/1.1").await;
    read_until(&mut stream, "data: hello").await;
    let pending = list.request_kill(&listed(&list, "streaming").await.id, "").unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
}

#[tokio::test]
async fn a_websocket_keeps_its_row_and_its_kill_reaches_it_with_the_reason() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let socket = |upgrade: WebSocketUpgrade| async move {
        let task = pm::current().keep().unwrap();
        upgrade.on_upgrade(move |mut socket| async move {
            task.set_status("open");
            let talk = async {
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    socket.send(Message::Text(text)).await.unwrap();
                }
            };
            let result = task.run(talk).await;
            let _ = tell.lock().unwrap().take().unwrap().send(result.map_err(|killed| killed.to_string()));
        })
    };
    let (list, addr) = serve(Router::new().route("/ws", get(socket)), as_is).await;
    let (mut client, _) = tokio_tungstenite::connect_async(format!("ws://{addr}/ws")).await.unwrap();
    use futures_util::SinkExt;
    client.send("echo".into()).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "echo");
    let proc = listed(&list, "open").await;
    assert!(proc.cols.contains(&("uri".into(), "/ws".into())) && proc.note.is_none());
    let statuses: Vec<_> = proc.history.iter().map(|step| step.status.as_str()).collect();
    assert_eq!(statuses, ["init", "open"], "a handshake is no stream");
    let pending = list.request_kill(&proc.id, "maintenance").unwrap();
    assert_eq!(told.await.unwrap().unwrap_err(), "process killed: \"maintenance\"");
    let ending = pending.outcome().await;
    assert_eq!((ending.outcome, ending.note), (Outcome::Killed, None));
}

#[tokio::test]
async fn a_response_that_is_ready_in_the_poll_in_which_the_kill_comes_is_sent() {
    let app = Router::new()
        .route(
            "/seen",
            get(|| async {
                pm::current().kill("late").unwrap();
                let seen = pm::current().try_status("computing");
                (StatusCode::CONFLICT, seen.unwrap_err().to_string())
            }),
        )
        .route(
            "/unseen",
            get(|| async {
                pm::current().kill("late").unwrap();
                "done"
            }),
        )
        .route(
            "/error",
            get(|| async {
                pm::current().kill("late").unwrap();
                pm::current().check().map(|()| "done")
            }),
        )
        .route(
            "/long",
            get(|| async {
                pm::current().kill("late").unwrap();
                vec![b'x'; 1 << 20]
            }),
        );
    let (list, addr) = serve(app, as_is).await;
    let answer = ask(addr, "GET /seen HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.ends_with("process killed: \"late\""), "{answer}");
    assert_eq!((list.stats().killed, list.stats().ended), (1, 0));
    assert!(ask(addr, "GET /unseen HTTP/1.1").await.ends_with("\r\n\r\ndone"));
    assert_eq!((list.stats().killed, list.stats().ended), (1, 1), "nothing has seen it");
    let answer = ask(addr, "GET /error HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nprocess killed"), "{answer}");
    // Its head is sent, and then it breaks off.
    let answer = ask(addr, "GET /long HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.len() < 1 << 20, "{} bytes", answer.len());
    assert_eq!((list.stats().killed, list.len()), (3, 0));
}

#[tokio::test]
async fn a_body_that_was_given_its_length_is_whole_with_its_last_byte() {
    let body = |chunks: &'static [&'static str]| async move {
        let length = chunks.iter().map(|chunk| chunk.len()).sum::<usize>().to_string();
        (
            [("content-length", length)],
            Body::from_stream(stream::iter(chunks.iter().map(|chunk| Ok::<_, Infallible>(*chunk)))),
        )
    };
    let app = Router::new().route("/some", get(move || body(&["ab", "", "cd"]))).route("/none", get(move || body(&[])));
    let (list, addr) = serve(app, as_is).await;
    assert!(ask(addr, "GET /some HTTP/1.1").await.ends_with("abcd"));
    ask(addr, "GET /none HTTP/1.1").await;
    let text = done(&list).await;
    assert!(!text.contains("went away") && list.stats().ended == 2, "{text}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_task_with_a_note() {
    let app = Router::new().route("/parked", get(parked)).route("/endless", get(endless));
    let (list, addr) = serve(app, as_is).await;
    let stream = send(addr, "GET /parked HTTP/1.1").await;
    listed(&list, "parked").await;
    drop(stream);
    let text = done(&list).await;
    assert!(text.contains("client went away") && text.contains("parked"), "{text}");

    let mut stream = send(addr, "GET /endless HTTP/1.1").await;
    read_until(&mut stream, "first").await;
    listed(&list, "streaming").await;
    drop(stream);
    let text = done(&list).await;
    assert_eq!(text.matches("client went away").count(), 2, "{text}");
    assert_eq!((list.stats().ended, list.stats().killed), (2, 0));
}

#[tokio::test]
async fn a_response_that_is_whole_is_nobody_gone() {
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/large", get(|| async { vec![b'x'; 1 << 20] }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/cached", get(|| async { (StatusCode::NOT_MODIFIED, "not sent") }))
        .route("/chunks", get(|| async { Body::from_stream(stream::iter([Ok::<_, Infallible>("a"), Ok("b")])) }))
        .route("/endless", get(endless));
    let (list, addr) = serve(app, as_is).await;
    for head in ["GET /", "HEAD /", "HEAD /endless", "GET /large", "GET /none", "GET /cached", "GET /chunks"] {
        ask(addr, &format!("{head} HTTP/1.1")).await;
    }
    let text = done(&list).await;
    assert!(!text.contains("client went away"), "{text}");
    assert_eq!(list.stats().ended, 7);
}

#[tokio::test]
async fn a_panic_that_is_no_kill_passes_through_and_is_how_the_task_ended() {
    let bug = || async {
        if pm::current().check().is_ok() {
            std::panic::resume_unwind(Box::new("a bug"));
        }
    };
    let (list, addr) = serve(Router::new().route("/", get(bug)), as_is).await;
    assert_eq!(ask(addr, "GET / HTTP/1.1").await, "", "the connection ends");
    let stats = until("the panic", || Some(list.stats()).filter(|stats| stats.panicked == 1)).await;
    assert_eq!((stats.ended, stats.running), (0, 0));

    // Caught outside of the layer, and dropped only then.
    let list = ProcList::new();
    let layers = ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(pm::layer().list(&list));
    let app = Router::new().route("/", get(bug)).layer(layers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    assert!(ask(addr, "GET / HTTP/1.1").await.starts_with("HTTP/1.1 500 "));
    assert_eq!((list.stats().panicked, list.stats().ended), (1, 0));
}

#[tokio::test]
async fn the_settings_say_what_is_listed_and_how() {
    let app = Router::new().route("/{path}", get(parked)).route("/health", get(|| async { "ok" }));
    let (list, addr) = serve(app, |layer| {
        layer
            .request_id("x-request-id")
            .peer(|parts| parts.headers.get("x-forwarded-for")?.to_str().ok().map(str::to_string))
            .columns(|parts, task| {
                task.set_col("agent", parts.headers["user-agent"].to_str().unwrap());
                task.set_secret_col("user", "amy");
            })
            .filter(|parts| parts.uri.path() != "/health")
            .show_query(true)
    })
    .await;
    assert!(ask(addr, "GET /health HTTP/1.1").await.ends_with("ok"));
    assert_eq!(list.stats().started, 0);
    let headers = "user-agent: test\r\nx-forwarded-for: 10.1.2.3\r\nx-request-id: ";
    let _a = send(addr, &format!("GET /a?b=c HTTP/1.1\r\n{headers}8e2b:77")).await;
    let proc = listed(&list, "parked").await;
    let cols: Vec<_> = proc.cols.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = ["host=10.1.2.3", "method=GET", "uri=/a?b=c", "route=/{path}", "agent=test", "user=***"];
    assert_eq!((proc.id.as_str(), cols.as_slice()), ("8e2b:77", &expected.map(str::to_string)[..]));
    list.kill("8e2b:77", "").unwrap();
    empty(&list).await;
    for harmful in ["a b", "a/b", "+2", &"x".repeat(65), ""] {
        let _stream = send(addr, &format!("GET /a HTTP/1.1\r\n{headers}{harmful}")).await;
        let id = listed(&list, "parked").await.id;
        assert!(id.starts_with("req"), "{harmful:?}: {id}");
        list.kill(&id, "").unwrap();
        empty(&list).await;
    }
}

#[tokio::test]
async fn an_id_of_the_programs_own_replaces_all_others() {
    let (list, addr) = serve(Router::new().route("/a", get(parked)), |layer| {
        layer.request_id("x-request-id").id(|parts| format!("{}:{}", parts.method, parts.uri.path()))
    })
    .await;
    let _first = send(addr, "GET /a HTTP/1.1\r\nx-request-id: chosen").await;
    assert_eq!(listed(&list, "parked").await.id, "GET:/a");
}

/// Plain hyper, HTTP/1 and 2: a service that is a function, in the layer.
async fn serve_hyper(list: &ProcList) -> SocketAddr {
    let answer = |request: Request<hyper::body::Incoming>| async move {
        let body = match request.uri().path() {
            "/parked" => parked().await.into(),
            "/endless" => endless().await,
            _ => "hello".into(),
        };
        Ok::<_, Infallible>(Response::new(body))
    };
    let service = ServiceBuilder::new().layer(pm::layer().list(list)).service_fn(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

async fn h2(addr: SocketAddr) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().uri(format!("http://a.example{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn plain_hyper_is_listed_with_the_host_that_was_asked_for() {
    let list = ProcList::new();
    let addr = serve_hyper(&list).await;
    let mut client = h2(addr).await;
    let answer = client.send_request(request("/")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), "hello");
    let _parked = tokio::spawn(client.send_request(request("/parked")));
    let proc = listed(&list, "parked").await;
    assert_eq!(proc.cols[0], ("host".into(), "a.example".into()));
    assert!(!done_of(&list, &proc.id).await.contains("went away"));
    let _old = send(addr, "GET /parked HTTP/1.1").await;
    let old = until("the second", || list.procs().into_iter().find(|other| other.id != proc.id)).await;
    assert_eq!(old.cols[0], ("host".into(), "a.example".into()));
}

/// Kills the request, and returns what `done` prints of all.
async fn done_of(list: &ProcList, id: &str) -> String {
    let pending = list.request_kill(id, "").unwrap();
    assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
    list.contents()
}

#[tokio::test]
async fn a_reset_of_http_2_ends_the_task_of_its_stream_only() {
    let list = ProcList::new();
    let mut client = h2(serve_hyper(&list).await).await;
    let mut staying = client.send_request(request("/endless")).await.unwrap().into_body();
    staying.frame().await.unwrap().unwrap();
    let kept = listed(&list, "streaming").await.id;

    // The head is not there yet.
    let parked = tokio::spawn(client.send_request(request("/parked")));
    listed(&list, "parked").await;
    parked.abort();
    until("the reset", || (list.len() == 1).then_some(())).await;

    // The body is on its way.
    let mut leaving = client.send_request(request("/endless")).await.unwrap().into_body();
    leaving.frame().await.unwrap().unwrap();
    assert_eq!(list.len(), 2);
    drop(leaving);
    until("the reset", || (list.len() == 1).then_some(())).await;
    assert_eq!(list.procs()[0].id, kept);
    list.kill(&kept, "").unwrap();
    assert!(staying.frame().await.unwrap().is_err(), "a kill is an error of the stream");
    let text = done(&list).await;
    assert_eq!(text.matches("client went away").count(), 2, "{text}");
}

#[tokio::test]
async fn a_service_that_unwinds_when_it_is_called_answers_all_the_same() {
    let list = ProcList::new();
    let service = ServiceBuilder::new().layer(pm::layer().list(&list)).service_fn(|_: Request<Empty<Bytes>>| {
        pm::current().kill("at once").unwrap();
        pm::current().status("routing")();
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("lost"))))
    });
    let response = tower::ServiceExt::oneshot(service, request("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "process killed");
    assert!(list.is_empty() && list.stats().killed == 1);
}

#[tokio::test]
async fn an_error_of_the_service_and_of_its_body_pass_through() {
    let list = ProcList::new();
    let layers = || ServiceBuilder::new().layer(pm::layer().list(&list));
    let failing = layers().service_fn(|_: Request<Empty<Bytes>>| async { Err::<Response<Full<Bytes>>, _>("a fault") });
    assert_eq!(tower::ServiceExt::oneshot(failing, request("/")).await.unwrap_err(), "a fault");
    let broken = layers().service_fn(|_: Request<Empty<Bytes>>| async {
        let chunks = stream::iter([Ok("a"), Err(std::io::Error::other("the disk"))]);
        Ok::<_, Infallible>(Response::new(Body::from_stream(chunks)))
    });
    let mut body = tower::ServiceExt::oneshot(broken, request("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.unwrap().unwrap_err().to_string().contains("the disk"));
    assert!(list.is_empty(), "while the body is still there");
    assert!(!done(&list).await.contains("went away"));
}

#[test]
#[should_panic(expected = "no name of a header")]
fn a_header_that_cannot_be_is_refused() {
    let _ = pm::layer().request_id("x request id");
}

#[tokio::test]
async fn what_a_body_says_of_itself_is_handed_on() {
    use axum::body::HttpBody;
    let list = ProcList::new();
    let service = ServiceBuilder::new().layer(pm::layer().list(&list)).service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    });
    let mut body = tower::ServiceExt::oneshot(service, request("/")).await.unwrap().into_body();
    assert_eq!((HttpBody::size_hint(&body).exact(), HttpBody::is_end_stream(&body)), (Some(5), false));
    body.frame().await.unwrap().unwrap();
    assert!(HttpBody::is_end_stream(&body) && list.is_empty(), "it is over with its last byte");
}

#[tokio::test]
async fn kill_points_in_the_settings_do_not_cut_the_connection() {
    let (list, addr) = serve(Router::new().route("/", get(|| async { "done" })), |layer| {
        layer
            .columns(|_, task| {
                task.kill("blocked").unwrap();
                task.status("checking")();
            })
            .on_kill(|_, task| {
                task.status("answering")();
                Response::new("never".to_string())
            })
    })
    .await;
    assert!(ask(addr, "GET / HTTP/1.1").await.ends_with("\r\n\r\nprocess killed"));
    assert_eq!(list.stats().killed, 1);
}

#[tokio::test]
async fn a_task_lasts_until_the_trailers_and_the_kill_reaches_it_there() {
    let list = ProcList::new();
    let service = ServiceBuilder::new().layer(pm::layer().list(&list)).service_fn(|_: Request<Empty<Bytes>>| async {
        let body = Full::<Bytes>::from("hello").with_trailers(async {
            pm::current().set_status("signing");
            std::future::pending().await
        });
        Ok::<_, Infallible>(Response::new(body))
    });
    let mut body = Box::pin(tower::ServiceExt::oneshot(service, request("/")).await.unwrap().into_body());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(futures_util::poll!(body.frame()).is_pending());
    let proc = listed(&list, "signing").await;
    list.kill(&proc.id, "").unwrap();
    assert!(body.frame().await.unwrap().is_err() && list.is_empty());
}

#[tokio::test]
async fn a_part_of_a_stream_that_was_given_up_is_no_note_of_a_whole_one() {
    let chunks = || async {
        Body::from_stream(stream::unfold(0, |n| async move {
            let part = pm::current().run(std::future::pending::<()>());
            assert!(tokio::time::timeout(Duration::from_millis(1), part).await.is_err());
            (n < 2).then_some((Ok::<_, Infallible>("a"), n + 1))
        }))
    };
    let (list, addr) = serve(Router::new().route("/", get(chunks)), as_is).await;
    ask(addr, "GET / HTTP/1.1").await;
    let text = done(&list).await;
    assert!(!text.contains("abandoned") && !text.contains("went away"), "{text}");
}

#[tokio::test]
async fn an_answer_that_is_no_grpc_does_not_end_with_its_trailers() {
    let list = ProcList::new();
    let service = ServiceBuilder::new()
        .layer(pm::layer().list(&list))
        .service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(endless().await)) });
    let mut request = request("/");
    *request.version_mut() = axum::http::Version::HTTP_2;
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let mut body = tower::ServiceExt::oneshot(service, request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    list.kill(&listed(&list, "streaming").await.id, "").unwrap();
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_password_before_the_host_is_not_listed() {
    let list = ProcList::new();
    let service = ServiceBuilder::new().layer(pm::layer().list(&list)).service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(parked().await.to_string()))
    });
    let mut request = request("/");
    *request.uri_mut() = "http://amy:secret@a.example:80/".parse().unwrap();
    let _asked = tokio::spawn(tower::ServiceExt::oneshot(service, request));
    assert_eq!(listed(&list, "parked").await.cols[0].1, "a.example:80");
}

#[tokio::test]
async fn a_request_is_found_by_its_id_and_no_task_takes_it() {
    let (list, addr) = serve(Router::new().route("/", get(parked)), as_is).await;
    let _first = send(addr, "GET / HTTP/1.1").await;
    let id = listed(&list, "parked").await.id;
    assert_eq!(list.get(&id).unwrap().id, id);
    assert!(list.get(&id.replace("req", "req0")).is_none() && list.get("req+1").is_none());
    assert_eq!((list.len(), list.is_empty(), list.contents().lines().count()), (1, false, 2));
    list.set_status(&id, "found");
    assert_eq!(list.procs()[0].status, "found");

    // One that looks like it.
    let twin = list.start(id.as_str());
    assert_eq!(twin.id(), format!("{id}+2"));
    let next = list.start("req1000");
    let _second = send(addr, "GET / HTTP/1.1").await;
    let second = listed(&list, "parked").await.id;
    assert_eq!((next.id(), list.len()), ("req1000", 4));
    for id in [&id, &second] {
        let pending = list.request_kill(id, "").unwrap();
        assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
        assert!(list.get(id).is_none());
    }
    drop((twin, next));
    assert!(list.is_empty());
}

#[tokio::test]
async fn requests_and_lookalikes_that_start_at_once_never_share_an_id() {
    let list = ProcList::new();
    let service = ServiceBuilder::new().layer(pm::layer().list(&list)).service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(parked().await.to_string()))
    });
    let start = Arc::new(std::sync::Barrier::new(2));
    let (theirs, their_list) = (Arc::clone(&start), list.clone());
    let tasks = std::thread::spawn(move || {
        theirs.wait();
        (1..400).map(|n| their_list.start(format!("req{n}"))).collect::<Vec<_>>()
    });
    start.wait();
    let mut asked = Vec::new();
    for _ in 1..400 {
        let mut request = Box::pin(tower::ServiceExt::oneshot(service.clone(), request("/")));
        assert!(futures_util::poll!(&mut request).is_pending());
        asked.push(request);
    }
    let tasks = tasks.join().unwrap();
    let mut ids: Vec<_> = list.procs().into_iter().map(|proc| proc.id).collect();
    assert_eq!(ids.len(), 2 * 399);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2 * 399, "each has its own");
    drop((asked, tasks));
    assert!(list.is_empty());
}
