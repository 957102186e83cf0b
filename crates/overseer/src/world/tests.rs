//! Programs that depend on one another, in virtual time, on a system that misbehaves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::actor::{Exit, Of};
use crate::group::Member;
use crate::signal::Signal;
use crate::status::State;

const MS: Duration = Duration::from_millis(1);

/// What a program does when it runs.
#[derive(Debug, Clone)]
struct Nature {
    /// It exits by itself after so long, with this code.
    exits: Option<(u64, i32)>,
    heeds_term: bool,
    /// So many processes stay behind in its group.
    leaves: u32,
    /// Its exec fails.
    fails: bool,
    /// Its exec takes so long.
    slow: u64,
}

/// A process as the system has it.
#[derive(Debug)]
struct Process {
    generation: u64,
    exited: bool,
    left: u32,
    is_watched: bool,
}

/// A system in which these programs run.
struct System {
    world: World,
    natures: Vec<Nature>,
    processes: BTreeMap<Id, Process>,
    /// Started, not told yet.
    execs: BTreeMap<Id, u64>,
    /// What will happen, and when.
    due: Vec<(Instant, Id, u64, Doing)>,
    states: BTreeMap<(Id, u64), Vec<State>>,
    now: Instant,
}

#[derive(Debug, Clone)]
enum Doing {
    Exec,
    Exit(Exit),
    LoseStrays,
    Scan,
}

impl System {
    fn new(natures: Vec<Nature>, parents: &[Option<usize>]) -> Self {
        let mut world = World::default();
        for (at, parent) in parents.iter().enumerate() {
            let mut program = Program::new("x").grace(500 * MS).retries(5);
            if let Some(parent) = parent {
                program = program.parent(format!("p{parent}"));
            }
            world.add(&format!("p{at}"), program).expect("it is added");
        }
        let now = Instant::now();
        System {
            world,
            natures,
            processes: BTreeMap::new(),
            execs: BTreeMap::new(),
            due: Vec::new(),
            states: BTreeMap::new(),
            now,
        }
    }

    fn nature(&self, id: &Id) -> Nature {
        self.natures[id[1..].parse::<usize>().expect("a number")].clone()
    }

    fn step(&mut self, id: &str, event: Event) {
        self.world.step(id, event, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        for (id, generation, action) in self.world.take_actions() {
            let nature = self.nature(&id);
            let later = |ms| self.now + MS * ms;
            match action {
                Action::Spawn => {
                    assert!(!self.processes.contains_key(&id), "a second instance of {id}");
                    assert!(self.execs.insert(Arc::clone(&id), generation).is_none(), "two starts of {id} at once");
                    for (other, node) in self.world.nodes() {
                        let is_child = node.parent.as_ref() == Some(&id);
                        assert!(!is_child || !self.processes.contains_key(other), "{id} starts while {other} lives");
                    }
                    let parent = self.world.node(&id).expect("a node").parent.clone();
                    let is_up = |parent: Id| self.processes.get(&parent).is_some_and(|process| !process.exited);
                    assert!(parent.is_none_or(is_up), "{id} starts without its parent");
                    self.due.push((later(u32::try_from(nature.slow).expect("small")), id, generation, Doing::Exec));
                }
                Action::Signal(signal) => {
                    let process = self.processes.get(&id).expect("a signal for a group that is reaped");
                    assert_eq!(process.generation, generation);
                    let dies = signal == Signal::KILL || (signal == Signal::TERM && nature.heeds_term);
                    if dies {
                        let exit = Doing::Exit(Exit::Signal(signal.as_raw()));
                        self.due.push((later(2), Arc::clone(&id), generation, exit));
                        self.due.push((later(30), id, generation, Doing::LoseStrays));
                    }
                }
                Action::Watch => {
                    let process = self.processes.get_mut(&id).expect("a group to watch");
                    if !std::mem::replace(&mut process.is_watched, true) {
                        self.due.push((self.now + 20 * MS, id, generation, Doing::Scan));
                    }
                }
                Action::Release => {
                    let process = self.processes.remove(&id).expect("a group to release");
                    assert!(process.exited && process.left == 0 && process.generation == generation);
                }
                Action::Publish(change) => self.states.entry((id, generation)).or_default().push(change.state),
                Action::Stuck(_) => panic!("{id} can be killed"),
                Action::Begin
                | Action::Prepare
                | Action::Desist
                | Action::AskReady
                | Action::AskHealth
                | Action::Settled
                | Action::End(..) => {}
            }
        }
    }

    fn happen(&mut self, id: Id, generation: u64, doing: Doing) {
        let nature = self.nature(&id);
        if let Doing::Exec = doing {
            assert_eq!(self.execs.remove(&id), Some(generation));
            if nature.fails {
                return self.step(&id, Event::Run(generation, Of::NotStarted("no".into())));
            }
            let process = Process { generation, exited: false, left: nature.leaves, is_watched: false };
            self.processes.insert(Arc::clone(&id), process);
            if let Some((ms, code)) = nature.exits {
                let at = self.now + MS * u32::try_from(ms).expect("small");
                self.due.push((at, Arc::clone(&id), generation, Doing::Exit(Exit::Code(code))));
            }
            return self.step(&id, Event::Run(generation, Of::Started { pid: Some(1), at: SystemTime::now() }));
        }
        let Some(process) = self.processes.get_mut(&id).filter(|process| process.generation == generation) else {
            return;
        };
        match doing {
            Doing::Exit(exit) if !process.exited => {
                process.exited = true;
                self.step(&id, Event::Run(generation, Of::Exited(exit)));
            }
            Doing::LoseStrays => process.left = 0,
            Doing::Scan if process.exited && process.left == 0 => self.step(&id, Event::Run(generation, Of::Gone)),
            Doing::Scan => {
                let left = (0..process.left).map(|pid| Member { pid, state: 'S' }).collect();
                self.due.push((self.now + 20 * MS, Arc::clone(&id), generation, Doing::Scan));
                self.step(&id, Event::Run(generation, Of::Left(left)));
            }
            _ => {}
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.due.sort_by_key(|(at, ..)| *at);
            let happens = self.due.first().map(|(at, ..)| *at);
            let wakes = self.world.wake_at();
            match happens.into_iter().chain(wakes).min() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
            if happens.is_some_and(|at| at <= self.now) {
                let (_, id, generation, doing) = self.due.remove(0);
                self.happen(id, generation, doing);
            }
            self.world.tick(self.now);
            self.perform();
        }
        self.now = until;
    }

    /// Each generation went through the states as it must.
    fn check_states(&self) {
        use State::*;
        for ((id, generation), states) in &self.states {
            let is_next = |pair: &[State]| {
                matches!(
                    pair,
                    [Waiting, Starting | Initial]
                        | [Starting, Running | Fatal]
                        | [Running, Stopping | Finished | Interrupted]
                        | [Stopping, Finished | Interrupted]
                )
            };
            assert!(matches!(states[0], Waiting | Starting), "{id} {generation}: {states:?}");
            assert!(states.windows(2).all(is_next), "{id} {generation}: {states:?}");
        }
        let ids: BTreeSet<&Id> = self.states.keys().map(|(id, _)| id).collect();
        for id in ids {
            let of_id: Vec<_> = self.states.iter().filter(|((of, _), _)| of == id).map(|(_, states)| states).collect();
            let (last, before) = of_id.split_last().expect("a generation");
            let is_over =
                |states: &&Vec<State>| states.last().is_some_and(|state| state.is_final() || *state == Initial);
            assert!(before.iter().all(is_over), "{id}: {of_id:?}");
            assert!(is_over(last), "{id}: {of_id:?}");
        }
    }
}

fn natures() -> impl Strategy<Value = Nature> {
    let exits = prop::option::of((0u64..300, 0i32..2));
    (exits, prop::bool::weighted(0.7), 0u32..3, prop::bool::weighted(0.1), 0u64..40)
        .prop_map(|(exits, heeds_term, leaves, fails, slow)| Nature { exits, heeds_term, leaves, fails, slow })
}

/// A chain or a tree: the parent of each is one of those before it.
fn parents(n: usize) -> impl Strategy<Value = Vec<Option<usize>>> {
    let parent = |at: usize| if at == 0 { Just(None).boxed() } else { prop::option::of(0..at).boxed() };
    (0..n).map(parent).collect::<Vec<_>>()
}

#[derive(Debug, Clone)]
enum Command {
    Start,
    Restart,
    Stop,
    Kill,
    Signal,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Never a second instance, never a signal for a group that is reaped, never a child without its parent, and at the
    /// end nothing is left.
    #[test]
    fn whatever_is_asked_for_in_whatever_order(
        (natures, parents) in (2usize..6).prop_flat_map(|n| (prop::collection::vec(natures(), n), parents(n))),
        commands in prop::collection::vec(
            (0usize..6, prop_oneof![Just(Command::Start), Just(Command::Restart), Just(Command::Stop), Just(Command::Kill), Just(Command::Signal)], 0u64..400),
            0..60,
        ),
    ) {
        let n = natures.len();
        let mut system = System::new(natures, &parents);
        for (at, command, ms) in commands {
            let id = format!("p{}", at % n);
            let event = match command {
                Command::Start => Event::Start,
                Command::Restart => Event::Restart,
                Command::Stop => Event::Stop(Reason::Stopped),
                Command::Kill => Event::Kill,
                Command::Signal => Event::Signal(Signal::USR1),
            };
            system.step(&id, event);
            system.pass(Duration::from_millis(ms));
        }
        system.world.stop_all(system.now);
        system.perform();
        system.pass(Duration::from_secs(20));
        prop_assert!(system.world.is_done(), "{:#?}", system.world);
        prop_assert!(system.processes.is_empty() && system.execs.is_empty(), "{:?}", system.processes);
        prop_assert!(system.world.nodes().all(|(_, node)| !node.actor.is_supervised()));
        system.check_states();
    }
}

fn steady() -> Nature {
    Nature { exits: None, heeds_term: true, leaves: 0, fails: false, slow: 1 }
}

#[test]
fn children_end_before_their_parent_does_and_come_back_after_it() {
    let mut system = System::new(vec![steady(), steady(), steady()], &[None, Some(0), Some(1)]);
    system.world.step_all(&Event::Start, system.now);
    system.perform();
    system.pass(Duration::from_secs(1));
    assert_eq!(system.processes.len(), 3);
    system.step("p0", Event::Restart);
    let status = |system: &System, id: &str| {
        let node = system.world.node(id).expect("a node");
        node.actor.describe(node.parent.as_deref())
    };
    assert_eq!(status(&system, "p0"), "stopping (first what depends on it)");
    assert_eq!(status(&system, "p1"), "stopping (first what depends on it)");
    assert_eq!(status(&system, "p2"), "stopping");
    system.pass(Duration::from_secs(1));
    assert_eq!(system.processes.len(), 3);
    assert!(system.world.nodes().all(|(_, node)| node.actor.generation() == 2));

    // What an operator has stopped stays stopped.
    system.step("p1", Event::Stop(Reason::Stopped));
    system.pass(Duration::from_secs(1));
    assert_eq!(status(&system, "p2"), "waiting for p1");
    system.step("p0", Event::Restart);
    system.pass(Duration::from_secs(1));
    assert_eq!(system.processes.keys().map(|id| &**id).collect::<Vec<_>>(), ["p0"]);
    assert!(!system.world.is_done());
    system.step("p1", Event::Start);
    system.pass(Duration::from_secs(1));
    assert_eq!(system.processes.len(), 3);

    // With the root gone all wait in vain.
    system.step("p0", Event::Stop(Reason::Stopped));
    system.pass(Duration::from_secs(1));
    assert!(system.processes.is_empty() && system.world.is_done());
    assert_eq!(status(&system, "p1"), "waiting for p0");
}
