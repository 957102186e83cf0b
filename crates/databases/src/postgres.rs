//! PostgreSQL, through tokio-postgres.

use std::sync::Arc;

use tokio::runtime;
use tokio_postgres::{Client, Error, NoTls, Row};

/// The rows of `sql`. A kill of the current task cancels it in the server.
///
/// # Errors
///
/// Those of tokio-postgres; `canceling statement due to user request` if the task was killed.
///
/// # Panics
///
/// If the runtime is shutting down.
pub async fn query(client: Arc<Client>, sql: &'static str) -> Result<Vec<Row>, Error> {
    // excerpt
    let (task, token) = (pm::current(), client.cancel_token());
    let query = tokio::spawn(async move {
        let _row = task.keep();
        let on_kill = task.on_kill(move |_| {
            // A connection of its own, in a runtime of its own: this thread may wait for it.
            if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                _ = runtime.block_on(token.cancel_query(NoTls));
            }
        });
        let rows = client.query(sql, &[]).await;
        drop(on_kill); // waits for a request that is under way: it is not to meet the next query
        rows
    });
    query.await.expect("the query does not panic")
    // end of excerpt
}
