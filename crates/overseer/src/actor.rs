//! Actor: one program under supervision, as a value without I/O. Events go in, actions come out.
//!
//! # Invariants
//!
//! - A run is over when its process group is empty (`Gone`), not when its leader has exited (`Exited`). Only then comes
//!   the final state, then what the next run waits for.
//! - What an event says of a run carries the run's generation. One of another generation is stale, and dropped.
//! - After `Release` of a generation no action of that generation follows but `Publish` and `End`.
//! - What was asked for (`Goal`) and what is there (`Phase`) are two things: a request changes the goal, and the phase
//!   where that can be done at once. Wherever a run is over, `next` compares the two.

use std::time::{Duration, Instant, SystemTime};

use crate::group::Member;
use crate::program::{Policy, Restart};
use crate::signal::{self, Signal};
use crate::status::{Outcome, Reason, State};

/// How long after KILL it is told that a process cannot be killed.
pub(crate) const UNKILLABLE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Start,
    Restart,
    Stop(Reason),
    /// Stop it, without the grace.
    Kill,
    Signal(Signal),
    /// Whether its parent is ready.
    Parent(bool),
    /// Whether anything that depends on it has a process.
    Below(bool),
    /// The time has come that [`Actor::wake_at`] named.
    Tick,
    Run(u64, Of),
}

/// What is told of a run.
#[derive(Debug, Clone)]
pub(crate) enum Of {
    Started {
        /// `None` if it has no process.
        pid: Option<u32>,
        at: SystemTime,
    },
    NotStarted(String),
    /// The leader has exited. It is not reaped.
    Exited(Exit),
    /// What is left of the group.
    Left(Vec<Member>),
    /// Nothing is left of it.
    Gone,
    Ready,
    Unwell(String),
    /// What is to be done before the start is done.
    Prepared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// Somebody else has taken the status.
    Lost,
}

/// What is to be done, for the generation that goes with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// A supervision begins.
    Begin,
    /// Do what is to be done before the start, and tell.
    Prepare,
    /// Do that no more.
    Desist,
    Spawn,
    /// To the whole group.
    Signal(Signal),
    /// Look what is left of the group, and tell.
    Watch,
    /// The group is empty: reap its leader.
    Release,
    AskReady,
    AskHealth,
    Publish(Change),
    /// The run is ready, or over.
    Settled,
    /// It cannot be ended. Those who wait for its end are told.
    Stuck(Outcome),
    /// The supervision has ended, with a word on how.
    End(Outcome, String),
}

/// A new state, and what was known then. The actor has gone on when others are told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) state: State,
    pub(crate) pid: Option<u32>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) next_start: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Actor {
    policy: Policy,
    goal: Goal,
    phase: Phase,
    generation: u64,
    state: State,
    /// The current run, or the last one.
    run: Run,
    /// How the last run that is over ended, in words. The next one may have begun since.
    last_run: Option<String>,
    /// Whether the parent is ready, if there is one.
    parent: Option<bool>,
    has_below: bool,
    /// Restarts since a run was good: what backoff and retries count.
    failures: u32,
    restarts: u32,
    /// An operator wants it to run again, whatever its policy says.
    again: bool,
    /// It has run, and does so again when its parent has become ready anew.
    is_spent: bool,
    /// It is to be supervised again when this supervision has ended.
    begin_again: bool,
    /// KILL at once.
    is_harsh: bool,
    is_stuck: bool,
    pub(crate) actions: Vec<(u64, Action)>,
}

#[derive(Debug)]
enum Goal {
    Idle,
    Up,
    Down(Reason),
}

#[derive(Debug)]
enum Phase {
    Idle,
    Waiting { until: Instant, why: Wait },
    Preparing,
    Starting { tell_at: Option<Instant> },
    Running { since: Instant, ready_by: Option<Instant> },
    Stopping { since: Instant, why: Why, step: Step },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wait {
    Delay,
    Backoff,
    Parent,
    Below,
}

/// Why a run is being stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Why {
    /// Its leader has exited by itself.
    Exited,
    Asked,
    /// Its parent is not ready any more.
    Parent,
    /// A probe failed, or it was not ready in time.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// What depends on it is stopped first.
    Below,
    /// The leader is gone: is anything left?
    Look,
    Term {
        kill_at: Instant,
    },
    Kill {
        tell_at: Option<Instant>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) pid: Option<u32>,
    pub(crate) started: Option<SystemTime>,
    pub(crate) is_ready: bool,
    pub(crate) exit: Option<Exit>,
    pub(crate) error: Option<String>,
    /// The last signal that was sent to end it, while its leader lived.
    sent: Option<Signal>,
    left: Vec<Member>,
    /// Signals for it that came before it was there.
    early: Vec<Signal>,
}

impl Actor {
    pub(crate) fn new(policy: Policy, has_parent: bool) -> Self {
        Actor {
            policy,
            goal: Goal::Idle,
            phase: Phase::Idle,
            generation: 0,
            state: State::Initial,
            run: Run::default(),
            last_run: None,
            parent: has_parent.then_some(false),
            has_below: false,
            failures: 0,
            restarts: 0,
            again: false,
            is_spent: false,
            begin_again: false,
            is_harsh: false,
            is_stuck: false,
            actions: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, event: Event, now: Instant) {
        match event {
            Event::Start => self.start(now),
            Event::Restart => self.restart(now),
            Event::Stop(reason) => self.stop(reason, now),
            Event::Kill => self.kill(now),
            Event::Signal(signal) => self.signal(signal),
            Event::Parent(is_up) => self.parent_is(is_up, now),
            Event::Below(lives) => self.below_is(lives, now),
            Event::Tick => self.tick(now),
            Event::Run(generation, of) if generation == self.generation => self.hear(of, now),
            Event::Run(..) => {}
        }
    }

    // Requests.

    fn start(&mut self, now: Instant) {
        match self.goal {
            Goal::Idle => self.begin(now),
            Goal::Up => {}
            Goal::Down(_) => self.begin_again = true,
        }
    }

    fn restart(&mut self, now: Instant) {
        if !matches!(self.goal, Goal::Up) {
            return self.start(now);
        }
        match &mut self.phase {
            Phase::Waiting { until, .. } => {
                *until = now;
                self.failures = 0;
                self.is_spent = false;
                self.proceed(now);
            }
            Phase::Running { .. } => {
                self.again = true;
                self.stop_run(Why::Asked, now);
            }
            Phase::Stopping { .. } => self.again = true,
            Phase::Preparing | Phase::Starting { .. } | Phase::Idle => {}
        }
    }

    fn stop(&mut self, reason: Reason, now: Instant) {
        self.begin_again = false;
        if !matches!(self.goal, Goal::Up) {
            return;
        }
        self.goal = Goal::Down(reason);
        match &mut self.phase {
            Phase::Waiting { .. } | Phase::Preparing => {
                if let Phase::Preparing = self.phase {
                    self.act(Action::Desist);
                }
                self.run.exit = None;
                self.run.error = None;
                self.publish(State::Initial, now);
                self.end(now);
            }
            Phase::Starting { tell_at } => *tell_at = Some(now + self.policy.grace + UNKILLABLE),
            Phase::Running { .. } => self.stop_run(Why::Asked, now),
            Phase::Stopping { .. } | Phase::Idle => {}
        }
    }

    fn kill(&mut self, now: Instant) {
        self.is_harsh = !matches!(self.goal, Goal::Idle);
        self.stop(Reason::Stopped, now);
        if let Phase::Stopping { step: Step::Below | Step::Look | Step::Term { .. }, .. } = self.phase {
            self.send_kill(now);
        }
    }

    fn signal(&mut self, signal: Signal) {
        match self.phase {
            Phase::Running { .. } | Phase::Stopping { .. } => self.act(Action::Signal(signal)),
            // Each signal is pending once, as in the system.
            Phase::Starting { .. } if !self.run.early.contains(&signal) => self.run.early.push(signal),
            _ => {}
        }
    }

    fn parent_is(&mut self, is_up: bool, now: Instant) {
        self.parent = Some(is_up);
        self.is_spent &= is_up;
        match &mut self.phase {
            Phase::Running { .. } if !is_up => self.stop_run(Why::Parent, now),
            Phase::Preparing if !is_up => {
                self.act(Action::Desist);
                self.phase = Phase::Waiting { until: now, why: Wait::Parent };
            }
            // Its parent waits for it, but not for ever.
            Phase::Starting { tell_at: at @ None } if !is_up => *at = Some(now + self.policy.grace + UNKILLABLE),
            _ => {}
        }
        self.proceed(now);
    }

    fn below_is(&mut self, lives: bool, now: Instant) {
        self.has_below = lives;
        if !lives && matches!(self.phase, Phase::Stopping { step: Step::Below, .. }) {
            self.send_term(now);
        }
        self.proceed(now);
    }

    fn tick(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting { .. } => self.proceed(now),
            Phase::Starting { tell_at: at @ Some(_) } if *at <= Some(now) => {
                *at = None;
                self.run.error = Some("its exec has not come back: is a disk dead?".to_string());
                self.is_stuck();
            }
            Phase::Running { ready_by: Some(at), .. } if *at <= now => {
                let within = humantime::format_duration(self.policy.ready_within.unwrap_or_default());
                self.run.error = Some(format!("not ready within {within}"));
                self.stop_run(Why::Failed, now);
            }
            Phase::Stopping { step: Step::Term { kill_at }, .. } if *kill_at <= now => self.send_kill(now),
            Phase::Stopping { step: Step::Kill { tell_at: at @ Some(_) }, .. } if *at <= Some(now) => {
                *at = None;
                self.is_stuck();
            }
            _ => {}
        }
    }

    /// When the next [`Event::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until, why: Wait::Delay | Wait::Backoff } => Some(*until),
            Phase::Starting { tell_at } => *tell_at,
            Phase::Running { ready_by, .. } => *ready_by,
            Phase::Stopping { step: Step::Term { kill_at }, .. } => Some(*kill_at),
            Phase::Stopping { step: Step::Kill { tell_at }, .. } => *tell_at,
            _ => None,
        }
    }

    // What is told of a run.

    fn hear(&mut self, of: Of, now: Instant) {
        match (of, &mut self.phase) {
            (Of::Started { pid, at }, Phase::Starting { .. }) => {
                self.run.pid = pid;
                self.run.started = Some(at);
                self.is_stuck = false;
                self.running(now);
            }
            (Of::NotStarted(error), Phase::Starting { .. }) => {
                self.run.error = Some(error);
                self.is_stuck = false;
                self.publish(State::Fatal, now);
                self.act(Action::Settled);
                self.next(Why::Failed, Duration::ZERO, now);
            }
            (Of::Prepared, Phase::Preparing) => self.spawn(now),
            (Of::Ready, Phase::Running { ready_by, .. }) if !self.run.is_ready => {
                *ready_by = None;
                self.run.is_ready = true;
                self.act(Action::AskHealth);
                self.act(Action::Settled);
            }
            (Of::Unwell(why), Phase::Running { .. }) => {
                self.run.error = Some(why);
                self.stop_run(Why::Failed, now);
            }
            (Of::Exited(exit), phase) if self.run.exit.is_none() => {
                match phase {
                    Phase::Running { since, .. } => {
                        *phase = Phase::Stopping { since: *since, why: Why::Exited, step: Step::Look };
                    }
                    Phase::Stopping { step, .. } if *step == Step::Below => *step = Step::Look,
                    _ => {}
                }
                self.run.exit = Some(exit);
                self.run.pid = None;
                self.run.is_ready = false;
                self.act(Action::Watch);
            }
            (Of::Left(members), Phase::Stopping { step, .. }) => {
                let is_first = *step == Step::Look;
                self.run.left = members;
                if is_first {
                    self.send_term(now);
                }
            }
            (Of::Gone, Phase::Stopping { since, why, .. }) if self.run.exit.is_some() => {
                let (why, ran) = (*why, now.saturating_duration_since(*since));
                self.run.left.clear();
                self.is_stuck = false;
                if self.run.exit == Some(Exit::Lost) && self.run.error.is_none() {
                    self.run.error = Some("its exit status was taken by somebody else".to_string());
                }
                self.act(Action::Release);
                let is_interrupted = matches!(self.run.exit, Some(Exit::Signal(_)));
                self.publish(if is_interrupted { State::Interrupted } else { State::Finished }, now);
                self.act(Action::Settled);
                self.next(why, ran, now);
            }
            _ => {}
        }
    }

    // From phase to phase.

    fn begin(&mut self, now: Instant) {
        self.goal = Goal::Up;
        self.failures = 0;
        self.restarts = 0;
        self.begin_again = false;
        self.generation += 1;
        self.act(Action::Begin);
        let delay = self.policy.delay_start;
        self.wait(now + delay, Wait::Delay, now);
    }

    fn wait(&mut self, until: Instant, why: Wait, now: Instant) {
        self.phase = Phase::Waiting { until, why };
        self.proceed(now);
    }

    /// Starts it, if there is nothing to wait for any more.
    fn proceed(&mut self, now: Instant) {
        let Phase::Waiting { until, why } = &mut self.phase else { return };
        if self.parent == Some(false) || self.is_spent {
            *why = Wait::Parent;
            // Whoever waits for the run would wait for somebody else.
            self.act(Action::Settled);
        } else if *until > now {
            *why = if self.restarts == 0 { Wait::Delay } else { Wait::Backoff };
        } else if self.has_below {
            *why = Wait::Below;
        } else if self.policy.has_before {
            self.phase = Phase::Preparing;
            self.act(Action::Prepare);
        } else {
            return self.spawn(now);
        }
        if self.state != State::Waiting {
            self.publish(State::Waiting, now);
        }
    }

    fn spawn(&mut self, now: Instant) {
        self.phase = Phase::Starting { tell_at: None };
        self.run = Run::default();
        self.publish(State::Starting, now);
        self.act(Action::Spawn);
    }

    fn running(&mut self, now: Instant) {
        let ready_by = self.policy.ready_within.filter(|_| self.policy.has_probe).map(|within| now + within);
        self.phase = Phase::Running { since: now, ready_by };
        self.publish(State::Running, now);
        for signal in std::mem::take(&mut self.run.early) {
            self.act(Action::Signal(signal));
        }
        if let Goal::Down(_) = self.goal {
            self.stop_run(Why::Asked, now);
        } else if self.parent == Some(false) {
            self.stop_run(Why::Parent, now);
        } else if self.policy.has_probe {
            self.act(Action::AskReady);
        } else {
            self.hear(Of::Ready, now);
        }
    }

    fn stop_run(&mut self, why: Why, now: Instant) {
        let Phase::Running { since, .. } = self.phase else { return };
        self.phase = Phase::Stopping { since, why, step: Step::Below };
        self.run.is_ready = false;
        self.publish(State::Stopping, now);
        if self.is_harsh {
            self.send_kill(now);
        } else if !self.has_below {
            self.send_term(now);
        }
    }

    fn send_term(&mut self, now: Instant) {
        if self.state != State::Stopping {
            self.publish(State::Stopping, now);
        }
        self.send(Signal::TERM, Step::Term { kill_at: now + self.policy.grace });
        // One that is stopped must go on, to end.
        self.act(Action::Signal(Signal::CONT));
    }

    fn send_kill(&mut self, now: Instant) {
        if self.state != State::Stopping {
            self.publish(State::Stopping, now);
        }
        self.send(Signal::KILL, Step::Kill { tell_at: Some(now + UNKILLABLE) });
        self.act(Action::Watch);
    }

    fn send(&mut self, signal: Signal, next: Step) {
        if let Phase::Stopping { step, .. } = &mut self.phase {
            *step = next;
        }
        if self.run.exit.is_none() {
            self.run.sent = Some(signal);
        }
        self.act(Action::Signal(signal));
    }

    fn is_stuck(&mut self) {
        self.is_stuck = true;
        let outcome = self.outcome();
        self.act(Action::Stuck(outcome));
    }

    /// A run is over, or has not come about: what now?
    fn next(&mut self, why: Why, ran: Duration, now: Instant) {
        let is_success = why == Why::Exited && self.has_good_code();
        let by_policy = match self.policy.restart {
            // A wait for the parent, which has no place in backoff and retries.
            Restart::WithParent if why == Why::Exited || why == Why::Failed => {
                self.is_spent = self.parent == Some(true);
                self.failures = 0;
                true
            }
            Restart::Never | Restart::WithParent => false,
            Restart::OnFailure => !is_success,
            Restart::Always => true,
        };
        if let Goal::Down(_) = self.goal {
            return self.end(now);
        }
        let mut delay = Duration::ZERO;
        if std::mem::take(&mut self.again) {
            self.failures = 0;
        } else if why != Why::Parent {
            if ran >= self.policy.reset_after {
                self.failures = 0;
            }
            let is_spent = self.policy.retries.is_some_and(|retries| self.failures >= retries);
            if !by_policy || is_spent {
                self.goal = Goal::Down(if by_policy { Reason::GaveUp } else { Reason::Finished });
                return self.end(now);
            }
            if !self.is_spent {
                self.failures += 1;
                delay = self.policy.backoff.delay(self.failures);
            }
        }
        self.restarts += 1;
        self.generation += 1;
        self.wait(now + delay, Wait::Backoff, now);
    }

    fn end(&mut self, now: Instant) {
        let (outcome, note) = (self.outcome(), self.note());
        self.goal = Goal::Idle;
        self.phase = Phase::Idle;
        self.again = false;
        self.is_harsh = false;
        self.act(Action::End(outcome, note));
        if std::mem::take(&mut self.begin_again) {
            self.begin(now);
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push((self.generation, action));
    }

    fn publish(&mut self, state: State, now: Instant) {
        self.state = state;
        if state.is_final() {
            self.last_run = Some(self.outcome().to_string());
        }
        let (exit_code, signal) = self.exit_parts();
        let reason = if let Goal::Down(reason) = &self.goal { Some(reason.clone()) } else { None };
        let next_start = self.next_start().map(|at| at.saturating_duration_since(now));
        let (pid, error) = (self.run.pid, self.run.error.clone());
        self.act(Action::Publish(Change { state, pid, exit_code, signal, error, reason, next_start }));
    }

    // What others see.

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The first generation that will be a run later than now.
    pub(crate) fn next_run(&self) -> u64 {
        self.generation
            + u64::from(!matches!(self.phase, Phase::Waiting { .. } | Phase::Preparing | Phase::Starting { .. }))
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) fn last_run(&self) -> Option<&str> {
        self.last_run.as_deref()
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    pub(crate) fn is_supervised(&self) -> bool {
        !matches!(self.goal, Goal::Idle)
    }

    /// It is supervised anew when this supervision has ended.
    pub(crate) fn is_to_begin_again(&self) -> bool {
        self.begin_again
    }

    /// It is to run, or to run again.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.goal, Goal::Up) || self.begin_again
    }

    /// What depends on it may run.
    pub(crate) fn is_up(&self) -> bool {
        matches!((&self.goal, &self.phase), (Goal::Up, Phase::Running { .. })) && self.run.is_ready
    }

    /// It has no process, or none that can be ended.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_stuck || matches!(self.phase, Phase::Idle | Phase::Waiting { .. } | Phase::Preparing)
    }

    pub(crate) fn is_stuck_now(&self) -> bool {
        self.is_stuck
    }

    pub(crate) fn waits_for_parent(&self) -> bool {
        matches!(self.phase, Phase::Waiting { why: Wait::Parent, .. })
    }

    /// When it starts next, if that is a matter of time.
    pub(crate) fn next_start(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, why: Wait::Delay | Wait::Backoff } => Some(until),
            _ => None,
        }
    }

    /// When what is left of it gets KILL.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Stopping { step: Step::Term { kill_at }, .. } => Some(kill_at),
            _ => None,
        }
    }

    /// Its status in the list.
    pub(crate) fn describe(&self, parent: Option<&str>) -> String {
        match &self.phase {
            Phase::Waiting { why, .. } => match why {
                Wait::Parent if self.is_spent => {
                    format!("done, waits for {}", parent.unwrap_or("its parent"))
                }
                Wait::Parent => format!("waiting for {}", parent.unwrap_or("its parent")),
                Wait::Backoff => "waiting (backoff)".to_string(),
                Wait::Delay => "waiting (start delay)".to_string(),
                Wait::Below => "waiting for what depends on it".to_string(),
            },
            Phase::Preparing => "waiting (preparing)".to_string(),
            Phase::Stopping { .. } if self.is_stuck => {
                let left: Vec<String> = self.run.left.iter().map(ToString::to_string).collect();
                format!("cannot be killed: {}", left.join(", "))
            }
            Phase::Stopping { step: Step::Below, .. } => "stopping (first what depends on it)".to_string(),
            Phase::Stopping { .. } => {
                let left = self.run.left.len();
                let exit = self.run.exit.map(|exit| exit.to_string());
                let left = (left > 0).then(|| format!("{left} left"));
                let words: Vec<String> = exit.into_iter().chain(left).collect();
                if words.is_empty() { "stopping".to_string() } else { format!("stopping ({})", words.join(", ")) }
            }
            _ => self.state.to_string(),
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let reason = match &self.goal {
            Goal::Down(reason) => reason.clone(),
            Goal::Idle | Goal::Up => Reason::Finished,
        };
        let (exit_code, signal) = self.exit_parts();
        let left = if self.is_stuck { self.run.left.iter().map(|member| member.pid).collect() } else { Vec::new() };
        let has_good_code = self.has_good_code();
        Outcome { exit_code, signal, error: self.run.error.clone(), reason, left, has_good_code }
    }

    fn has_good_code(&self) -> bool {
        matches!(self.run.exit, Some(Exit::Code(code)) if self.policy.success_codes.contains(&code))
    }

    pub(crate) fn exit_parts(&self) -> (Option<i32>, Option<i32>) {
        match self.run.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            Some(Exit::Lost) | None => (None, None),
        }
    }

    /// How it ended, for the one who killed it, or looks at what has ended.
    fn note(&self) -> String {
        if let Goal::Down(Reason::GaveUp) = self.goal {
            return format!("gave up after {} restarts", self.restarts);
        }
        let Some(exit) = self.run.exit else {
            return self.run.error.clone().unwrap_or_else(|| "it was not running".to_string());
        };
        match (exit, self.run.sent) {
            (_, None) => self.outcome().to_string(),
            (Exit::Signal(number), Some(sent)) if number == sent.as_raw() => match sent {
                Signal::KILL if !self.is_harsh => {
                    format!("SIGKILL after {}", humantime::format_duration(self.policy.grace))
                }
                _ => exit.to_string(),
            },
            (exit, Some(sent)) => format!("{exit} after {sent}"),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => f.write_str(&signal::name(*number)),
            Exit::Lost => f.write_str("exit status lost"),
        }
    }
}

#[cfg(test)]
mod tests;
