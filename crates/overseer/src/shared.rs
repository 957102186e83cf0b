//! Shared: what the clones of an Overseer share.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pm::ProcList;
use tokio::sync::{Notify, oneshot};

use crate::actor::Event;
use crate::error::Error;
use crate::logs::Logs;
use crate::program::Program;
use crate::status::{LogLine, Outcome, StateChange, Status};
use crate::watch::Board;
use crate::world::{Id, World};

pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) wake: Notify,
    /// `None` for a single run, which has no row.
    pub(crate) list: Option<ProcList>,
    pub(crate) states: Board<StateChange>,
    pub(crate) logs: Arc<Board<LogLine>>,
}

/// What is behind one lock. It is held for a step of the actors, and never while something is waited for.
#[derive(Default)]
pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) slots: HashMap<Id, Slot>,
    /// Somebody supervises all: what is added is supervised too.
    pub(crate) all: Vec<oneshot::Sender<()>>,
    /// A signal has stopped them all, and what is added is not.
    is_interrupted: bool,
    /// The last clone is gone.
    pub(crate) is_closed: bool,
    pub(crate) closers: Vec<SyncSender<()>>,
}

/// What there is for each program beside its actor.
pub(crate) struct Slot {
    pub(crate) logs: Arc<Logs>,
    /// Its id in the list, while it has a row.
    pub(crate) row: Option<String>,
    pub(crate) ended: Vec<oneshot::Sender<Outcome>>,
    /// Those who wait for a run of this generation or a later one.
    pub(crate) settled: Vec<(u64, oneshot::Sender<Status>)>,
}

impl Shared {
    pub(crate) fn new(list: Option<ProcList>) -> Arc<Self> {
        let logs = Arc::new(Board::new());
        Arc::new(Shared { core: Mutex::default(), wake: Notify::new(), list, states: Board::new(), logs })
    }

    /// Without a word to the driver, whose own it is.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, or takes a step, and lets the driver do what comes of it.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R {
        let result = step(&mut self.lock());
        self.wake.notify_one();
        result
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.lock())
    }

    pub(crate) fn step(&self, id: &str, event: Event) {
        self.with(|core| core.step(id, event));
    }

    /// Ends it all, and tells when that is done.
    pub(crate) fn close(&self, done: SyncSender<()>) {
        self.with(|core| {
            core.is_closed = true;
            core.closers.push(done);
            core.kill_all();
        });
    }
}

impl Core {
    pub(crate) fn add(&mut self, id: &str, program: Program, is_captured: bool) -> Result<(), Error> {
        let known = self.world.add(id, program)?;
        let node = self.world.node(id)?;
        let logs = Arc::new(Logs::new(&known, &node.program, is_captured));
        let slot = Slot { logs, row: None, ended: Vec::new(), settled: Vec::new() };
        self.slots.insert(known, slot);
        if !self.all.is_empty() && !self.is_interrupted {
            self.step(id, Event::Start);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<(), Error> {
        self.world.remove(id)?;
        self.slots.remove(id);
        Ok(())
    }

    pub(crate) fn check(&self, id: &str) -> Result<(), Error> {
        self.world.node(id)?;
        if self.is_closed { Err(Error::Closed { id: id.to_string() }) } else { Ok(()) }
    }

    pub(crate) fn step(&mut self, id: &str, event: Event) {
        self.world.step(id, event, Instant::now());
    }

    pub(crate) fn stop_all(&mut self) {
        self.world.stop_all(Instant::now());
    }

    /// A signal has come: the second one kills what is left.
    pub(crate) fn interrupt(&mut self, is_second: bool) {
        self.is_interrupted = true;
        if is_second { self.kill_all() } else { self.stop_all() }
    }

    pub(crate) fn kill_all(&mut self) {
        self.world.step_all(&Event::Kill, Instant::now());
    }

    /// Starts all, and tells when nothing is left to be done. `None` if somebody does that already.
    pub(crate) fn supervise_all(&mut self) -> Option<oneshot::Receiver<()>> {
        self.all.retain(|waiting| !waiting.is_closed());
        if !self.all.is_empty() || self.is_closed {
            return None;
        }
        let (sender, done) = oneshot::channel();
        self.all.push(sender);
        self.is_interrupted = false;
        self.world.step_all(&Event::Start, Instant::now());
        Some(done)
    }

    /// Nobody supervises all any more.
    pub(crate) fn forget_all(&mut self) {
        self.all.clear();
    }

    /// Tells when this supervision has ended. `None` if there is none.
    pub(crate) fn until_ended(&mut self, id: &str) -> Option<oneshot::Receiver<Outcome>> {
        let node = self.world.node(id).ok()?;
        if !node.actor.is_supervised() {
            return None;
        }
        let (sender, ended) = oneshot::channel();
        if node.actor.is_stuck_now() {
            let _ = sender.send(node.actor.outcome());
        } else if let Some(slot) = self.slots.get_mut(id) {
            slot.ended.push(sender);
        }
        Some(ended)
    }

    /// Tells when the next run is ready, or over.
    pub(crate) fn until_settled(&mut self, id: &str) -> Option<oneshot::Receiver<Status>> {
        let from = self.world.node(id).ok()?.actor.next_run();
        let (sender, settled) = oneshot::channel();
        self.slots.get_mut(id)?.settled.push((from, sender));
        Some(settled)
    }

    /// How its last supervision ended.
    pub(crate) fn last(&self, id: &str) -> Option<Outcome> {
        self.world.node(id).ok()?.last.clone()
    }

    pub(crate) fn logs_of(&self, id: &str) -> Option<Arc<Logs>> {
        self.slots.get(id).map(|slot| Arc::clone(&slot.logs))
    }

    /// The program whose row has this id in the list.
    pub(crate) fn of_row(&self, row: &str) -> Option<Id> {
        self.slots.iter().find(|(_, slot)| slot.row.as_deref() == Some(row)).map(|(id, _)| Arc::clone(id))
    }

    pub(crate) fn all_logs(&self) -> Vec<Arc<Logs>> {
        self.slots.values().map(|slot| Arc::clone(&slot.logs)).collect()
    }

    pub(crate) fn status(&self, id: &str) -> Option<Status> {
        let node = self.world.node(id).ok()?;
        let (actor, run) = (&node.actor, node.actor.run());
        let (exit_code, signal) = actor.exit_parts();
        Some(Status {
            id: id.to_string(),
            group: node.program.group.clone(),
            command: node.program.shown(),
            dir: node.program.dir.clone(),
            pid: run.pid,
            generation: actor.generation(),
            state: actor.state(),
            exit_code,
            signal,
            error: run.error.clone(),
            started: run.started,
            restarts: actor.restarts(),
            next_start: actor.next_start().map(|at| at.saturating_duration_since(Instant::now())),
            kill_in: actor.kill_at().map(|at| at.saturating_duration_since(Instant::now())),
            supervised: actor.is_wanted(),
            ready: run.is_ready,
            lines_dropped: self.slots.get(id).map_or(0, |slot| slot.logs.lines_dropped()),
        })
    }
}
