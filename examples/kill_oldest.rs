//! Kills the oldest task of a server and says what became of it.
//!
//! ```text
//! cargo run --example kill_oldest --features client       # -- [URL [MESSAGE]]
//! ```
//!
//! The server is one of this crate (`http_server`, `page`) or of the Go package VividCortex/pm. A token is taken from
//! the variable `PM_TOKEN`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use pm::Outcome;
use pm::client::{Client, Error, Waited};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://127.0.0.1:8082".to_string());
    let message = args.next().unwrap_or_else(|| "the oldest has to go".to_string());
    if let Err(error) = kill_oldest(&url, &message).await {
        eprintln!("kill_oldest: {url}: {error}");
        std::process::exit(1);
    }
}

async fn kill_oldest(url: &str, message: &str) -> Result<(), Error> {
    let mut client = Client::new(url);
    if let Ok(token) = std::env::var("PM_TOKEN") {
        client = client.token(token);
    }
    let procs = client.processes().await?;
    let Some(oldest) = procs.first() else {
        println!("nothing is running");
        return Ok(());
    };
    let (id, status) = (&oldest.id, &oldest.status);
    println!("killing {id:?} in {status:?}, {:.1}s old", oldest.elapsed.as_secs_f64());
    match client.kill_and_wait(id, message, Duration::from_secs(10)).await? {
        Waited::Ended(end) if end.outcome == Outcome::Killed => {
            println!("killed {id:?} after {:.1}s in {:?}", end.after.as_secs_f64(), end.status);
        }
        Waited::Ended(end) => println!("{id:?} {} before the kill reached it", end.outcome),
        Waited::Running { status, seen: true } => {
            println!("{id:?} saw the kill and is still cleaning up, in {status:?}")
        }
        Waited::Running { status, .. } => println!("{id:?} is still running after 10s, in {status:?}"),
        _ => println!("{id:?} was asked to stop: this server does not tell more"),
    }
    Ok(())
}
