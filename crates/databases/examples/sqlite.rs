//! A report that SQLite computes, for ever, until it is killed.
//!
//! ```text
//! cargo run -p pm-databases --example sqlite       # -- [PM_ADDR]
//!
//! nc localhost 8081                                # and type: kill report1 too slow
//! ```
//!
//! The statement is interrupted in the database, and the same connection computes the next one.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;

use pm_databases::sqlite::fetch;
use sqlx::Row;
use sqlx::sqlite::SqlitePoolOptions;

/// Counts, and never comes to an end.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_string());
    let addr = pm::spawn(addr)?;
    println!("processlist: nc {} {}       # then: kill report1 too slow", addr.ip(), addr.port());

    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    for n in 1.. {
        let task = pm::start(format!("report{n}"));
        task.set_status("querying");
        match task.run(fetch(&pool, ENDLESS)).await {
            Ok(rows) => println!("{} rows", rows?.len()),
            Err(killed) => eprintln!("{:?} {killed}", killed.id()),
        }
        drop(task);
        let rows = fetch(&pool, "SELECT 6 * 7").await?;
        println!("the connection works: {}", rows[0].try_get::<i64, _>(0)?);
    }
    Ok(())
}
