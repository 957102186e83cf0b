//! A busy shop to look at in a browser: orders, exports, imports, and commands of the program's own.
//!
//! ```text
//! cargo run --release --example page --features http      # -- [N [HTTP_ADDR]] [--changes PER_SECOND]
//!
//! open http://localhost:8082/
//! curl localhost:8082/procs/                              # the same for programs
//! curl -d debug localhost:8082/commands/loglevel          # a command of the program's own
//! ```
//!
//! N requests run for as long as the program does, 40 unless told otherwise; so many of them a second go on to
//! another status, or end and are replaced. `import1` takes three seconds to clean up after a kill, `billing` refuses
//! to be killed.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::Duration;

use pm::{Invocation, PortCommand, Reply, Role};
use tokio::sync::mpsc;
use tokio::time::{self, sleep};

const USAGE: &str = "usage: page [N [HTTP_ADDR]] [--changes PER_SECOND]";

const STATUSES: [&str; 5] =
    ["authenticating", "querying orders", "waiting for a lock on stock", "merging", "rendering"];
const PATHS: [&str; 6] = ["/cart", "/orders", "/export/csv", "/users/5/friends", "/report", "/search?q=lamp"];

struct Args {
    tasks: u64,
    addr: String,
    changes: u32,
}

impl Args {
    fn parse(args: impl Iterator<Item = String>) -> Option<Args> {
        let mut parsed = Args { tasks: 40, addr: "127.0.0.1:8082".to_string(), changes: 5 };
        let (mut args, mut place) = (args, 0);
        while let Some(arg) = args.next() {
            match (arg.as_str(), place) {
                ("--changes", _) => parsed.changes = args.next()?.parse().ok()?,
                (flag, _) if flag.starts_with('-') => return None,
                (tasks, 0) => (parsed.tasks, place) = (tasks.parse().ok()?, 1),
                (addr, 1) => (parsed.addr, place) = (addr.to_string(), 2),
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
    pm::set_cols(["host", "method", "uri", "user"]);
    let loglevel = PortCommand::new("loglevel", |call: Invocation| async move {
        match call.args.as_str() {
            level @ ("debug" | "info" | "warn") => Ok(format!("log level {level}")),
            other => Err(format!("no such level '{other}'").into()),
        }
    });
    let logs = PortCommand::new("logs", |call: Invocation| async move {
        let id = call.task.map_or_else(String::new, |task| task.id);
        let lines = futures_util::stream::unfold((id, 1), |(id, n)| async move {
            sleep(Duration::from_millis(300)).await;
            Some((format!("{id}: line {n}"), (id, n + 1)))
        });
        Ok(Reply::lines(lines))
    });
    let addr = pm::global()
        .server()
        .command(loglevel.usage("loglevel <debug|info|warn>").help("how much is logged").role(Role::Kill))
        .command(logs.on_rows().help("follows what it logs"))
        .spawn_http(args.addr)?;
    println!("{} requests: http://{addr}/", args.tasks);

    let billing = pm::start("billing").col("host", "internal").col("uri", "invoices of May").forbid_kill();
    billing.set_status("posting 1,204 of 9,310");
    tokio::spawn(import());
    let (tell, told) = mpsc::unbounded_channel();
    for n in 0..args.tasks {
        let (changes, wanted) = mpsc::unbounded_channel();
        tell.send(changes)?;
        tokio::spawn(request(n, wanted));
    }
    change(told, args.changes).await;
    Ok(())
}

/// A task that takes its time to clean up.
async fn import() {
    let task =
        pm::start("import1").col("host", "internal").col("uri", "s3://stock/2026-11.csv").secret_col("user", "amy");
    for step in 1..=12 {
        task.set_status(format!("row {}", step * 40_000));
    }
    if let Err(killed) = task.run(std::future::pending::<()>()).await {
        eprintln!("{:?} {killed}", killed.id());
        task.set_status("rolling back");
        sleep(Duration::from_secs(3)).await;
    }
}

/// A request that goes on each time that it is told to, and begins anew behind its last status.
async fn request(n: u64, mut wanted: mpsc::UnboundedReceiver<()>) {
    let mut life = 0;
    loop {
        let task = pm::start_numbered("req")
            .col("host", format_args!("10.0.{}.{}:{}", n % 7, n % 250, 20_000 + n % 40_000))
            .col("method", ["GET", "POST", "PUT"][n as usize % 3])
            .col("uri", PATHS[(n + life) as usize % PATHS.len()])
            .secret_col("user", format_args!("user{n}"));
        let work = async {
            for status in STATUSES {
                task.set_status(status);
                if wanted.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Err(killed) = task.run(work).await {
            eprintln!("{:?} {killed}", killed.id());
        }
        life += 1;
    }
}

/// Tells so many a second to go on, some more often than others.
async fn change(mut told: mpsc::UnboundedReceiver<mpsc::UnboundedSender<()>>, per_second: u32) {
    let mut requests = Vec::new();
    while let Ok(request) = told.try_recv() {
        requests.push(request);
    }
    if per_second == 0 || requests.is_empty() {
        return std::future::pending().await;
    }
    let mut ticks = time::interval(Duration::from_secs(1) / per_second);
    let mut at = 1_usize;
    loop {
        ticks.tick().await;
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The product favours a few, so the others grow old.
        let part = ((at >> 33) % 1000) * ((at >> 43) % 1000);
        let n = part * requests.len() / 1_000_000;
        _ = requests[n].send(());
    }
}
