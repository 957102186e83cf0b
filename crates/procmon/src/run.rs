//! Run: from the first start to the exit code.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use pm_overseer::{State, StateChange, StateChanges};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at, sleep_until};

use crate::config::{Kind, Signal};
use crate::log::Log;
use crate::signals::{Came, Signals};
use crate::tree::Tree;

const PIDINFO: Duration = Duration::from_secs(15);
const STILL_STOPPING: Duration = Duration::from_secs(5);
/// How often it is looked whether the start is over.
const START: Duration = Duration::from_millis(50);
/// Signals that come sooner are one: `timeout` signals its child, and then its group.
const APART: Duration = Duration::from_millis(50);

/// What came of a task that is run aside.
#[derive(Debug, PartialEq)]
enum Then {
    GoOn,
    End,
}

/// What a signal means.
enum Heard {
    GoOn,
    End,
    /// This task runs, and then it is the end.
    Last(usize),
}

type Job = Pin<Box<dyn Future<Output = Then>>>;
/// With its place in the list.
type Beside = Pin<Box<dyn Future<Output = (usize, Then)>>>;

pub(crate) struct Runner {
    tree: Tree,
    log: Log,
    signals: Signals,
    /// Tasks that are due, each once, in the order of arrival: those on signals, and those that stop everything.
    due: Rc<RefCell<VecDeque<usize>>>,
    periods: Vec<(usize, Interval)>,
    /// Tasks that run beside the rest, by their periods.
    beside: FuturesUnordered<Beside>,
    /// Those among them that run, and those that have become due in an outage.
    busy: BTreeSet<usize>,
    late: BTreeSet<usize>,
}

impl Runner {
    /// `early`: tasks whose signals have come already.
    pub(crate) fn new(tree: Tree, log: Log, signals: Signals, early: Vec<usize>) -> Self {
        let mut runner = Runner {
            tree,
            log,
            signals,
            due: Rc::default(),
            periods: Vec::new(),
            beside: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            late: BTreeSet::new(),
        };
        early.into_iter().for_each(|at| runner.ask_for(at));
        runner
    }

    /// Runs it all. The exit code.
    pub(crate) async fn run(mut self) -> u8 {
        let (end_telling, is_over) = watch::channel(false);
        let telling = [self.tree.main.watch_state(), self.tree.aside.watch_state()]
            .map(|changes| tokio::spawn(tell(changes, self.log.clone(), is_over.clone())));
        self.tree.start();
        let end = self.until_end().await;
        let code = self.stop(end).await;
        // What was stopped has been told before that.
        let _ = end_telling.send(true);
        for telling in telling {
            let _ = telling.await;
        }
        code
    }

    /// Until something asks for the end: the signal, if it was one.
    async fn until_end(&mut self) -> Option<Came> {
        let mut pidinfo = interval_at((Instant::now() + PIDINFO).into(), PIDINFO);
        let mut start = interval(START);
        let mut is_up = false;
        let mut job: Option<(usize, Job)> = None;
        loop {
            if job.is_none()
                && let Some(at) = self.next_due(is_up)
            {
                job = Some((at, self.job(at)));
                if self.tree.config.tasks[at].shutdown {
                    // They are stopped with all the rest, and what they would do at their end is not done.
                    self.beside.clear();
                    self.busy.clear();
                }
            }
            let is_outage = job.as_ref().is_some_and(|(at, _)| self.tree.config.tasks[*at].shutdown);
            if !is_outage {
                for at in std::mem::take(&mut self.late) {
                    self.run_beside(at);
                }
            }
            tokio::select! {
                came = self.signals.next() => {
                    match self.hear(came) {
                        Heard::GoOn => {}
                        Heard::End => return Some(came),
                        Heard::Last(at) => {
                            // Nothing else goes on beside the last task, and nothing that it may wait for is held.
                            drop(job.take());
                            self.beside.clear();
                            self.run_last(at).await;
                            return Some(came);
                        }
                    }
                }
                then = async { match &mut job { Some((_, job)) => job.await, None => std::future::pending().await } } => {
                    job = None;
                    if then == Then::End {
                        return None;
                    }
                }
                Some((at, then)) = self.beside.next() => {
                    self.busy.remove(&at);
                    if then == Then::End {
                        return None;
                    }
                }
                _ = start.tick(), if !is_up => {
                    if self.tree.is_up() {
                        is_up = true;
                        self.log.info("all tasks are up, or have failed once").write();
                        self.arm();
                    }
                }
                at = next_period(&mut self.periods) => {
                    if self.tree.config.tasks[at].shutdown {
                        self.ask_for(at);
                    } else if is_outage {
                        self.late.insert(at);
                    } else {
                        self.run_beside(at);
                    }
                }
                _ = pidinfo.tick() => self.pidinfo(),
            }
        }
    }

    fn arm(&mut self) {
        for (at, task) in self.tree.tasks() {
            if let Kind::Periodic(period) = task.kind {
                let mut ticks = interval_at((Instant::now() + period).into(), period);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                self.periods.push((at, ticks));
                self.log
                    .info("setting up periodic task")
                    .task(&task.name)
                    .with("period", format!("{period:?}"))
                    .write();
            }
        }
    }

    /// One that is due already is not asked for twice.
    fn ask_for(&mut self, at: usize) {
        let mut due = self.due.borrow_mut();
        if !due.contains(&at) {
            due.push_back(at);
        }
    }

    /// Before the start is over, only what somebody at the terminal asks for: he may want to give it up.
    fn next_due(&self, is_up: bool) -> Option<usize> {
        let mut due = self.due.borrow_mut();
        let may_run = |at: &usize| is_up || self.tree.config.tasks[*at].kind == Kind::Signal(Signal::Int);
        let first = due.iter().position(may_run)?;
        due.remove(first)
    }

    /// Beside the rest, but never beside itself.
    fn run_beside(&mut self, at: usize) {
        if self.busy.insert(at) {
            let (tree, log) = (self.tree.clone(), self.log.clone());
            self.beside.push(Box::pin(async move { (at, run_aside(&tree, at, &log).await) }));
        }
    }

    fn hear(&mut self, came: Came) -> Heard {
        let task = came.signal.and_then(|signal| self.tree.task_on(signal)).map(|(at, _)| at);
        self.log.info(format_args!("got {came}")).write();
        match (came.signal, task) {
            (Some(Signal::Term), Some(at)) => Heard::Last(at),
            (Some(_), Some(at)) => {
                self.ask_for(at);
                Heard::GoOn
            }
            _ if came.is_end => Heard::End,
            _ => {
                self.log.info(format_args!("{came} has no task, and is ignored")).write();
                Heard::GoOn
            }
        }
    }

    /// Until it has ended, or a second signal comes.
    async fn run_last(&mut self, at: usize) {
        self.log.info("a task runs before the end").task(&self.tree.config.tasks[at].name).write();
        let tree = self.tree.clone();
        let mut last = Box::pin(async move { tree.run_aside(at).await });
        let first = Instant::now();
        loop {
            tokio::select! {
                _ = &mut last => return,
                next = self.signals.next() => if next.is_end && first.elapsed() >= APART { return },
            }
        }
    }

    /// What a signal asks for, or a period that stops everything.
    fn job(&self, at: usize) -> Job {
        let (tree, log, due) = (self.tree.clone(), self.log.clone(), Rc::clone(&self.due));
        if !tree.config.tasks[at].shutdown {
            return Box::pin(async move { run_aside(&tree, at, &log).await });
        }
        Box::pin(async move {
            log.warn("running shutdown task, temporarily stopping all tasks").task(&tree.config.tasks[at].name).write();
            let supervised = tree.supervised();
            stop_all(&tree, &log).await;
            // Signals that come meanwhile have their tasks run in the same outage; what is due by its period waits.
            let mut next = Some(at);
            while let Some(at) = next {
                if run_aside(&tree, at, &log).await == Then::End {
                    return Then::End;
                }
                let mut due = due.borrow_mut();
                let of_signal = |at: &usize| matches!(tree.config.tasks[*at].kind, Kind::Signal(_));
                next = due.iter().position(of_signal).and_then(|first| due.remove(first));
            }
            for name in supervised {
                let _ = tree.main.start(name);
            }
            log.warn("shutdown processing complete").write();
            Then::GoOn
        })
    }

    fn pidinfo(&self) {
        let statuses = self.tree.main.list().into_iter().chain(self.tree.aside.list());
        let mut pids: Vec<u32> = statuses.filter_map(|status| status.pid).collect();
        pids.sort_unstable();
        self.log.info("pidinfo").with("npids", pids.len()).with("pids", pids).write();
    }

    /// Stops everything.
    async fn stop(&mut self, end: Option<Came>) -> u8 {
        self.log.info("stopping everything").write();
        let begun = Instant::now();
        let mut stopping = std::pin::pin!(stop_all(&self.tree, &self.log));
        let is_late = loop {
            tokio::select! {
                is_late = &mut stopping => break is_late,
                came = self.signals.next() => {
                    if came.is_end && begun.elapsed() >= APART {
                        self.log.warn(format_args!("got {came} again: killing what is left")).write();
                        kill(&self.tree);
                    }
                }
            }
        };
        let is_interrupt = end.is_some_and(|came| came.signal == Some(Signal::Int));
        u8::from(is_late && is_interrupt)
    }
}

/// Stops everything, what is run aside too: it may be run before a start. Whether it took too long, so that what was left
/// was killed.
async fn stop_all(tree: &Tree, log: &Log) -> bool {
    let max = tree.config.shutdown_max;
    let mut stopping = std::pin::pin!(join(tree.main.stop_all(), tree.aside.stop_all()));
    let begun = Instant::now();
    let mut still = interval_at((begun + STILL_STOPPING).into(), STILL_STOPPING);
    let mut is_late = false;
    loop {
        tokio::select! {
            _ = &mut stopping => {
                // Somebody may have started one at the list meanwhile.
                if !tree.is_wanted() {
                    return is_late;
                }
                stopping.set(join(tree.main.stop_all(), tree.aside.stop_all()));
            }
            () = sleep_until((begun + max).into()), if !is_late => {
                is_late = true;
                log.error(format_args!("requested shutdown did not complete within {max:?}")).write();
                kill(tree);
            }
            _ = still.tick() => log.info(format_args!("still stopping: {}", still_there(tree))).write(),
        }
    }
}

fn kill(tree: &Tree) {
    drop((tree.main.kill_all(), tree.aside.kill_all()));
}

fn still_there(tree: &Tree) -> String {
    let statuses = tree.main.list().into_iter().chain(tree.aside.list());
    let rows = statuses.filter_map(|status| Some((pm::global().get(&status.id)?, status)));
    let words = rows.map(|(row, status)| match status.kill_in {
        Some(wait) => format!("{} (KILL in {:.0}s)", row.id, wait.as_secs_f64()),
        None => format!("{} ({})", row.id, row.status),
    });
    words.collect::<Vec<_>>().join(", ")
}

async fn run_aside(tree: &Tree, at: usize, log: &Log) -> Then {
    let task = &tree.config.tasks[at];
    if let Err(error) = tree.run_aside(at).await {
        log.error(error).task(&task.name).write();
    }
    if task.terminate { Then::End } else { Then::GoOn }
}

/// The next of them that is due.
async fn next_period(periods: &mut [(usize, Interval)]) -> usize {
    std::future::poll_fn(|cx| {
        for (at, ticks) in periods.iter_mut() {
            if ticks.poll_tick(cx).is_ready() {
                return std::task::Poll::Ready(*at);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Tells of each start and each end, until it is over and all is told.
async fn tell(mut changes: StateChanges, log: Log, mut is_over: watch::Receiver<bool>) {
    loop {
        let change = tokio::select! {
            biased;
            change = changes.next() => change,
            _ = is_over.wait_for(|is_over| *is_over) => None,
        };
        let Some(change) = change else { return };
        let StateChange { id, state, pid, exit_code, signal, error, reason, next_start, .. } = change;
        match state {
            State::Running => {
                let line = log.info("started").task(&id);
                match pid {
                    Some(pid) => line.with("pid", pid).write(),
                    None => line.write(),
                }
            }
            State::Starting | State::Stopping => log.debug(state).task(&id).write(),
            State::Waiting => {
                if let Some(next) = next_start {
                    log.info(format_args!("starts again in {:.1}s", next.as_secs_f64())).task(&id).write();
                }
            }
            _ if state.is_final() => {
                let line = match (&error, exit_code, signal) {
                    (Some(error), ..) => log.warn(error).task(&id),
                    (None, Some(0), _) => log.info("ended").task(&id).with("exitcode", 0),
                    (None, Some(code), _) if reason.is_some() => log.info("ended").task(&id).with("exitcode", code),
                    (None, Some(code), _) => log.warn("ended").task(&id).with("exitcode", code),
                    (None, None, signal) => {
                        let name = signal.and_then(pm_overseer::Signal::from_raw).map(|signal| signal.to_string());
                        let line = if reason.is_some() { log.info("ended") } else { log.warn("ended") };
                        line.task(&id).with("signal", name.unwrap_or_default())
                    }
                };
                line.write();
            }
            _ => {}
        }
    }
}
