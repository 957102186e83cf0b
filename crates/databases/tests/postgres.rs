//! A kill cancels a query in a PostgreSQL server, and the connection goes on.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pm_databases::postgres::query;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A server of its own, at a socket in a folder of its own.
struct Server {
    folder: PathBuf,
    process: Child,
}

impl Server {
    fn start(name: &str) -> Server {
        let folder = std::env::temp_dir().join(format!("pm-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let data = folder.join("data");
        if is_root() {
            assert!(Command::new("chown").arg("nobody").arg(&folder).status().unwrap().success());
        }
        let initdb = command("initdb").args(["-A", "trust", "-U", "amy", "-D"]).arg(&data).output().unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-c", "listen_addresses="]);
        let process = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Server { folder, process }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    async fn connect(&self) -> Client {
        let mut config = Config::new();
        config.host_path(&self.folder).user("amy").dbname("postgres");
        let until = Instant::now() + SOON;
        loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            yield_now().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A program of PostgreSQL's, which does not run as root.
fn command(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    let program = installed.unwrap_or_else(|| Path::new(name).to_path_buf());
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs initdb and postgres (postgresql), and setpriv as root"]
async fn a_kill_cancels_the_query_and_the_next_one_is_answered() {
    let server = Server::start("query");
    let (client, watcher) = (Arc::new(server.connect().await), server.connect().await);
    let list = pm::ProcList::new();
    let (task, query_on) =
        (list.start("report1"), query(Arc::clone(&client), server.socket(), "SELECT pg_sleep(3600)"));
    let report = tokio::spawn(async move { task.run(query_on).await.map(drop) });
    let running = "SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)' AND state = 'active'";
    let until = Instant::now() + SOON;
    while watcher.query(running, &[]).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "the query has not begun");
    }
    let pending = list.request_kill("report1", "too slow").unwrap();
    assert_eq!(timeout(SOON, report).await.unwrap().unwrap().unwrap_err().message(), "too slow");
    // The row leaves when the server has stopped.
    assert_eq!(timeout(SOON, pending.outcome()).await.unwrap().outcome, pm::Outcome::Killed);
    assert!(watcher.query(running, &[]).await.unwrap().is_empty());
    let rows =
        timeout(SOON, query(client, server.socket(), "SELECT 6 * 7")).await.expect("the connection is free").unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs initdb and postgres (postgresql), and setpriv as root"]
async fn a_kill_at_the_end_of_a_query_does_not_cancel_the_next_one() {
    let server = Server::start("next");
    let client = Arc::new(server.connect().await);
    let list = pm::ProcList::new();
    let mut killed = 0;
    for round in 0..300 {
        let task = list.start("report1");
        let query_on = query(Arc::clone(&client), server.socket(), "SELECT pg_sleep(0.003)");
        let report = tokio::spawn(async move { task.run(query_on).await.map(drop) });
        // Somewhere near its end, before or after it.
        tokio::time::sleep(Duration::from_micros(2500 + round * 5)).await;
        if let Ok(pending) = list.request_kill("report1", "too slow") {
            timeout(SOON, pending.outcome()).await.unwrap();
        }
        killed += u32::from(timeout(SOON, report).await.unwrap().unwrap().is_err());
        let next = client.query("SELECT pg_sleep(0.005)", &[]).await;
        assert!(next.is_ok(), "round {round}: {next:?}");
    }
    assert!(killed > 0, "no kill met a query");
}
