//! Tree: the tasks of the file as programs of two Overseers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pm_overseer::{Backoff, Error, Outcome, Overseer, Probe, Program, Restart, State, Status};
use tokio::sync::Mutex;

use crate::check::ask_apart;
use crate::config::{Check, Config, Kind, Output, Signal, Task};
use crate::log::Log;

/// How often it is asked whether a task is ready.
const READY: Duration = Duration::from_millis(50);
/// The longest delay before a restart, unless the first one is longer.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A run of so long is a good one.
const GOOD: Duration = Duration::from_secs(60);

/// Where what the tasks print goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Printed {
    Here {
        has_prefix: bool,
    },
    /// To the readers of the Overseers, and not to files.
    Elsewhere,
}

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) config: Arc<Config>,
    /// What runs all the time, and the onetime tasks below that.
    pub(crate) main: Overseer,
    /// What is run to its end: on a signal, every so often, before a start.
    pub(crate) aside: Overseer,
    /// A task aside is run for one at a time.
    turns: Arc<HashMap<usize, Mutex<()>>>,
    /// Those of the file that take part.
    pub(crate) wanted: BTreeSet<usize>,
}

impl Tree {
    /// Registers all, and starts nothing.
    ///
    /// # Errors
    ///
    /// There is no such task to run only.
    pub(crate) fn new(config: Config, only: &[String], printed: Printed, log: &Log) -> Result<Self, String> {
        let wanted = wanted(&config, only)?;
        let width = wanted.iter().map(|at| config.tasks[*at].name.chars().count()).max().unwrap_or(0);
        let turns = (0..config.tasks.len()).map(|at| (at, Mutex::new(()))).collect();
        let (main, aside) = (Overseer::new(), Overseer::new());
        let tree = Tree { config: Arc::new(config), main, aside, turns: Arc::new(turns), wanted };
        for at in tree.wanted.clone() {
            tree.add(at, printed, width, log).map_err(|error| error.to_string())?;
        }
        Ok(tree)
    }

    fn add(&self, at: usize, printed: Printed, width: usize, log: &Log) -> Result<(), Error> {
        let task = &self.config.tasks[at];
        if let Kind::Child(parent) = task.kind
            && !self.main.contains(&self.config.tasks[parent].name)
        {
            // Its parent is run aside, and never ready for others. The file was warned of.
            return Ok(());
        }
        let mut program = program(&self.config, task);
        if !task.path.is_empty() {
            let has_prefix = matches!(printed, Printed::Here { has_prefix: true });
            let prefix = if has_prefix { format!("{:<width$} | ", task.name) } else { String::new() };
            let outputs = [&task.stdout, &task.stderr].map(|to| match printed {
                Printed::Here { .. } => output(to, &prefix),
                Printed::Elsewhere => pm_overseer::Output::Ring,
            });
            let [stdout, stderr] = outputs;
            program = program.stdout(stdout).stderr(stderr);
        }
        let awaited = self.awaited_by(at);
        if !task.prerun.is_empty() || !awaited.is_empty() {
            let (tree, log) = (self.clone(), log.clone());
            program = program.before(move || {
                let (tree, log, awaited) = (tree.clone(), log.clone(), awaited.clone());
                async move {
                    tree.until_stopped(&awaited).await;
                    tree.run_before(at, &log).await;
                }
            });
        }
        let is_below = matches!(task.kind, Kind::Child(_));
        let is_before_others = || self.tasks().any(|(_, other)| other.prerun.contains(&at));
        let is_aside = task.is_onetime && (!is_below || is_before_others());
        if is_below || task.kind == Kind::Root {
            let mut main = program.clone();
            if is_aside {
                // Its one process is that aside, for which this one waits: never two of a name.
                let (tree, log) = (self.clone(), log.clone());
                main = Program::new("true").before(move || {
                    let (tree, log) = (tree.clone(), log.clone());
                    async move { tree.run_for(at, at, &log).await }
                });
            }
            if let Kind::Child(parent) = task.kind {
                main = main.parent(&self.config.tasks[parent].name);
            }
            main = if task.is_onetime {
                // Never ready: what is below it never starts.
                main.restart(Restart::WithParent).ready(Probe::by(std::future::pending).timeout(FOR_EVER))
            } else {
                lasting(&self.config, task, main)
            };
            self.main.add(&task.name, main)?;
        }
        if is_aside {
            self.aside.add(&task.name, program.restart(Restart::Never))?;
        }
        Ok(())
    }

    /// What must not be stopping any more before this one starts: tasks that are run before the starts of what depends on
    /// it.
    fn awaited_by(&self, at: usize) -> Vec<usize> {
        let is_below = |mut of: usize| loop {
            match self.config.tasks[of].kind {
                Kind::Child(parent) if parent == at => return true,
                Kind::Child(parent) => of = parent,
                _ => return false,
            }
        };
        let below = self.tasks().filter(|(of, _)| is_below(*of)).flat_map(|(_, task)| &task.prerun);
        let awaited: BTreeSet<usize> = below.copied().filter(|other| self.config.tasks[*other].is_onetime).collect();
        awaited.into_iter().collect()
    }

    /// Until none of these is being stopped.
    async fn until_stopped(&self, tasks: &[usize]) {
        for at in tasks {
            let is_stopping = |status: Status| status.state == State::Stopping;
            while self.aside.status(&self.config.tasks[*at].name).is_some_and(is_stopping) {
                tokio::time::sleep(READY).await;
            }
        }
    }

    /// Runs what stands before a start, in its order. One that fails is told, and changes nothing.
    async fn run_before(&self, at: usize, log: &Log) {
        for prerun in &self.config.tasks[at].prerun {
            let task = &self.config.tasks[*prerun];
            if task.is_onetime {
                self.run_for(*prerun, at, log).await;
                continue;
            }
            while self.may_become_ready(at, &task.name) {
                tokio::time::sleep(READY).await;
            }
        }
    }

    /// Whether it is not ready, and worth waiting for.
    fn may_become_ready(&self, of: usize, name: &str) -> bool {
        // The last that runs waits for nothing that may never come. What was stopped, as in an outage, will not become
        // ready.
        let is_last = self.config.tasks[of].kind == Kind::Signal(Signal::Term);
        !is_last && self.main.status(name).is_some_and(|status| status.supervised && !status.ready)
    }

    /// Whether anything runs, or will by itself.
    pub(crate) fn is_wanted(&self) -> bool {
        self.main.list().into_iter().chain(self.aside.list()).any(|status| status.supervised)
    }

    /// Runs a onetime task to its end, for another one.
    async fn run_for(&self, prerun: usize, at: usize, log: &Log) {
        let task = &self.config.tasks[prerun];
        let outcome = self.run_aside(prerun).await;
        if !outcome.as_ref().is_ok_and(Outcome::is_success) {
            let how = outcome.map_or_else(|error| error.to_string(), |outcome| outcome.to_string());
            let before = &self.config.tasks[at].name;
            let line = log.warn("a task that is run before another failed").task(&task.name);
            line.with("before", before.as_str()).with("how", how).write();
        }
    }

    /// Runs a onetime task to its end. Dropping the future stops it.
    pub(crate) async fn run_aside(&self, at: usize) -> Result<Outcome, Error> {
        let _turn = match self.turns.get(&at) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let name = &self.config.tasks[at].name;
        loop {
            // Somebody may have started it at the list, or it is still being stopped: it is run again after that.
            match self.aside.supervise(name).await {
                Err(Error::AlreadySupervised { .. }) => tokio::time::sleep(READY).await,
                outcome => return outcome,
            }
        }
    }

    /// The tasks of this kind, those that take part.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (usize, &Task)> {
        self.wanted.iter().map(|at| (*at, &self.config.tasks[*at]))
    }

    /// The task that is run on this signal. Of several the last counts.
    pub(crate) fn task_on(&self, signal: Signal) -> Option<(usize, &Task)> {
        self.tasks().filter(|(_, task)| task.kind == Kind::Signal(signal)).last()
    }

    /// Starts what runs all the time, as it is declared: whoever waits for another one finds that started.
    pub(crate) fn start(&self) {
        for (_, task) in self.tasks() {
            // Those that run aside only are not among them.
            let _ = self.main.start(&task.name);
        }
    }

    /// The names of what runs, or waits to, as they are declared. What somebody has stopped at the list is not among them.
    pub(crate) fn supervised(&self) -> Vec<String> {
        let is_supervised = |name: &String| self.main.status(name).is_some_and(|status| status.supervised);
        self.tasks().map(|(_, task)| task.name.clone()).filter(is_supervised).collect()
    }

    /// Whether each has been ready, or has failed once: then the start is over.
    pub(crate) fn is_up(&self) -> bool {
        self.tasks()
            .filter(|(_, task)| matches!(task.kind, Kind::Root | Kind::Child(_)))
            .all(|(_, task)| self.has_come(task))
    }

    fn has_come(&self, task: &Task) -> bool {
        let status = self.main.status(&task.name);
        // Somebody has stopped it.
        if status.as_ref().is_some_and(|status| !status.supervised) {
            return true;
        }
        let has_tried = |restarts: u32, ready: bool| ready || restarts > 0 || task.is_onetime;
        let is_held_up = || match task.kind {
            Kind::Child(parent) => {
                let parent = &self.config.tasks[parent];
                let is_ready = self.main.status(&parent.name).is_some_and(|status| status.ready);
                parent.is_onetime || (!is_ready && self.has_come(parent))
            }
            _ => false,
        };
        let waits_for_one_that_fails = || {
            let lasting = task.prerun.iter().map(|prerun| &self.config.tasks[*prerun]).filter(|task| !task.is_onetime);
            let is_ready = |task: &Task| self.main.status(&task.name).is_some_and(|status| status.ready);
            lasting.into_iter().any(|prerun| !is_ready(prerun) && self.has_come(prerun))
        };
        status.is_none_or(|status| has_tried(status.restarts, status.ready))
            || is_held_up()
            || waits_for_one_that_fails()
    }
}

/// The named tasks and what they need; all of them, if none is named.
fn wanted(config: &Config, only: &[String]) -> Result<BTreeSet<usize>, String> {
    if only.is_empty() {
        return Ok((0..config.tasks.len()).collect());
    }
    let mut due = Vec::new();
    for name in only.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let at = config.tasks.iter().position(|task| task.name == name);
        let names = || config.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
        due.push(
            at.ok_or_else(|| format!("--only: there is no task '{}': these are: {}", name.escape_debug(), names()))?,
        );
    }
    let mut wanted = BTreeSet::new();
    while let Some(at) = due.pop() {
        if wanted.insert(at) {
            let task = &config.tasks[at];
            due.extend(&task.prerun);
            if let Kind::Child(parent) = task.kind {
                due.push(parent);
            }
        }
    }
    Ok(wanted)
}

fn program(config: &Config, task: &Task) -> Program {
    let mut program = match (task.path.is_empty(), task.is_onetime) {
        (false, _) => Program::new(&task.path).args(&task.args),
        // Over when it has begun: what is run before it was all.
        (true, true) => Program::new("true"),
        (true, false) => Program::nothing(),
    };
    for (name, value) in &config.env {
        program = program.env(name, value);
    }
    program.grace(task.max_shutdown).die_with_parent(true)
}

fn output(output: &Output, prefix: &str) -> pm_overseer::Output {
    match output {
        Output::Stdout => pm_overseer::Output::Stdout(prefix.to_string()),
        Output::Stderr => pm_overseer::Output::Stderr(prefix.to_string()),
        // The last lines are kept, for `logs` at the list.
        Output::Suppress => pm_overseer::Output::Ring,
        Output::File(path) => pm_overseer::Output::File(path.into()),
    }
}

/// One that is started again whenever it ends.
fn lasting(config: &Config, task: &Task, program: Program) -> Program {
    let backoff = Backoff { base: config.restart_delay, factor: 2.0, max: LONGEST_DELAY.max(config.restart_delay) };
    let mut program =
        program.restart(Restart::Always).backoff(backoff).reset_after(GOOD).ready_within(task.max_startup);
    if let Some(check) = &task.ready {
        program = program.ready(probe(check, task.max_startup).period(READY));
    }
    for health in &task.health {
        program = program.health(probe(&health.check, FOR_EVER).period(health.period).failures(health.retries));
    }
    program
}

/// A check keeps its own time.
fn probe(check: &Check, timeout: Duration) -> Probe {
    let check = check.clone();
    Probe::by(move || ask_apart(check.clone())).timeout(timeout.max(READY))
}
