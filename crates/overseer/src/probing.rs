//! Probing: asks one program whether it is ready, and then whether it is well.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::actor::Exit;
use crate::hub::hub;
use crate::output::Output;
use crate::pidfd;
use crate::probe::{Check, Probe, http_target};
use crate::program::Program;
use crate::spawner;

/// Returns when it is ready. `line` tells of a line of the log.
pub(crate) async fn until_ready(probe: &Probe, program: &Program, line: &Notify) {
    if let Check::Log(_) = probe.check {
        return line.notified().await;
    }
    while ask(probe, program).await.is_err() {
        sleep(probe.period).await;
    }
}

/// Returns when one of its probes says that it is unwell, and why. They are asked one at a time.
pub(crate) async fn until_unwell(program: &Program) -> String {
    let turn = Mutex::new(());
    let all: FuturesUnordered<_> = program.health.iter().map(|probe| until_unwell_by(probe, program, &turn)).collect();
    match all.into_future().await {
        (Some(why), _) => why,
        (None, _) => std::future::pending().await,
    }
}

async fn until_unwell_by(probe: &Probe, program: &Program, turn: &Mutex<()>) -> String {
    let mut failures = 0;
    loop {
        sleep(probe.period).await;
        let _turn = turn.lock().await;
        match ask(probe, program).await {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                if failures >= probe.failures {
                    return format!("unwell: {why}");
                }
            }
        }
    }
}

async fn ask(probe: &Probe, program: &Program) -> Result<(), String> {
    let answer = async {
        match &probe.check {
            Check::Tcp(addr) => {
                let connected = TcpStream::connect(addr.as_str()).await;
                connected.map(drop).map_err(|error| format!("no connection to {addr}: {error}"))
            }
            Check::Http(url) => get(url).await,
            Check::Exec(command, args) => run(command, args, program).await,
            Check::Log(_) => Ok(()),
            Check::Own(ask) => (ask.0)().await,
        }
    };
    let late = |_| format!("the probe took longer than {}", humantime::format_duration(probe.timeout));
    timeout(probe.timeout, answer).await.map_err(late)?
}

async fn get(url: &str) -> Result<(), String> {
    let (addr, uri) = http_target(url)?;
    let failed = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let stream = TcpStream::connect(&addr).await.map_err(|error| failed(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.map_err(|error| failed(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(header::HOST, uri.authority().map_or("", |host| host.as_str()));
    let request =
        request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let answer = async {
        let response = client.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("{url} answers {status}")) }
    };
    // The connection may end with the answer; without one, the request fails.
    let connection = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = connection => never,
    }
}

/// A command that is a probe, in a group of its own. Dropping it kills that.
async fn run(command: &str, args: &[String], of: &Program) -> Result<(), String> {
    let probe = Program { dir: of.dir.clone(), env: of.env.clone(), env_clear: of.env_clear, ..Program::new(command) };
    let probe = probe.args(args).stdout(Output::Null).stderr(Output::Null).die_with_parent(of.die_with_parent);
    let (answer, started) = oneshot::channel();
    hub().ask(spawner::Request::Start { program: Arc::new(probe), answer });
    let started = started.await.map_err(|_| "the spawner is gone".to_string())??;
    let group = Group(started.pid);
    let exit = pidfd::exit(started.pid, started.pidfd).await;
    drop(group);
    if exit == Exit::Code(0) { Ok(()) } else { Err(format!("'{}' ended with {exit}", command.escape_debug())) }
}

struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = Pid::from_raw(self.0.cast_signed()) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        // KILL has been sent; the leader becomes a zombie soon. The scan tells when.
        let pid = self.0;
        hub().scanner.watch(pid, move |seen| {
            if let crate::group::Seen::Empty = seen {
                hub().ask(spawner::Request::Reap(pid));
            }
        });
    }
}
