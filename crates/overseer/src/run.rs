//! Run: one run of a program, from its start until it is reaped.

use std::sync::Arc;

use rustix::process::{Pid, getpgid, kill_process, kill_process_group};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::actor::{Exit, Of};
use crate::exec::Started;
use crate::group::Seen;
use crate::hub::hub;
use crate::logs::{Awaited, Logs, OUTPUT, Reader};
use crate::pidfd;
use crate::probe::Check;
use crate::probing;
use crate::program::Program;
use crate::signal::Signal;
use crate::spawner::Request;
use crate::status::{LogLine, OutputStream};
use crate::watch::Board;

/// Tells the actor.
type Tell = Arc<dyn Fn(Of) + Send + Sync>;

pub(crate) struct Run {
    generation: u64,
    /// `None` if it has no process.
    pid: Option<u32>,
    tell: Tell,
    program: Arc<Program>,
    exit: Option<JoinHandle<()>>,
    probe: Option<JoinHandle<()>>,
    /// A line of the log says that it is ready.
    line: Arc<Notify>,
    outputs: Vec<(JoinHandle<()>, Arc<Notify>)>,
    is_watched: bool,
}

impl Run {
    /// Takes over a child that has been started.
    pub(crate) fn new(
        started: Started,
        generation: u64,
        program: &Arc<Program>,
        logs: &Arc<Logs>,
        board: Arc<Board<LogLine>>,
        tell: Tell,
    ) -> Self {
        let line = Arc::new(Notify::new());
        let mut outputs = Vec::new();
        let awaited = match program.ready.as_ref().map(|probe| &probe.check) {
            Some(Check::Log(text)) => Some(Awaited::new(text.clone(), Arc::clone(&line))),
            _ => None,
        };
        for (pipe, stream) in [(started.stdout, OutputStream::Stdout), (started.stderr, OutputStream::Stderr)] {
            if let Some(pipe) = pipe.and_then(|pipe| Receiver::from_owned_fd(pipe).ok()) {
                let leave = Arc::new(Notify::new());
                let (board, awaited) = (Arc::clone(&board), awaited.clone());
                let reader = Reader {
                    logs: Arc::clone(logs),
                    board,
                    generation,
                    stream,
                    awaited,
                    leave: Arc::clone(&leave),
                    is_left: false,
                };
                outputs.push((hub().runtime.spawn(reader.read(pipe)), leave));
            }
        }
        let pid = started.pid;
        let told = Arc::clone(&tell);
        let exit = hub().runtime.spawn(async move {
            told(Of::Exited(pidfd::exit(pid, started.pidfd).await));
        });
        let program = Arc::clone(program);
        let (pid, exit) = (Some(pid), Some(exit));
        Run { generation, pid, tell, program, exit, probe: None, line, outputs, is_watched: false }
    }

    /// A run without a process, which ends when it is told to.
    pub(crate) fn of_nothing(generation: u64, program: &Arc<Program>, tell: Tell) -> Self {
        Run {
            generation,
            pid: None,
            tell,
            program: Arc::clone(program),
            exit: None,
            probe: None,
            line: Arc::new(Notify::new()),
            outputs: Vec::new(),
            is_watched: false,
        }
    }

    pub(crate) fn is(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// To the whole group, and to a leader that has joined another one. The leader is not reaped, so both are ours.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid else {
            if matches!(signal, Signal::TERM | Signal::KILL) {
                (self.tell)(Of::Exited(Exit::Code(0)));
            }
            return;
        };
        if let Some(leader) = Pid::from_raw(pid.cast_signed()) {
            let _ = kill_process_group(leader, signal.to_system());
            if getpgid(Some(leader)).is_ok_and(|group| group != leader) {
                let _ = kill_process(leader, signal.to_system());
            }
        }
    }

    pub(crate) fn ask_ready(&mut self) {
        let (program, line, pid) = (Arc::clone(&self.program), Arc::clone(&self.line), self.pid);
        let tell = Arc::clone(&self.tell);
        self.probe_by(async move {
            if let Some(probe) = &program.ready {
                // One that is dead is never ready, whatever answered in its place.
                let is_dead = || pid.is_some_and(|pid| pidfd::look(pid).is_some());
                if !is_dead() {
                    probing::until_ready(probe, &program, &line).await;
                    if !is_dead() {
                        tell(Of::Ready);
                    }
                }
            }
        });
    }

    pub(crate) fn ask_health(&mut self) {
        let program = Arc::clone(&self.program);
        let tell = Arc::clone(&self.tell);
        self.probe_by(async move {
            tell(Of::Unwell(probing::until_unwell(&program).await));
        });
    }

    fn probe_by(&mut self, asking: impl Future<Output = ()> + Send + 'static) {
        self.stop_asking();
        self.probe = Some(hub().runtime.spawn(asking));
    }

    pub(crate) fn stop_asking(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }

    /// Tells what is left of the group, and when nothing is, and its output has ended.
    pub(crate) fn watch(&mut self) {
        self.stop_asking();
        if std::mem::replace(&mut self.is_watched, true) {
            return;
        }
        let tell = Arc::clone(&self.tell);
        let Some(pid) = self.pid else { return tell(Of::Gone) };
        let outputs = std::sync::Mutex::new(std::mem::take(&mut self.outputs));
        hub().scanner.watch(pid, move |seen| match seen {
            Seen::Left(members) => tell(Of::Left(members)),
            Seen::Empty => {
                // It was seen to be a zombie. Its pidfd may be slower to tell.
                tell(Of::Exited(pidfd::look(pid).unwrap_or(Exit::Lost)));
                let outputs = outputs.lock().map(|mut outputs| std::mem::take(&mut *outputs)).unwrap_or_default();
                let tell = Arc::clone(&tell);
                hub().runtime.spawn(async move {
                    end(outputs).await;
                    tell(Of::Gone);
                });
            }
        });
    }

    /// Its group is empty.
    pub(crate) fn release(mut self) {
        self.stop_asking();
        if let (Some(exit), Some(pid)) = (self.exit, self.pid) {
            exit.abort();
            hub().ask(Request::Reap(pid));
        }
    }
}

/// Waits for what is still in the pipes: not for ever, since others may hold them.
async fn end(outputs: Vec<(JoinHandle<()>, Arc<Notify>)>) {
    let (mut readers, leave): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
    let all = async {
        for reader in &mut readers {
            let _ = reader.await;
        }
    };
    if timeout(OUTPUT, all).await.is_err() {
        // They go on as long as a file takes what was printed.
        leave.iter().for_each(|leave| leave.notify_one());
    }
}
