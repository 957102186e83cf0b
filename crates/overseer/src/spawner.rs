//! Spawner: the thread that starts children and reaps them, one after the other.
//!
//! Both on one thread, because a reaper beside a start takes the status that std waits for there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::oneshot;

use crate::exec::{self, Started};
use crate::group::{Stat, pids};
use crate::pidfd;
use crate::program::Program;
use crate::warden::Warden;

/// How often it is looked whether the warden lives.
const WARDEN: Duration = Duration::from_secs(1);

pub(crate) enum Request {
    Start {
        program: Arc<Program>,
        answer: oneshot::Sender<Result<Started, String>>,
    },
    /// A leader that has exited, and whose group is empty.
    Reap(u32),
    /// Zombies that are children of this process, and that nobody knows.
    ReapOrphans,
}

pub(crate) fn spawn() -> std::io::Result<Sender<Request>> {
    let (sender, requests) = channel();
    std::thread::Builder::new().name("pm-spawner".into()).spawn(move || run(&requests))?;
    Ok(sender)
}

fn run(requests: &Receiver<Request>) {
    // What is started here inherits the mask.
    let _ = SigSet::empty().thread_set_mask();
    let mut spawner = Spawner::default();
    loop {
        let request = match requests.recv_timeout(WARDEN) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => {
                spawner.warden.look_after();
                spawner.sweep();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match request {
            Request::Start { program, answer } => {
                if let Err(Ok(started)) = answer.send(spawner.start(&program)) {
                    spawner.throw_away(&started);
                }
            }
            Request::Reap(pid) => spawner.reap(pid),
            Request::ReapOrphans => spawner.reap_orphans(),
        }
    }
}

#[derive(Default)]
struct Spawner {
    /// The leaders that are not reaped.
    known: HashSet<u32>,
    /// Those of them that nobody wanted. They have had KILL.
    unwanted: Vec<u32>,
    warden: Warden,
}

impl Spawner {
    fn start(&mut self, program: &Program) -> Result<Started, String> {
        let expect = |pipes: &[u64]| match program.die_with_parent {
            true => self
                .warden
                .expect(pipes)
                .map_err(|error| format!("the shell that would outlive us cannot be started: {error}")),
            false => Ok(()),
        };
        let started = exec::start(program, expect);
        match &started {
            Ok(started) => {
                self.known.insert(started.pid);
                if program.die_with_parent {
                    self.warden.add(started.pid);
                }
            }
            Err(_) if program.die_with_parent => self.warden.forget(),
            Err(_) => {}
        }
        started
    }

    fn reap(&mut self, pid: u32) {
        self.warden.remove(pid);
        self.known.remove(&pid);
        wait(pid, WaitIdOptions::NOHANG);
    }

    /// Nobody is there any more who wanted it.
    fn throw_away(&mut self, started: &Started) {
        if let Some(pid) = Pid::from_raw(started.pid.cast_signed()) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        self.unwanted.push(started.pid);
        self.sweep();
    }

    /// Reaps what nobody wanted, as far as it has ended: to wait for it would hold up all others.
    fn sweep(&mut self) {
        for pid in std::mem::take(&mut self.unwanted) {
            if pidfd::look(pid).is_some() {
                self.reap(pid);
            } else {
                self.unwanted.push(pid);
            }
        }
    }

    fn reap_orphans(&self) {
        let me = std::process::id();
        for pid in pids().unwrap_or_default() {
            let is_orphan = |stat: Stat| stat.parent == me && !stat.is_alive();
            let is_known = self.known.contains(&pid) || self.warden.pid() == Some(pid);
            if !is_known && Stat::read(pid).is_ok_and(|stat| stat.is_some_and(is_orphan)) {
                wait(pid, WaitIdOptions::NOHANG);
            }
        }
    }
}

fn wait(pid: u32, options: WaitIdOptions) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | options);
    }
}
