//! End: how a task ends, and what is to be done about it. Adds `Entry::give_up`.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::rare::{Left, Rare};
use super::{Entry, Home, Life, State, UNWINDING};
use crate::escape;
use crate::kill::{Ending, Kill};
use crate::killed::Killed;
use crate::limits::{self, Truncations};
use crate::proc::Outcome;
use crate::waiters::Woken;

/// What ends a task.
pub(crate) enum Cause {
    /// `done` was called.
    Done,
    /// Its guard was dropped.
    Dropped,
    /// Its guard was dropped while a panic unwinds.
    Panic,
    /// Its guard was dropped by a kill, its own or that of another task.
    Kill(Killed),
}

impl Cause {
    /// Whether it is the kill of a task above that with this `kill`.
    fn is_from_above(&self, kill: &Kill) -> bool {
        matches!(self, Cause::Kill(killed) if kill.is_below() && killed.is_of_family(kill))
    }
}

/// Which guards of a task are given up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guards {
    /// The one that the caller has.
    One,
    /// All of them: the task is ended by its id.
    All,
}

/// How a task ends, beyond the outcome.
#[derive(Debug, Clone, Default)]
pub(crate) enum Note {
    #[default]
    None,
    /// A pending `run` was dropped, and nothing shows that the task goes on.
    Abandoned,
    /// By the kill of another task, or after it saw its own: in our words.
    Told(Arc<str>),
    /// What the program says.
    Text(Arc<str>),
}

impl Note {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Note::None => None,
            Note::Abandoned => Some("abandoned"),
            Note::Told(text) | Note::Text(text) => Some(text),
        }
    }

    /// What is said of a task that the kill of another one has ended.
    fn unwound_by(killed: &Killed) -> Arc<str> {
        format!("unwound by the kill of {}", escape::id(killed.id())).into()
    }

    /// The bytes that it holds besides itself.
    pub(super) fn spilled(&self) -> usize {
        match self {
            Note::None | Note::Abandoned => 0,
            Note::Told(text) | Note::Text(text) => text.len() + 2 * size_of::<usize>(),
        }
    }
}

/// `38 kill points after it saw the kill`: said of a task that saw its kill and went on.
fn passed(kill_points: u32) -> String {
    let points = if kill_points == 1 { "kill point" } else { "kill points" };
    format!("{kill_points} {points} after it saw the kill")
}

/// How a task ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) at: Instant,
    /// How long it ran.
    pub(crate) ran: Duration,
    /// The bytes that its entry holds besides itself, without its past.
    pub(crate) spilled: usize,
    /// What most tasks do not have.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What is to be done about some ends.
pub(crate) struct Extra {
    /// The kill that was under way and how it came out: to be announced when the task has left the
    /// list.
    pub(crate) kill: Option<(Arc<Kill>, Ending)>,
    pub(crate) truncations: Option<Truncations>,
    /// There is a note on how it ended.
    pub(crate) is_noted: bool,
    /// The futures that wait for the end: to be woken when the task has left the list.
    pub(crate) woken: Woken,
    /// To be dropped when the task has left the list.
    pub(crate) left: Option<Left>,
}

impl Extra {
    /// Tells all who wait for the end. Returns the kill, and how it came out.
    pub(crate) fn announce(self) -> Option<(Arc<Kill>, Ending)> {
        self.woken.wake();
        drop(self.left);
        if let Some((kill, ending)) = &self.kill {
            kill.announce(ending.clone());
        }
        self.kill
    }
}

impl Entry {
    /// Gives up guards, with what the program says of that. With its last one the task ends and
    /// leaves its list. Returns whether it did.
    #[inline]
    pub(crate) fn give_up(self: &Arc<Self>, guards: Guards, cause: Cause, said: Option<String>) -> bool {
        match (cause, said) {
            (cause @ (Cause::Done | Cause::Dropped), None) => self.end(guards, cause),
            (cause, said) => self.end_with(guards, cause, said),
        }
    }

    /// The same if it ends as most do.
    fn end(self: &Arc<Self>, guards: Guards, cause: Cause) -> bool {
        let at = Instant::now();
        let Some(mut state) = self.live() else { return false };
        if !state.is_plain() || guards == Guards::One && state.guards > 1 {
            drop(state);
            return self.end_with(guards, cause, None);
        }
        state.life = Life::Ended { outcome: Outcome::Ended, kill: None, at };
        let spilled = self.spilled(&state, true) + self.kept_past(&state);
        let home = state.home.take();
        drop(state);
        let ran = at.saturating_duration_since(self.started);
        if let Some(list) = home.into_list() {
            list.leave(self, End { outcome: Outcome::Ended, at, ran, spilled, extra: None });
        }
        true
    }

    fn has_started_unwinding(&self) -> bool {
        self.has(UNWINDING)
    }

    #[cold]
    fn end_with(self: &Arc<Self>, guards: Guards, cause: Cause, said: Option<String>) -> bool {
        // A destructor started it, and it ends with the same unwinding: it is not what failed.
        let cause = match cause {
            Cause::Panic | Cause::Kill(_) if self.has_started_unwinding() => Cause::Dropped,
            cause => cause,
        };
        let said = said.map(|note| Arc::from(limits::cut(note.into(), limits::NOTE)));
        let unwound = if let Cause::Kill(killed) = &cause { Some(Note::unwound_by(killed)) } else { None };
        // A kill that is on its way to it, or that it was born under and has not looked at.
        self.let_kill_pass();
        let at = Instant::now();
        let Some(mut state) = self.live() else { return false };
        if guards == Guards::One && state.guards > 1 {
            state.give_up_one(cause, said, unwound);
            return false;
        }
        let (end, home) = self.end_noted(state, cause, said, unwound, at);
        self.leave_family();
        match home.into_list() {
            Some(list) => list.leave(self, end),
            None => _ = end.extra.map(|extra| extra.announce()),
        }
        true
    }

    /// The end of a task of which there is something to say, or to do.
    fn end_noted(
        &self,
        mut state: MutexGuard<'_, State>,
        cause: Cause,
        said: Option<Arc<str>>,
        unwound: Option<Arc<str>>,
        at: Instant,
    ) -> (End, Home) {
        let ran = at.saturating_duration_since(self.started);
        let has_panicked = state.has_panicked || matches!(cause, Cause::Panic);
        let unseen = if has_panicked { Outcome::Panicked } else { Outcome::Ended };
        let (outcome, passed, kill) = match &state.life {
            Life::Killing { kill, seen: true, passed, .. } => (Outcome::Killed, *passed, Some(Arc::clone(kill))),
            // What the call has interrupted ends it.
            Life::Killing { kill, seen: false, .. } if kill.is_called() && !has_panicked => {
                (Outcome::Killed, 0, Some(Arc::clone(kill)))
            }
            // The kill of a task above it ends them both.
            Life::Killing { kill, seen: false, .. } if cause.is_from_above(kill) => {
                (Outcome::Killed, 0, Some(Arc::clone(kill)))
            }
            Life::Killing { kill, seen: false, .. } => (unseen, 0, Some(Arc::clone(kill))),
            Life::Nobody | Life::Running | Life::Ended { .. } => (unseen, 0, None),
        };
        let is_killed = outcome == Outcome::Killed;
        state.note = match (said, cause, std::mem::take(&mut state.note)) {
            (Some(said), ..) => Note::Text(said),
            (None, _, Note::Text(said)) => Note::Text(said),
            (None, Cause::Kill(_), _) if !is_killed && unwound.is_some() => unwound.map_or(Note::None, Note::Told),
            _ if passed > 0 => Note::Told(self::passed(passed).into()),
            (None, Cause::Done, Note::Abandoned) => Note::None,
            (None, _, note) => note,
        };
        state.life = Life::Ended { outcome, kill: kill.clone(), at };
        let home = state.home.take();
        let left = state.rare.as_deref_mut().map(Rare::leave);
        let spilled = self.spilled(&state, false) + self.kept_past(&state);
        let is_noted = !matches!(state.note, Note::None);
        let truncations = state.rare.as_deref().map(|rare| rare.truncations);
        let woken = state.waiters.take();
        let (status, note) = (state.history.current().clone(), state.note.clone());
        drop(state);
        let ending = |kill: &Kill| {
            let after = at.saturating_duration_since(kill.at);
            let mut suffix = if passed > 0 { format!(", {}", self::passed(passed)) } else { String::new() };
            if let Note::Text(text) = &note {
                suffix = format!("{suffix}: {}", escape::plain(text));
            }
            Ending { outcome, after, status: status.into_owned(), note: note.text().map(str::to_string), suffix }
        };
        let kill = kill.map(|kill| {
            let ending = ending(&kill);
            (kill, ending)
        });
        let extra = Some(Box::new(Extra { kill, truncations, is_noted, woken, left }));
        (End { outcome, at, ran, spilled, extra }, home)
    }
}

impl State {
    /// Whether there is nothing to say or to do about its end, as of most tasks.
    #[inline]
    fn is_plain(&self) -> bool {
        matches!(self.life, Life::Running)
            && matches!(self.note, Note::None)
            && !self.has_panicked
            && self.waiters.is_empty()
            && self.rare.is_none()
    }

    fn is_own(&self, killed: &Killed) -> bool {
        self.life.kill().is_some_and(|kill| killed.is_of(kill))
    }

    /// One guard less, and not the last: notes how the part of the work ended that it stood for.
    fn give_up_one(&mut self, cause: Cause, said: Option<Arc<str>>, unwound: Option<Arc<str>>) {
        self.guards -= 1;
        match (said, cause) {
            (Some(said), _) => self.note = Note::Text(said),
            (None, Cause::Panic) => self.has_panicked = true,
            (None, Cause::Kill(other)) if !self.is_own(&other) && !matches!(self.note, Note::Text(_)) => {
                self.note = unwound.map_or(Note::None, Note::Told);
            }
            (None, Cause::Done | Cause::Dropped | Cause::Kill(_)) => {}
        }
    }
}
