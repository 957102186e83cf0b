//! A kill interrupts a statement in SQLite, and the connection goes on.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use pm_databases::sqlite::fetch;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Row, SqlitePool};
use tokio::task::yield_now;
use tokio::time::timeout;

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

async fn is_killed_when(may_kill: impl Fn(&SqlitePool) -> bool) {
    let list = pm::ProcList::new();
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    let (task, theirs) = (list.start("report1"), pool.clone());
    let report = tokio::spawn(async move { task.run(fetch(&theirs, ENDLESS)).await.map(drop) });
    let until = Instant::now() + SOON;
    while !may_kill(&pool) {
        assert!(Instant::now() < until, "the query has not begun");
        yield_now().await;
    }
    let pending = list.request_kill("report1", "too slow").unwrap();
    assert_eq!(timeout(SOON, report).await.unwrap().unwrap().unwrap_err().message(), "too slow");
    // The row leaves when the database has stopped, and the connection is as new.
    assert_eq!(timeout(SOON, pending.outcome()).await.unwrap().outcome, pm::Outcome::Killed);
    let rows = timeout(SOON, fetch(&pool, "SELECT 6 * 7")).await.expect("the connection is free").unwrap();
    assert_eq!(rows[0].get::<i64, _>(0), 42);
}

#[tokio::test]
async fn a_kill_interrupts_a_statement_that_runs() {
    let began = Instant::now();
    is_killed_when(|pool| pool.num_idle() == 0 && began.elapsed() > Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_kill_before_the_statement_interrupts_it_as_well() {
    is_killed_when(|_| true).await;
}

/// What is printed in the manual is what is tested here.
#[test]
fn the_manual_shows_this_code() {
    let manual = include_str!("../../../docs/what-a-kill-reaches.md");
    for source in [include_str!("../src/sqlite.rs"), include_str!("../src/postgres.rs")] {
        let code = source.split("// excerpt\n").nth(1).unwrap().split("    // end of excerpt").next().unwrap();
        let lines = code.lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
        let code: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(manual.contains(&code), "the manual does not have\n{code}");
    }
}
