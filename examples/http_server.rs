//! A web server whose requests can be watched and killed: one line makes them tasks.
//!
//! ```text
//! cargo run --example http_server --features axum,http       # -- [APP [PM [HTTP]]]: three addresses
//!
//! nc localhost 8081                          # watch it in one terminal ..
//! curl localhost:8080/stuck                  # .. and ask for something in others: this hangs,
//! curl localhost:8080/report                 # this takes three seconds,
//! curl localhost:8080/users/5/friends        # and this too;
//! curl -N localhost:8080/ticks               # this never ends
//! ```
//!
//! Then type, at nc: `kill req1 houston, we have a problem`. Or open http://localhost:8082/ and do it there.
//!
//! The killed request answers 503, the reason stands in the log of the server, and the next
//! request works.
//!
//! On ^C or SIGTERM it takes no more requests, says each second which it still waits for, and kills what is left after
//! ten seconds.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() {
    let code = match serve().await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("http_server: {error}");
            1
        }
    };
    // The runtime would wait for what its blocking threads do, without a word and for ever.
    std::process::exit(code);
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let app_addr = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_string());
    let pm_addr = pm::spawn(args.next().unwrap_or_else(|| "127.0.0.1:8081".to_string()))?;
    let page_addr = pm::spawn_http(args.next().unwrap_or_else(|| "127.0.0.1:8082".to_string()))?;

    // A request that takes too long for its route is marked, and `odd` lists it.
    pm::global().kind("route");
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/users/{id}/friends", get(friends))
        .route("/report", get(report))
        .route("/stuck", get(stuck))
        .route("/ticks", get(ticks))
        .route("/chat", get(chat))
        .layer(pm::layer().show_message(true).on_kill(log_it));
    let listener =
        TcpListener::bind(&app_addr).await.map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    let app_addr = listener.local_addr()?;
    println!("requests:    curl http://{app_addr}/stuck               # hangs until it is killed");
    println!("             curl http://{app_addr}/report              # takes three seconds");
    println!("             curl http://{app_addr}/users/5/friends     # so does this");
    println!("             curl -N http://{app_addr}/ticks            # never ends");
    println!("processlist: nc {} {}                      # then: kill req1 houston", pm_addr.ip(), pm_addr.port());
    println!("in a browser: http://{page_addr}/                  # JSON: curl http://{page_addr}/procs/");
    let (close, closed) = oneshot::channel::<()>();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async { _ = closed.await });
    let server = tokio::spawn(server.into_future());

    told_to_stop().await?;
    // It takes no more requests, while those that are running go on.
    drop(close);
    let drained = pm::global().drain(Duration::from_secs(10)).on_wait(|left| eprintln!("{left}")).await;
    eprintln!("{drained}");
    // The last answers are on their way.
    _ = timeout(Duration::from_secs(1), server).await;
    Ok(())
}

async fn told_to_stop() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => eprintln!("^C: no more requests are taken"),
        _ = terminate.recv() => eprintln!("SIGTERM: no more requests are taken"),
    }
    Ok(())
}

/// The reason stands in the log of the server, and the client is told, too.
fn log_it(killed: &pm::Killed, _: &pm::Handle) -> Response {
    eprintln!("{:?} {killed} (in {:?}, at {})", killed.id(), killed.status(), killed.location());
    (StatusCode::SERVICE_UNAVAILABLE, format!("{killed}\n")).into_response()
}

/// Async code: a kill ends it at any await.
async fn friends(Path(id): Path<String>) -> String {
    for status in ["authenticating", "querying", "rendering"] {
        pm::current().set_status(status);
        sleep(Duration::from_secs(1)).await;
    }
    format!("user {id} has no friends\n")
}

/// Code that computes, on a blocking thread: it has kill points of its own. The request is answered
/// as soon as it is killed, and its row stays until this thread has really stopped.
async fn report() -> Result<String, Response> {
    let computing = pm::current().spawn_blocking(|task| {
        let mut sum = 0_u64;
        for chapter in 1..=30 {
            task.status(format!("chapter {chapter}/30"))();
            let until = Instant::now() + Duration::from_millis(100);
            while Instant::now() < until {
                sum = sum.wrapping_mul(31).wrapping_add(chapter);
            }
        }
        sum
    });
    match computing.await {
        Ok(Ok(sum)) => Ok(format!("the sum is {sum}\n")),
        // The kill has dropped this handler before it gets here.
        Ok(Err(killed)) => Err(killed.into_response()),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()),
    }
}

/// Waits for something that never comes.
async fn stuck() -> String {
    pm::current().set_status("waiting for godot");
    std::future::pending().await
}

/// A stream is in the list for as long as it is sent.
async fn ticks() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(1_u64, |n| async move {
        sleep(Duration::from_secs(1)).await;
        pm::current().set_status(format!("tick {n}"));
        Some((Ok(Event::default().data(n.to_string())), n + 1))
    }))
}

/// A websocket outlives its response, so it takes another guard of its task.
async fn chat(upgrade: WebSocketUpgrade) -> Response {
    let Some(task) = pm::current().keep() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    upgrade.on_upgrade(move |socket| async move {
        task.set_status("chatting");
        match task.run(echo(socket)).await {
            Ok(()) => drop(task.done_with("closed")),
            Err(killed) => eprintln!("{:?} {killed}", killed.id()),
        }
    })
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}
