//! A program that is instrumented with `tracing` becomes a processlist by one line.
//!
//! ```text
//! cargo run --example instrumented --features tracing-layer  # -- [PM_ADDR]
//!
//! nc localhost 8081                          # watch it, and type: kill import1 too slow
//! ```
//!
//! Nothing below `main` names this crate, but for one line: the kill point.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, instrument, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = pm::spawn(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string()))?;
    pm::set_cols(["file", "rows"]);
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO))
        .with(pm::tracing_layer().roots().with_filter(LevelFilter::INFO)) // this one
        .init();
    println!("processlist: nc {} {}", addr.ip(), addr.port());

    let imports = ["orders.csv", "users.csv", "stock.csv"].map(|file| tokio::spawn(import_for_ever(file)));
    for import in imports {
        import.await?;
    }
    Ok(())
}

async fn import_for_ever(file: &'static str) {
    loop {
        if let Err(error) = import(file, 40).await {
            warn!(%error, "import failed");
        }
    }
}

#[instrument]
async fn import(file: &str, rows: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
    for batch in 0..rows / 10 {
        read(batch).await;
        store(batch).await;
        pm::current().check()?;
    }
    info!("imported");
    Ok(())
}

#[instrument]
async fn read(batch: u32) {
    sleep(Duration::from_millis(1500)).await;
}

#[instrument]
async fn store(batch: u32) {
    sleep(Duration::from_millis(1000)).await;
}
