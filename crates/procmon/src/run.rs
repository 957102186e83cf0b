//! Run: from the first start to the exit code.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join;
use pm_overseer::future::AllStopped;
use pm_overseer::{State, StateChange, StateChanges};
use tokio::time::{Interval, MissedTickBehavior, interval, interval_at, sleep_until, timeout};

use crate::config::{Kind, Signal, Task};
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

type Job = Pin<Box<dyn Future<Output = Then>>>;

pub(crate) struct Runner {
    tree: Tree,
    log: Log,
    signals: Signals,
    /// Tasks that are due, each once, in the order of arrival.
    due: Rc<RefCell<VecDeque<usize>>>,
    periods: Vec<(usize, Interval)>,
}

impl Runner {
    pub(crate) fn new(tree: Tree, log: Log, signals: Signals) -> Self {
        Runner { tree, log, signals, due: Rc::default(), periods: Vec::new() }
    }

    /// Runs it all. The exit code.
    pub(crate) async fn run(mut self) -> u8 {
        let telling = [self.tree.main.watch_state(), self.tree.aside.watch_state()]
            .map(|changes| tokio::spawn(tell(changes, self.log.clone())));
        self.tree.start();
        let end = self.until_end().await;
        let code = self.stop(end).await;
        for telling in telling {
            telling.abort();
        }
        code
    }

    /// Until something asks for the end: the signal, if it was one.
    async fn until_end(&mut self) -> Option<Came> {
        let mut pidinfo = interval_at((Instant::now() + PIDINFO).into(), PIDINFO);
        let mut start = interval(START);
        let mut is_up = false;
        let mut job: Option<Job> = None;
        loop {
            if job.is_none()
                && is_up
                && let Some(at) = self.next_due()
            {
                job = Some(self.job(at));
            }
            tokio::select! {
                came = self.signals.next() => {
                    if let Some(end) = self.hear(came, &mut job).await {
                        return Some(end);
                    }
                }
                then = async { match &mut job { Some(job) => job.await, None => std::future::pending().await } } => {
                    job = None;
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
                at = next_period(&mut self.periods) => self.ask_for(at),
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

    fn next_due(&self) -> Option<usize> {
        self.due.borrow_mut().pop_front()
    }

    /// The task that is run on this signal. Of several the last counts.
    fn task_on(&self, signal: Signal) -> Option<(usize, &Task)> {
        self.tree.tasks().filter(|(_, task)| task.kind == Kind::Signal(signal)).last()
    }

    /// Whether this is the end.
    async fn hear(&mut self, came: Came, job: &mut Option<Job>) -> Option<Came> {
        let task = came.signal.and_then(|signal| self.task_on(signal)).map(|(at, task)| (at, task.name.clone()));
        self.log.info(format_args!("got {came}")).write();
        match (came.signal, task) {
            // It is the last that runs, and a second signal ends it.
            (Some(Signal::Term), Some((at, name))) => {
                *job = None;
                self.log.info("a task runs before the end").task(&name).write();
                let tree = self.tree.clone();
                let mut last = Box::pin(async move { tree.run_aside(at).await });
                let first = Instant::now();
                loop {
                    tokio::select! {
                        _ = &mut last => return Some(came),
                        next = self.signals.next() => if next.is_end && first.elapsed() >= APART { return Some(came) },
                    }
                }
            }
            (Some(_), Some((at, _))) => {
                self.ask_for(at);
                None
            }
            _ if came.is_end => Some(came),
            _ => {
                self.log.info(format_args!("{came} has no task, and is ignored")).write();
                None
            }
        }
    }

    /// What a signal or a time asks for.
    fn job(&mut self, at: usize) -> Job {
        let (tree, log) = (self.tree.clone(), self.log.clone());
        let task = &tree.config.tasks[at];
        if !task.shutdown {
            let (tree, log) = (tree.clone(), log);
            let terminate = task.terminate;
            return Box::pin(async move {
                run_aside(&tree, at, &log).await;
                if terminate { Then::End } else { Then::GoOn }
            });
        }
        let due = Rc::clone(&self.due);
        Box::pin(async move {
            log.warn("running shutdown task, temporarily stopping all tasks").task(&tree.config.tasks[at].name).write();
            stop_within(tree.main.stop_all(), &tree, &log).await;
            // Signals that come meanwhile have their tasks run in the same outage; what is due by its period waits.
            let mut next = Some(at);
            while let Some(at) = next {
                run_aside(&tree, at, &log).await;
                if tree.config.tasks[at].terminate {
                    return Then::End;
                }
                let mut due = due.borrow_mut();
                let of_signal = |at: &usize| matches!(tree.config.tasks[*at].kind, Kind::Signal(_));
                next = due.iter().position(of_signal).and_then(|first| due.remove(first));
            }
            tree.start();
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
        let max = self.tree.config.shutdown_max;
        self.log.info("stopping everything").write();
        let mut stopping = Box::pin(join(self.tree.main.stop_all(), self.tree.aside.stop_all()));
        let begun = Instant::now();
        let mut still = interval_at((begun + STILL_STOPPING).into(), STILL_STOPPING);
        let mut is_late = false;
        loop {
            tokio::select! {
                _ = &mut stopping => break,
                () = sleep_until((begun + max).into()), if !is_late => {
                    is_late = true;
                    self.log.error(format_args!("requested shutdown did not complete within {max:?}")).write();
                    self.kill();
                }
                came = self.signals.next() => {
                    if came.is_end && begun.elapsed() >= APART {
                        self.log.warn(format_args!("got {came} again: killing what is left")).write();
                        self.kill();
                    }
                }
                _ = still.tick() => self.log.info(format_args!("still stopping: {}", self.still_there())).write(),
            }
        }
        let is_interrupt = end.is_some_and(|came| came.signal == Some(Signal::Int));
        u8::from(is_late && is_interrupt)
    }

    fn kill(&self) {
        drop((self.tree.main.kill_all(), self.tree.aside.kill_all()));
    }

    fn still_there(&self) -> String {
        let statuses = self.tree.main.list().into_iter().chain(self.tree.aside.list());
        let rows = statuses.filter_map(|status| Some((pm::global().get(&status.id)?, status)));
        let words = rows.map(|(row, status)| match status.kill_in {
            Some(wait) => format!("{} (KILL in {:.0}s)", row.id, wait.as_secs_f64()),
            None => format!("{} ({})", row.id, row.status),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Waits for a stop, and kills what is left when it takes too long.
async fn stop_within(stopping: AllStopped, tree: &Tree, log: &Log) {
    let mut stopping = Box::pin(stopping);
    let max = tree.config.shutdown_max;
    if timeout(max, &mut stopping).await.is_err() {
        log.error(format_args!("requested shutdown did not complete within {max:?}")).write();
        drop(tree.main.kill_all());
        stopping.await;
    }
}

async fn run_aside(tree: &Tree, at: usize, log: &Log) {
    let name = &tree.config.tasks[at].name;
    let outcome = tree.run_aside(at).await;
    if let Err(error) = outcome {
        log.error(error).task(name).write();
    }
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

/// Tells of each start and each end.
async fn tell(mut changes: StateChanges, log: Log) {
    while let Some(change) = changes.next().await {
        let StateChange { id, state, pid, exit_code, signal, error, next_start, .. } = change;
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
                    (None, Some(code), _) => log.warn("ended").task(&id).with("exitcode", code),
                    (None, None, signal) => {
                        let name = signal.and_then(pm_overseer::Signal::from_raw).map(|signal| signal.to_string());
                        log.warn("ended").task(&id).with("signal", name.unwrap_or_default())
                    }
                };
                line.write();
            }
            _ => {}
        }
    }
}
