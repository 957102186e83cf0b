//! Three real programs beside the program's own tasks, in one list.
//!
//! ```text
//! cargo run -p pm-overseer --example supervised
//! nc localhost 8081               # or http://localhost:8082/ in a browser
//! ```
//!
//! `web` is a server, `cache` depends on it, and `clock` crashes now and then. Try `kill clock enough`, `restart web`,
//! `logs -f clock`, `stop cache`, `start`, `where kind=process`.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use pm_overseer::{Backoff, Outcome, Overseer, Probe, Program, Restart};

/// Crashes after some seconds, and says what it does until then.
const CLOCK: &str = "for i in 1 2 3 4 5 6 7; do date; sleep 1; done; echo 'the spring broke' >&2; exit 3";
/// Writes to a file, and tidies up when it is stopped.
const CACHE: &str = "trap 'echo saved; exit 0' TERM; while :; do echo \"$(date) evicted $$\"; sleep 2 & wait $!; done";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| ":8081".to_string());
    let page = args.next().unwrap_or_else(|| "127.0.0.1:8082".to_string());
    let overseer = Overseer::new();
    let sh = |script: &str| Program::new("sh").args(["-c", script]).die_with_parent(true);
    let web = "exec python3 -u -m http.server --bind 127.0.0.1 0 2>&1";
    overseer.add("web", sh(web).group("front").ready(Probe::log("Serving HTTP")))?;
    overseer.add("cache", sh(CACHE).group("front").parent("web").restart(Restart::Always))?;
    let backoff = Backoff { max: Duration::from_secs(5), ..Backoff::default() };
    overseer.add("clock", sh(CLOCK).backoff(backoff))?;

    pm::set_cols(pm_overseer::COLS);
    let addr = pm::global().server().delay(Duration::from_secs(2)).commands(overseer.commands()).spawn(addr)?;
    let page = pm::global().server().commands(overseer.commands()).spawn_http(page)?;
    println!("nc {} {}", addr.ip(), addr.port());
    println!("http://{page}/ in a browser");
    println!("then: where kind=process, logs -f clock, kill clock enough, restart web, start");

    // Tasks of the program's own, in the same list.
    let requests = tokio::spawn(async {
        loop {
            let task = pm::start_numbered("req");
            if let Err(killed) = task.run(tokio::time::sleep(Duration::from_secs(7))).await {
                println!("{}: {killed}", killed.id());
            }
        }
    });
    overseer.supervise_all().await;
    requests.abort();
    for status in overseer.list() {
        let how = overseer.last_outcome(&status.id).as_ref().map(Outcome::to_string);
        println!("{}: {}", status.id, how.unwrap_or_else(|| status.state.to_string()));
    }
    Ok(())
}
