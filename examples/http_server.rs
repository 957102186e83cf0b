//! A web server whose requests can be watched and killed.
//!
//! ```text
//! cargo run --example http_server            # [APP_ADDR [PM_ADDR]]
//!
//! nc localhost 8081                          # watch it in one terminal ..
//! curl localhost:8080/stuck                  # .. and ask for something in others: this hangs,
//! curl localhost:8080/report                 # this takes three seconds,
//! curl localhost:8080/users/5/friends        # and this too
//! ```
//!
//! Then type, at nc: `kill req1 houston, we have a problem`.
//!
//! The killed request answers 503 with the reason, the reason stands in the
//! log of the server, and the next request works.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// The task of a request, shared by all that work for it: it is in the list
/// until the last of them is done.
type Work = Arc<pm::Task>;

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        eprintln!("http_server: {error}");
        std::process::exit(1);
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let app_addr = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_string());
    let pm_addr = args.next().unwrap_or_else(|| "127.0.0.1:8081".to_string());

    pm::set_cols(["host", "method", "uri"]);
    let pm_addr = pm::spawn(pm_addr)?;

    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/users/{id}/friends", get(friends))
        .route("/report", get(report))
        .route("/stuck", get(stuck))
        .layer(middleware::from_fn(list_it));
    let listener =
        TcpListener::bind(&app_addr).await.map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    let app_addr = listener.local_addr()?;
    println!("requests:    curl http://{app_addr}/stuck               # hangs until it is killed");
    println!("             curl http://{app_addr}/report              # takes three seconds");
    println!("             curl http://{app_addr}/users/5/friends     # so does this");
    println!("processlist: nc {} {}                      # then: kill req1 houston", pm_addr.ip(), pm_addr.port());
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Makes every request a task, and a killed one a 503.
async fn list_it(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let id = format!("req{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
    let task = pm::start(id).col("host", peer).col("method", request.method()).col("uri", uri);
    let task: Work = Arc::new(task);
    request.extensions_mut().insert(Arc::clone(&task));

    match task.run(next.run(request)).await {
        Ok(response) => response,
        Err(killed) => {
            eprintln!("{:?} {killed} (in {:?}, at {})", killed.id(), killed.status(), killed.location());
            (StatusCode::SERVICE_UNAVAILABLE, format!("{killed}\n")).into_response()
        }
    }
}

/// Async code: the `run` around it kills it at any await.
async fn friends(Extension(task): Extension<Work>, Path(id): Path<String>) -> String {
    for status in ["authenticating", "querying", "rendering"] {
        task.set_status(status);
        sleep(Duration::from_secs(1)).await;
    }
    format!("user {id} has no friends\n")
}

/// Code that computes, on a blocking thread: it has kill points of its own.
async fn report(Extension(task): Extension<Work>) -> String {
    // The closure holds the task: the request is answered as soon as it is
    // killed, but its row stays until this thread has really stopped.
    let computing = tokio::task::spawn_blocking(move || {
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
        Ok(sum) => format!("the sum is {sum}\n"),
        // A kill goes on as a kill, to the `run` in `list_it`; a bug as a bug.
        Err(error) => match error.into_panic().downcast::<pm::Killed>() {
            Ok(killed) => killed.resume_unwind(),
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// Waits for something that never comes. Only `run` can end this.
async fn stuck(Extension(task): Extension<Work>) -> String {
    task.set_status("waiting for godot");
    std::future::pending().await
}
