//! What one actor wants, in virtual time.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::program::Program;

/// An actor, and the time that it is told.
struct Stage {
    actor: Actor,
    now: Instant,
}

impl Stage {
    fn new(program: Program) -> Self {
        Stage { actor: Actor::new(program.policy.clone(), program.parent.is_some()), now: Instant::now() }
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.actor.step(event, self.now);
        self.actor.actions.drain(..).map(|(_, action)| action).collect()
    }

    fn hear(&mut self, of: Of) -> Vec<Action> {
        self.step(Event::Run(self.actor.generation(), of))
    }

    /// Starts it, if it wants to be started.
    fn run(&mut self) {
        self.hear(Of::Started { pid: Some(4711), at: SystemTime::now() });
    }

    /// It exits, and nothing of it is left.
    fn exit(&mut self, code: i32) -> Vec<Action> {
        self.hear(Of::Exited(Exit::Code(code)));
        self.hear(Of::Gone)
    }

    /// Goes to the time that it waits for.
    fn wake(&mut self) -> Vec<Action> {
        self.now = self.actor.wake_at().expect("it waits for a time");
        self.step(Event::Tick)
    }
}

fn is_publish(action: &Action, what: State) -> bool {
    matches!(action, Action::Publish(Change { state, .. }) if *state == what)
}

#[test]
fn a_crash_loop_starts_at_0_1_3_7_15_31_and_61_s() {
    let mut stage = Stage::new(Program::new("x"));
    let begin = stage.now;
    stage.step(Event::Start);
    let mut starts = Vec::new();
    for _ in 0..7 {
        starts.push(stage.now.duration_since(begin).as_secs());
        stage.run();
        stage.exit(1);
        assert!(stage.wake().contains(&Action::Spawn));
    }
    assert_eq!(starts, [0, 1, 3, 7, 15, 31, 61]);
}

#[test]
fn a_parent_does_not_wait_for_ever_for_an_exec_that_hangs() {
    let mut stage = Stage::new(Program::new("x").parent("p"));
    stage.step(Event::Parent(true));
    assert!(stage.step(Event::Start).contains(&Action::Spawn));
    assert_eq!(stage.actor.wake_at(), None);
    stage.step(Event::Parent(false));
    assert!(!stage.actor.is_at_rest());
    assert!(matches!(stage.wake()[..], [Action::Stuck(_)]));
    assert!(stage.actor.is_at_rest(), "its parent goes on");
    // The exec comes back after all.
    stage.run();
    assert!(!stage.actor.is_at_rest() && stage.actor.state() == State::Stopping);
    stage.exit(0);
    assert!(stage.actor.waits_for_parent());
}

#[test]
fn a_good_run_fills_the_retries_up_and_begins_the_backoff_anew() {
    let mut stage = Stage::new(Program::new("x").retries(2));
    stage.step(Event::Start);
    for (is_good, delay) in [(false, 1), (true, 1), (false, 2)] {
        stage.run();
        stage.now += if is_good { Duration::from_secs(60) } else { Duration::from_millis(1) };
        stage.exit(1);
        assert_eq!(stage.actor.next_start(), Some(stage.now + Duration::from_secs(delay)));
        stage.wake();
    }
    stage.run();
    let actions = stage.exit(1);
    assert!(
        actions.iter().any(|action| matches!(action, Action::End(outcome, note)
        if outcome.reason == Reason::GaveUp && note == "gave up after 3 restarts")),
        "{actions:?}"
    );
}

#[test]
fn term_then_kill_then_the_news_that_it_cannot_be_killed() {
    let mut stage = Stage::new(Program::new("x").grace(Duration::from_secs(7)));
    stage.step(Event::Start);
    stage.run();
    let begin = stage.now;
    let actions = stage.step(Event::Stop(Reason::Stopped));
    let [
        Action::Publish(Change { state: State::Stopping, .. }),
        Action::Signal(Signal::TERM),
        Action::Signal(Signal::CONT),
    ] = actions[..]
    else {
        panic!("{actions:?}");
    };
    let actions = stage.wake();
    assert_eq!(stage.now.duration_since(begin), Duration::from_secs(7));
    assert!(actions.starts_with(&[Action::Signal(Signal::KILL), Action::Watch]), "{actions:?}");
    stage.hear(Of::Left(vec![Member { pid: 4711, state: 'D' }]));
    let actions = stage.wake();
    assert_eq!(stage.now.duration_since(begin), Duration::from_secs(12));
    assert!(matches!(&actions[..], [Action::Stuck(outcome)] if outcome.left == [4711]), "{actions:?}");
    assert_eq!(stage.actor.describe(None), "cannot be killed: 4711 (D)");
    assert!(stage.step(Event::Start).is_empty(), "nothing is started while it lives");
    // The disk is back.
    stage.hear(Of::Exited(Exit::Signal(9)));
    let actions = stage.hear(Of::Gone);
    let is_end = |action: &Action| matches!(action, Action::End(_, note) if note == "SIGKILL after 7s");
    let (end, spawn) = (actions.iter().position(is_end), actions.iter().position(|action| *action == Action::Spawn));
    assert!(end.is_some() && end < spawn, "{actions:?}");
}

#[test]
fn what_is_left_of_a_group_is_stopped_before_the_next_run() {
    let mut stage = Stage::new(Program::new("x"));
    stage.step(Event::Start);
    stage.run();
    assert_eq!(stage.hear(Of::Exited(Exit::Code(3))), [Action::Watch]);
    let left = |n| Of::Left((0..n).map(|pid| Member { pid, state: 'S' }).collect());
    let actions = stage.hear(left(2));
    assert!(
        actions.iter().any(|action| is_publish(action, State::Stopping))
            && actions.contains(&Action::Signal(Signal::TERM))
    );
    assert_eq!(stage.actor.describe(None), "stopping (exit code 3, 2 left)");
    assert!(stage.hear(left(1)).is_empty());
    let actions = stage.hear(Of::Gone);
    assert!(actions[0] == Action::Release && is_publish(&actions[1], State::Finished), "{actions:?}");
    assert_eq!(stage.actor.describe(None), "waiting (backoff)");
}

#[test]
fn what_comes_late_from_another_run_is_dropped() {
    let mut stage = Stage::new(Program::new("x"));
    stage.step(Event::Start);
    stage.run();
    let old = stage.actor.generation();
    stage.exit(1);
    stage.wake();
    stage.run();
    for of in [Of::Ready, Of::Exited(Exit::Code(0)), Of::Gone, Of::Unwell("late".into())] {
        assert!(stage.step(Event::Run(old, of)).is_empty());
    }
    assert_eq!(stage.actor.describe(None), "running");
}

#[test]
fn a_program_that_is_not_ready_in_time_has_failed() {
    let probe = crate::probe::Probe::tcp("localhost:1");
    let mut stage = Stage::new(Program::new("x").ready(probe).ready_within(Duration::from_secs(10)));
    stage.step(Event::Start);
    stage.run();
    let actions = stage.wake();
    assert!(actions.contains(&Action::Signal(Signal::TERM)));
    assert_eq!(stage.actor.outcome().error.as_deref(), Some("not ready within 10s"));
    stage.exit(0);
    assert_eq!(stage.actor.describe(None), "waiting (backoff)");
}

#[test]
fn the_notes_say_what_ended_it() {
    let note = |exit: Exit, stop: Option<Event>| {
        let mut stage = Stage::new(Program::new("x").restart(Restart::Never));
        stage.step(Event::Start);
        stage.run();
        if let Some(stop) = stop {
            stage.step(stop);
        }
        stage.hear(Of::Exited(exit));
        let actions = stage.hear(Of::Gone);
        let end =
            actions.into_iter().find_map(|action| if let Action::End(_, note) = action { Some(note) } else { None });
        end.expect("an end")
    };
    let stop = || Some(Event::Stop(Reason::Killed("why".into())));
    assert_eq!(note(Exit::Signal(15), stop()), "SIGTERM");
    assert_eq!(note(Exit::Code(0), stop()), "exit code 0 after SIGTERM");
    assert_eq!(note(Exit::Signal(11), stop()), "SIGSEGV after SIGTERM");
    assert_eq!(note(Exit::Signal(9), Some(Event::Kill)), "SIGKILL");
    assert_eq!(note(Exit::Code(3), None), "exit code 3");
    assert_eq!(note(Exit::Signal(11), None), "SIGSEGV");
}
