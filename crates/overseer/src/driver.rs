//! Driver: does what the actors of one Overseer want, on the thread that never blocks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::actor::{Action, Change, Event, Of};
use crate::hub::hub;
use crate::logs::Logs;
use crate::program::Program;
use crate::row::Row;
use crate::run::Run;
use crate::shared::Shared;
use crate::spawner::Request;
use crate::status::{Outcome, Reason, State, StateChange};
use crate::world::Id;

/// How often lost lines are looked for, which come without an event.
const DROPPED: Duration = Duration::from_secs(1);

/// Does what the actors of one Overseer want, until it is closed and nothing is left.
pub(crate) fn spawn(shared: Arc<Shared>) {
    hub().runtime.spawn(Driver { shared, live: HashMap::new(), started: Arc::default() }.run());
}

struct Driver {
    shared: Arc<Shared>,
    live: HashMap<Id, Live>,
    /// Runs that have begun.
    started: Arc<Mutex<Vec<(Id, Run)>>>,
}

#[derive(Default)]
struct Live {
    row: Option<Row>,
    run: Option<Run>,
    /// What is done before the start.
    preparing: Option<JoinHandle<()>>,
    dropped: u64,
}

impl Driver {
    async fn run(mut self) {
        loop {
            let (actions, stepped, wake_at) = {
                let mut core = self.shared.lock();
                core.world.tick(Instant::now());
                let (actions, stepped) = (core.world.take_actions(), core.world.take_stepped());
                (actions, stepped, core.world.wake_at())
            };
            // After the actions: a run is there before anything is to be done with it.
            for (id, run) in std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner)) {
                self.live.entry(id).or_default().run = Some(run);
            }
            for (id, generation, action) in actions {
                self.perform(&id, generation, action);
            }
            for id in &stepped {
                self.show(id);
            }
            if self.rest() {
                return;
            }
            // Lines may be lost while nothing happens otherwise.
            let look = Instant::now() + DROPPED;
            let is_shown = self.live.values().any(|live| live.row.is_some());
            let until = wake_at.into_iter().chain(is_shown.then_some(look)).min();
            let sleep = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep => self.show_dropped(),
            }
        }
    }

    fn perform(&mut self, id: &Id, generation: u64, action: Action) {
        match action {
            Action::Begin => self.begin(id),
            Action::Prepare => self.prepare(id, generation),
            Action::Desist => {
                if let Some(preparing) = self.live.get_mut(id).and_then(|live| live.preparing.take()) {
                    preparing.abort();
                }
            }
            Action::Spawn => self.spawn(id, generation),
            Action::Publish(Change { state, pid, exit_code, signal, error, reason, next_start }) => {
                if let Some(run) = self.run_of(id, generation)
                    && state == State::Stopping
                {
                    run.stop_asking();
                }
                let change = StateChange {
                    id: Arc::clone(id),
                    generation,
                    state,
                    at: SystemTime::now(),
                    pid,
                    exit_code,
                    signal,
                    error,
                    reason,
                    next_start,
                };
                self.shared.states.send(&change);
            }
            Action::Settled => self.settle(id, generation),
            Action::Stuck(outcome) => {
                let ended = self.shared.lock().slots.get_mut(id).map(|slot| std::mem::take(&mut slot.ended));
                answer(ended.unwrap_or_default(), &outcome);
                self.settle(id, u64::MAX);
            }
            Action::End(outcome, note) => self.end(id, generation, outcome, note),
            Action::Release => {
                let run = self.live.get_mut(id).and_then(|live| live.run.take_if(|run| run.is(generation)));
                if let Some(run) = run {
                    run.release();
                }
            }
            Action::Signal(signal) => {
                if let Some(run) = self.run_of(id, generation) {
                    run.signal(signal);
                }
            }
            Action::Watch => {
                if let Some(run) = self.run_of(id, generation) {
                    run.watch();
                }
            }
            Action::AskReady => {
                if let Some(run) = self.run_of(id, generation) {
                    run.ask_ready();
                }
            }
            Action::AskHealth => {
                if let Some(run) = self.run_of(id, generation) {
                    run.ask_health();
                }
            }
        }
    }

    fn run_of(&mut self, id: &Id, generation: u64) -> Option<&mut Run> {
        self.live.get_mut(id)?.run.as_mut().filter(|run| run.is(generation))
    }

    fn program(&self, id: &Id) -> Option<(Arc<Program>, Arc<Logs>)> {
        self.shared.look(|core| {
            let node = core.world.node(id).ok()?;
            Some((Arc::clone(&node.program), core.logs_of(id)?))
        })
    }

    fn begin(&mut self, id: &Id) {
        let Some((program, _)) = self.program(id) else { return };
        let live = self.live.entry(Arc::clone(id)).or_default();
        if let Some(list) = &self.shared.list {
            let task = list.start(id.as_ref());
            let row = task.id().to_string();
            let (killed, shared, victim) = (task.killed(), Arc::clone(&self.shared), Arc::clone(id));
            let waits = hub().runtime.spawn(async move {
                let killed = killed.await;
                shared.step(&victim, Event::Stop(Reason::Killed(killed.message().to_string())));
            });
            live.row = Some(Row::new(task, &program, waits));
            if let Some(slot) = self.shared.lock().slots.get_mut(id) {
                slot.row = Some(row);
            }
        }
    }

    fn prepare(&mut self, id: &Id, generation: u64) {
        let Some(before) = self.program(id).and_then(|(program, _)| program.before.clone()) else { return };
        let (shared, of) = (Arc::clone(&self.shared), Arc::clone(id));
        let preparing = hub().runtime.spawn(async move {
            (before.0)().await;
            shared.step(&of, Event::Run(generation, Of::Prepared));
        });
        self.live.entry(Arc::clone(id)).or_default().preparing = Some(preparing);
    }

    fn spawn(&mut self, id: &Id, generation: u64) {
        let Some((program, logs)) = self.program(id) else { return };
        if program.is_nothing {
            let (shared, of) = (Arc::clone(&self.shared), Arc::clone(id));
            let tell = Arc::new(move |told| shared.step(&of, Event::Run(generation, told)));
            self.live.entry(Arc::clone(id)).or_default().run = Some(Run::of_nothing(generation, &program, tell));
            return self.shared.step(id, Event::Run(generation, Of::Started { pid: None, at: SystemTime::now() }));
        }
        let (answer, started) = oneshot::channel();
        hub().ask(Request::Start { program: Arc::clone(&program), answer });
        let (shared, runs, id) = (Arc::clone(&self.shared), Arc::clone(&self.started), Arc::clone(id));
        hub().runtime.spawn(async move {
            let lost = |_| Err("the thread that starts programs is gone".to_string());
            match started.await.unwrap_or_else(lost) {
                Ok(child) => {
                    let (pid, at) = (child.pid, SystemTime::now());
                    let (shared_too, of) = (Arc::clone(&shared), Arc::clone(&id));
                    let tell = Arc::new(move |told| shared_too.step(&of, Event::Run(generation, told)));
                    let run = Run::new(child, generation, &program, &logs, Arc::clone(&shared.logs), tell);
                    runs.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(&id), run));
                    shared.step(&id, Event::Run(generation, Of::Started { pid: Some(pid), at }));
                }
                Err(error) => shared.step(&id, Event::Run(generation, Of::NotStarted(error))),
            }
        });
    }

    /// A run of this generation is ready, or over.
    fn settle(&self, id: &Id, generation: u64) {
        let mut core = self.shared.lock();
        let Some(status) = core.status(id) else { return };
        let Some(slot) = core.slots.get_mut(id) else { return };
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut slot.settled).into_iter().partition(|(from, _)| *from <= generation);
        slot.settled = later;
        drop(core);
        answer(due.into_iter().map(|(_, sender)| sender), &status);
    }

    fn end(&mut self, id: &Id, generation: u64, outcome: Outcome, note: String) {
        if let Some(row) = self.live.get_mut(id).and_then(|live| live.row.take()) {
            row.end(note);
        }
        self.live.remove(id);
        let ended = self.shared.lock().slots.get_mut(id).map(|slot| {
            slot.row = None;
            std::mem::take(&mut slot.ended)
        });
        answer(ended.unwrap_or_default(), &outcome);
        // If it has begun anew already, those who wait for that wait on.
        let is_over = self.shared.look(|core| core.world.node(id).is_ok_and(|node| !node.actor.is_supervised()));
        self.settle(id, if is_over { u64::MAX } else { generation });
    }

    fn show(&mut self, id: &Id) {
        let Some(row) = self.live.get_mut(id).and_then(|live| live.row.as_mut()) else { return };
        let shown = self.shared.look(|core| {
            let node = core.world.node(id).ok()?;
            let text = node.actor.describe(node.parent.as_deref());
            Some((core.status(id)?, text, node.actor.last_run().map(str::to_string)))
        });
        if let Some((status, text, last)) = shown {
            row.update(&status, text, last.as_deref());
        }
    }

    fn show_dropped(&mut self) {
        let dropped = |id: &Id| self.shared.look(|core| core.slots.get(id).map_or(0, |slot| slot.logs.lines_dropped()));
        let mut changed = Vec::new();
        for (id, live) in &mut self.live {
            let now = dropped(id);
            if std::mem::replace(&mut live.dropped, now) != now {
                changed.push(Arc::clone(id));
            }
        }
        for id in changed {
            self.show(&id);
        }
    }

    /// Tells those who wait for all of it. Whether nothing will ever come again.
    fn rest(&mut self) -> bool {
        let mut core = self.shared.lock();
        if !core.world.has_actions() && core.world.is_done() {
            for waiting in core.all.drain(..) {
                let _ = waiting.send(());
            }
        }
        let is_idle = !core.world.has_actions() && core.world.nodes().all(|(_, node)| !node.actor.is_supervised());
        if !(core.is_closed && is_idle) {
            return false;
        }
        for closer in core.closers.drain(..) {
            let _ = closer.try_send(());
        }
        drop(core);
        self.shared.states.close();
        self.shared.logs.close();
        true
    }
}

fn answer<T: Clone>(waiting: impl IntoIterator<Item = oneshot::Sender<T>>, what: &T) {
    for waiting in waiting {
        let _ = waiting.send(what.clone());
    }
}
