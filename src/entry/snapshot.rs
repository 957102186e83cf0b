//! Snapshot: what leaves the lock of an entry. Adds `Entry::{with_live, with, snapshot}`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, Life, Note, Parent, State};
use crate::clock::{Moment, Tick, WallTime};
use crate::columns::{Clearance, Columns};
use crate::history::History;
use crate::kill::Kill;
use crate::limits::Truncations;
use crate::proc::{Killing, Outcome, Proc};
use crate::progress::Meter;

/// A task, to be read under its lock: copy and compare, and nothing else.
pub(crate) struct EntryRef<'a> {
    pub(crate) id: &'a str,
    pub(crate) started: Instant,
    history: &'a History,
    pub(crate) columns: &'a Columns,
    pub(crate) progress: Meter,
    /// The kill that was accepted.
    pub(crate) kill: Option<&'a Arc<Kill>>,
    /// How and when it ended.
    pub(crate) end: Option<(Outcome, Instant)>,
    /// What was over a limit, if anything ever was.
    pub(crate) truncations: Option<&'a Truncations>,
    pub(crate) parent: Option<&'a Parent>,
    /// How it ended, beyond the outcome.
    pub(crate) note: Option<&'a str>,
}

impl<'a> EntryRef<'a> {
    pub(crate) fn status(&self) -> &'a str {
        self.history.current()
    }

    /// The kill that it ended of.
    pub(crate) fn killed_by(&self) -> Option<&'a Arc<Kill>> {
        self.kill.filter(|_| self.end.is_some_and(|(outcome, _)| outcome == Outcome::Killed))
    }

    /// How long it has been running, or ran.
    #[inline]
    pub(crate) fn age(&self, now: Moment) -> Duration {
        self.until(now).since(self.started)
    }

    /// For how long it has been in this status, or was at its end.
    #[inline]
    pub(crate) fn in_status(&self, now: Moment) -> Duration {
        self.history.in_status(self.started, self.until(now))
    }

    /// The time of a task that has ended has stopped.
    #[inline]
    fn until(&self, now: Moment) -> Moment {
        self.end.map_or(now, |(_, at)| now.back_to(at))
    }
}

/// How much of a task a snapshot copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What a row shows: no history, no profile.
    Row,
    All,
}

/// What is between a child and its parent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tie {
    /// The kill of the parent does not reach it.
    pub(crate) is_independent: bool,
    /// The parent has ended.
    pub(crate) is_orphan: bool,
}

/// A [`Proc`] that knows which of its columns are masked.
pub(crate) struct Snapshot {
    pub(crate) proc: Proc,
    /// A bit for each column: its value is `***`.
    masked: u32,
    pub(crate) end: Option<Instant>,
    /// When the program will kill it.
    pub(crate) deadline: Option<Instant>,
    pub(crate) refuses_kills: bool,
    pub(crate) tie: Tie,
    /// When its status was entered, as the same value in each snapshot; `None` if it is the first one.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) entered: Option<Tick>,
    /// How many statuses came before those of the history.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) folded: u64,
}

impl Snapshot {
    /// Without the columns that this reader may not know of.
    pub(crate) fn without_secrets(mut self) -> Proc {
        let mut column = 0;
        self.proc.cols.retain(|_| {
            column += 1;
            self.masked & 1 << (column - 1) == 0
        });
        self.proc
    }
}

impl Entry {
    /// Reads the task. `None` if it has ended.
    #[inline]
    pub(crate) fn with_live<R>(&self, read: impl FnOnce(&EntryRef<'_>) -> R) -> Option<R> {
        self.live().map(|mut state| read(&self.entry_ref(state.settled())))
    }

    /// Reads the task, whether or not it has ended.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&EntryRef<'_>) -> R) -> R {
        read(&self.entry_ref(self.lock().settled()))
    }

    #[inline]
    fn entry_ref<'a>(&'a self, state: &'a State) -> EntryRef<'a> {
        EntryRef {
            id: self.id(),
            started: self.started,
            history: &state.history,
            columns: &state.columns,
            progress: state.progress,
            kill: state.life.kill().or_else(|| state.inherited()),
            end: state.life.end(),
            truncations: state.rare.as_deref().map(|rare| &rare.truncations),
            parent: state.rare.as_deref().and_then(|rare| rare.parent.as_ref()),
            note: state.note.text(),
        }
    }

    /// A copy of the task at `now`, for a reader of that clearance.
    pub(crate) fn snapshot(&self, clearance: Clearance, depth: Depth, now: Moment) -> Snapshot {
        let mut state = self.lock();
        let started = *state.wall.get_or_insert_with(|| WallTime::of(self.started));
        state.columns.settle();
        let row = self.entry_ref(&state);
        let until = row.until(now);
        let (history, profile) = match depth {
            Depth::Row => (Vec::new(), Vec::new()),
            Depth::All => (row.history.steps(self.started, until), row.history.profile(self.started, until)),
        };
        let killing = row.kill.map(|kill| Killing {
            message: kill.message.clone(),
            by: kill.by.as_deref().cloned(),
            since: until.since(kill.at),
        });
        let proc = Proc {
            id: row.id.to_string(),
            status: row.status().to_string(),
            site: state.site.map(Into::into),
            cols: row.columns.iter().map(|(name, value)| (name.into(), value.shown(clearance).into())).collect(),
            started: started.into(),
            elapsed: row.age(now),
            in_status: row.in_status(now),
            progress: row.progress.at(until),
            history,
            profile,
            killing,
            outcome: row.end.map(|(outcome, _)| outcome),
            note: None,
            parent: row.parent.map(|parent| parent.id.to_string()),
            children: Vec::new(),
        };
        let (masked, end) = (row.columns.masked(clearance), row.end.map(|(_, at)| at));
        let (entered, folded) = (row.history.entered(), row.history.folded());
        let note: Note = state.note.clone();
        let (rare, refuses_kills) = (state.rare.as_deref(), state.forbidden);
        let deadline = rare.and_then(|rare| rare.deadline).map(|(at, _)| at);
        let parent = rare.filter(|_| depth == Depth::All).and_then(|rare| rare.parent.clone());
        drop(state);
        let tie = parent.map_or_else(Tie::default, |parent| Tie {
            is_independent: parent.is_independent,
            is_orphan: parent.entry.upgrade().is_none_or(|entry| entry.has_ended()),
        });
        let children = match depth {
            Depth::Row => Vec::new(),
            Depth::All => self.children().iter().map(|child| child.id().to_string()).collect(),
        };
        let note = note.text().map(str::to_string);
        Snapshot { proc: Proc { note, children, ..proc }, masked, end, deadline, refuses_kills, tie, entered, folded }
    }

    /// A copy of all of the task, in which secrets are masked.
    pub(crate) fn proc(&self) -> Proc {
        self.snapshot(Clearance::Public, Depth::All, Moment::now()).proc
    }
}

impl Life {
    pub(super) fn end(&self) -> Option<(Outcome, Instant)> {
        match self {
            Life::Nobody | Life::Running | Life::Killing { .. } => None,
            Life::Ended { outcome, at, .. } => Some((*outcome, *at)),
        }
    }
}
