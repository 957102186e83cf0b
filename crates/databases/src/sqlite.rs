//! SQLite, through sqlx.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;

/// The rows of `sql`. A kill of the current task interrupts the statement.
///
/// It runs as a tokio task of its own: so the connection is brought back in order also when the kill drops the code that
/// waits here.
///
/// # Errors
///
/// Those of sqlx; `interrupted` if the task was killed.
pub async fn fetch(pool: &SqlitePool, sql: &'static str) -> Result<Vec<SqliteRow>, sqlx::Error> {
    // excerpt
    let (task, pool) = (pm::current(), pool.clone());
    let query = tokio::spawn(async move {
        let _row = task.keep(); // it stays in the list until the database has stopped
        let mut connection = pool.acquire().await?;
        let is_killed = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&is_killed);
        connection.lock_handle().await?.set_progress_handler(1000, move || !is_stopped.load(Ordering::Relaxed));
        let on_kill = task.on_kill(move |_| is_killed.store(true, Ordering::Relaxed));
        let rows = sqlx::query(sql).fetch_all(&mut *connection).await;
        drop(on_kill);
        connection.lock_handle().await?.remove_progress_handler();
        rows
    });
    query.await.map_err(|error| sqlx::Error::Io(error.into()))?
    // end of excerpt
}
