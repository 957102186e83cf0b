//! Thousands of requests that live until they are killed: to try the commands on, and to measure.
//!
//! ```text
//! cargo run --release --example crowd        # [N [PM_ADDR]] [--churn PER_SECOND]
//!
//! nc localhost 8081                          # 10,000 of them; type:
//! where uri~/export
//! sort -time
//! limit 10
//! by method
//! kill where uri~/export and time>30s
//! ```
//!
//! Every tenth is an export, every third is rendering and not querying. A killed one ends and is
//! not replaced. With `--churn`, so many short ones a second come and go beside them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::time;

const USAGE: &str = "usage: crowd [N [PM_ADDR]] [--churn PER_SECOND]";

/// How long a short one lives.
const SHORT: Duration = Duration::from_millis(50);

struct Args {
    tasks: u64,
    pm_addr: String,
    /// Short ones a second.
    churn: u64,
}

impl Args {
    fn parse(args: impl Iterator<Item = String>) -> Option<Args> {
        let mut parsed = Args { tasks: 10_000, pm_addr: "127.0.0.1:8081".to_string(), churn: 0 };
        let mut args = args.peekable();
        let mut place = 0;
        while let Some(arg) = args.next() {
            match (arg.as_str(), place) {
                ("--churn", _) => parsed.churn = args.next()?.parse().ok()?,
                (flag, _) if flag.starts_with('-') => return None,
                (tasks, 0) => (parsed.tasks, place) = (tasks.parse().ok()?, 1),
                (addr, 1) => (parsed.pm_addr, place) = (addr.to_string(), 2),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(args) = Args::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    pm::set_cols(["host", "method", "uri"]);
    let addr = pm::spawn(args.pm_addr)?;
    for n in 0..args.tasks {
        tokio::spawn(live(n));
    }
    println!("{} tasks: nc {} {}", args.tasks, addr.ip(), addr.port());
    churn(args.churn).await;
    Ok(())
}

fn start(id: String, n: u64) -> pm::Task {
    let method = ["GET", "POST", "PUT"][n as usize % 3];
    let uri = if n.is_multiple_of(10) { format!("/export/{n}") } else { format!("/users/{n}") };
    let host = format_args!("127.0.0.1:{}", 10_000 + n % 50_000);
    let task = pm::start(id).col("host", host).col("method", method).col("uri", uri);
    task.set_status(if n % 3 == 2 { "rendering" } else { "querying" });
    task
}

/// One that lives until it is killed.
async fn live(n: u64) {
    let task = start(format!("req{n}"), n);
    let killed = task.killed().await;
    eprintln!("{:?} {killed}", killed.id());
}

/// Short ones, at a steady pace.
async fn churn(per_second: u64) {
    let mut tick = time::interval(Duration::from_millis(10));
    let (began, mut started) = (Instant::now(), 0);
    loop {
        tick.tick().await;
        let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
        for n in started..due {
            tokio::spawn(async move {
                let task = start(format!("short{n}"), n);
                if let Err(killed) = task.run(time::sleep(SHORT)).await {
                    eprintln!("{:?} {killed}", killed.id());
                }
            });
        }
        started = due;
    }
}
