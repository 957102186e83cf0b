//! PostgreSQL, through tokio-postgres.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::time::timeout;
use tokio_postgres::{Client, Error, NoTls, Row};

/// The rows of `sql`. A kill of the current task cancels it in the server, whose socket is `server`.
///
/// One query at a time: the server cancels whatever the connection does.
///
/// # Errors
///
/// Those of tokio-postgres; `canceling statement due to user request` if the task was killed.
///
/// # Panics
///
/// If the runtime is shutting down.
pub async fn query(client: Arc<Client>, server: PathBuf, sql: &'static str) -> Result<Vec<Row>, Error> {
    // excerpt
    let (task, token) = (pm::current(), client.cancel_token());
    let query = tokio::spawn(async move {
        let _row = task.keep();
        let on_kill = task.on_kill(move |_| {
            // A runtime of its own: this thread may wait for it.
            if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                let cancel = async {
                    let mut stream = UnixStream::connect(server).await?; // or a TcpStream
                    _ = token.cancel_query_raw(&mut stream, NoTls).await;
                    stream.read_to_end(&mut Vec::new()).await // it ends when the server has cancelled the query
                };
                _ = runtime.block_on(async { timeout(Duration::from_secs(5), cancel).await });
            }
        });
        let rows = client.query(sql, &[]).await;
        drop(on_kill); // waits for a request that is under way: it is not to meet the next query
        rows
    });
    query.await.expect("the query does not panic")
    // end of excerpt
}
