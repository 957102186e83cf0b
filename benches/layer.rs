//! What the layer costs an axum server that answers "hello", and one that parks once before it does.
//!
//! A server in a process of its own has a port for each kind of layer. They are asked in turns, because the machine
//! is shared, and each is held against the layer that does nothing in the same round.
//!
//! Usually the server has one worker thread, and the clients, on another processor, never sleep: so the requests a
//! second tell what a request costs the server. With `shared` it has two, and the clients sleep as those of a load
//! generator do, on the same processors.
//!
//! ```text
//! cargo bench --bench layer --features axum                          # -- [ROUNDS] [shared] [KIND]
//! RUSTFLAGS="--cfg tokio_unstable" cargo bench --bench layer --features axum --target-dir target/unstable
//! ```
//!
//! With a KIND only that one is asked, for a profiler: `perf record -p $(pgrep -f -- '--serve all')`. The second one has
//! console-subscriber too, which needs that flag. Linux only: the processor time is read from /proc.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tower_http::trace::TraceLayer;
use tracing_subscriber::prelude::*;

/// How many requests are under way at any time.
const CLIENTS: usize = 64;

/// How long one kind is asked at a time.
const TURN: Duration = Duration::from_millis(250);

/// What the servers of one process differ in. The first is what the others are held against.
const KINDS: [&str; 5] = ["nothing", "plain", "pm", "pm by hand", "trace"];

/// Says that the server and the clients share the processors.
const SHARED: &str = "PM_BENCH_SHARED";

const PATHS: [(&str, &str); 2] = [("/", "hello"), ("/park", "hello, parked once")];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == "--serve") {
        Some(at) => serve(args.get(at + 1).map(String::as_str)),
        None if args.iter().any(|arg| arg == "shared") && !is_shared() => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            assert!(command.args(&args[1..]).env(SHARED, "1").status().unwrap().success());
        }
        None => {
            let rounds = args.iter().filter_map(|arg| arg.parse().ok()).next().unwrap_or(40);
            compare(rounds, args.iter().map(String::as_str).find(|arg| KINDS.contains(arg)));
        }
    }
}

fn is_shared() -> bool {
    std::env::var_os(SHARED).is_some()
}

/// A server process. Dropping it ends it.
struct Server {
    process: Child,
    addrs: Vec<SocketAddr>,
}

impl Server {
    fn start(kind: &str, ports: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command.args(["--serve", kind]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Server { process, addrs: lines.take(ports).map(|line| line.unwrap().parse().unwrap()).collect() }
    }

    /// The processor time that it has taken.
    fn processor(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanos = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
        };
        Duration::from_nanos(threads.flatten().map(nanos).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What came out of a turn.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    /// Processor time of the server for one request.
    cost: Duration,
}

/// `only` is the kind that is asked; all, if there is none.
fn compare(rounds: usize, only: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Server::start("all", KINDS.len());
    let mut asked: Vec<(&str, &Server, SocketAddr)> =
        KINDS.iter().zip(&server.addrs).map(|(kind, addr)| (*kind, &server, *addr)).collect();
    if let Some(only) = only {
        asked.retain(|(kind, ..)| *kind == only);
    }
    let console = (cfg!(tokio_unstable) && only.is_none()).then(|| Server::start("console", 1));
    if let Some(console) = &console {
        asked.push(("console", console, console.addrs[0]));
    }
    for (path, what) in PATHS {
        let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); asked.len()];
        for round in 0..=rounds {
            for at in 0..asked.len() {
                let at = if round % 2 == 0 { at } else { asked.len() - 1 - at };
                let (_, server, addr) = asked[at];
                let turn = runtime.block_on(ask(server, addr, path));
                // The first round warms up.
                if round > 0 {
                    turns[at].push(turn);
                }
            }
        }
        println!("{what:<22} {:>12} {:>20} {:>14} {:>10}", "a second", "of what nothing does", "processor", "more");
        for ((kind, ..), of_kind) in asked.iter().zip(&turns) {
            let per_second = median(of_kind.iter().map(|turn| turn.per_second));
            let ratio =
                median(of_kind.iter().zip(&turns[0]).map(|(turn, nothing)| turn.per_second / nothing.per_second));
            let cost = median(of_kind.iter().map(|turn| turn.cost.as_secs_f64() * 1e9));
            let more = median(
                of_kind
                    .iter()
                    .zip(&turns[0])
                    .map(|(turn, nothing)| (turn.cost.as_secs_f64() - nothing.cost.as_secs_f64()) * 1e9),
            );
            println!("{kind:<22} {per_second:>12.0} {:>19.1}% {cost:>11.0} ns {more:>7.0} ns", 100.0 * ratio);
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn ask(server: &Server, addr: SocketAddr, path: &'static str) -> Turn {
    let until = Instant::now() + TURN;
    let (began, before) = (Instant::now(), server.processor());
    // To wake them would cost the server more than a layer does, and the more the slower it is.
    let spinning = tokio::spawn(async {
        while !is_shared() {
            tokio::task::yield_now().await;
        }
    });
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(addr, path, until))).collect();
    let mut requests = 0;
    for client in clients {
        requests += client.await.unwrap();
    }
    spinning.abort();
    let (took, cost) = (began.elapsed(), server.processor() - before);
    Turn { per_second: requests as f64 / took.as_secs_f64(), cost: cost / requests }
}

/// Asks over one connection, again and again. Returns how often it was answered.
async fn client(addr: SocketAddr, path: &str, until: Instant) -> u32 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\naccept: */*\r\n\r\n");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = vec![0; 4096];
    let mut requests = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"hello") {
            let more = stream.read(&mut answer[read..]).await.unwrap();
            assert_ne!(more, 0, "the server has closed: {}", String::from_utf8_lossy(&answer[..read]));
            read += more;
        }
        requests += 1;
    }
    requests
}

fn serve(kind: Option<&str>) {
    if kind == Some("console") {
        #[cfg(tokio_unstable)]
        tracing_subscriber::registry()
            .with(console_subscriber::ConsoleLayer::builder().server_addr(([127, 0, 0, 1], 0)).spawn())
            .init();
    } else {
        // What TraceLayer sends is filtered out, as in a program that logs warnings.
        let warnings = tracing_subscriber::filter::LevelFilter::WARN;
        tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_filter(warnings)).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if is_shared() { 2 } else { 1 })
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let app = Router::new().route("/", get(|| async { "hello" })).route("/park", get(park));
        let apps = match kind {
            Some("console") => vec![app],
            _ => vec![
                app.clone().layer(nothing::Nothing),
                app.clone(),
                app.clone().layer(pm::layer()),
                app.clone().layer(axum::middleware::from_fn(by_hand)),
                app.layer(TraceLayer::new_for_http()),
            ],
        };
        let mut serving = Vec::new();
        for app in apps {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            serving.push(tokio::spawn(axum::serve(listener, app).into_future()));
        }
        futures_util::future::join_all(serving).await;
    });
}

/// What a program had to write before there was a layer. It lists less: no body, no client that goes away.
async fn by_hand(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let task = pm::start_numbered("hand").col("host", peer).col("method", request.method());
    let task = task.col("uri", request.uri().path());
    match task.run(next.run(request)).await {
        Ok(response) => response,
        Err(killed) => killed.into_response(),
    }
}

/// Parks until another task has answered.
async fn park() -> &'static str {
    static ASKED: std::sync::OnceLock<mpsc::UnboundedSender<oneshot::Sender<&'static str>>> =
        std::sync::OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let (send, mut receive) = mpsc::unbounded_channel::<oneshot::Sender<_>>();
        tokio::spawn(async move {
            while let Some(answer) = receive.recv().await {
                _ = answer.send("hello");
            }
        });
        send
    });
    let (answer, answered) = oneshot::channel();
    asked.send(answer).unwrap();
    answered.await.unwrap()
}

/// A layer in the shape of ours: a future and a body of its own. It does nothing.
mod nothing {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use axum::body::{Bytes, HttpBody};
    use axum::http::{Request, Response};
    use pin_project_lite::pin_project;
    use tower::{Layer, Service};

    #[derive(Clone)]
    pub struct Nothing;

    #[derive(Clone)]
    pub struct NothingService<S>(S);

    impl<S> Layer<S> for Nothing {
        type Service = NothingService<S>;

        fn layer(&self, inner: S) -> NothingService<S> {
            NothingService(inner)
        }
    }

    impl<S: Service<Request<A>, Response = Response<B>>, A, B> Service<Request<A>> for NothingService<S> {
        type Response = Response<Body<B>>;
        type Error = S::Error;
        type Future = ResponseFuture<S::Future>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Request<A>) -> Self::Future {
            ResponseFuture { inner: self.0.call(request) }
        }
    }

    pin_project! {
        pub struct ResponseFuture<F> {
            #[pin]
            inner: F,
        }
    }

    impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for ResponseFuture<F> {
        type Output = Result<Response<Body<B>>, E>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(ready!(self.project().inner.poll(cx)).map(|response| response.map(|inner| Body { inner })))
        }
    }

    pin_project! {
        pub struct Body<B> {
            #[pin]
            inner: B,
        }
    }

    impl<B: HttpBody<Data = Bytes>> HttpBody for Body<B> {
        type Data = Bytes;
        type Error = B::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
            self.project().inner.poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            self.inner.is_end_stream()
        }

        fn size_hint(&self) -> http_body::SizeHint {
            self.inner.size_hint()
        }
    }
}
