//! Field: what a column is called, and what it holds for a task.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Moment;
use crate::columns::{Clearance, MASK};
use crate::entry::EntryRef;
use crate::escape;
use crate::limits;
use crate::list::ProcList;
use crate::proc::Proc;

/// What the table can show of a task, and a view can filter and sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Id,
    Status,
    Time,
    InStatus,
    /// How far it has come, in percent.
    Progress,
    /// The task that it is a child of.
    Parent,
    /// How a task ended.
    Outcome,
    /// .. what is to be said of that ..
    Note,
    /// .. and why it was killed.
    Message,
    /// A column of the program's.
    Column(String),
}

/// How many names that only the tasks know are told.
const MOST_FURTHER: usize = 16;

/// What a field holds for one task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Text {
        /// What it is compared and sorted by.
        text: &'a str,
        /// What is printed.
        shown: &'a str,
    },
    Time(Duration),
    Percent(u64),
    /// The task has no such column, or it is a secret.
    Missing,
}

impl<'a> Cell<'a> {
    #[inline]
    fn text(text: &'a str) -> Self {
        Cell::Text { text, shown: text }
    }

    /// What is printed, but for times and percents.
    pub(crate) fn shown(self) -> &'a str {
        match self {
            Cell::Text { shown, .. } => shown,
            Cell::Time(_) | Cell::Percent(_) | Cell::Missing => "",
        }
    }
}

const BUILT_IN: [Field; 4] = [Field::Id, Field::Status, Field::Time, Field::InStatus];

/// What is known of tasks that need it. A program may have columns of these names: then those are meant.
const FURTHER: [Field; 2] = [Field::Progress, Field::Parent];

/// The same of those that have ended.
const OF_ENDED: [Field; 3] = [Field::Outcome, Field::Note, Field::Message];

impl Field {
    pub(crate) fn name(&self) -> &str {
        match self {
            Field::Id => "id",
            Field::Status => "status",
            Field::Time => "time",
            Field::InStatus => "in_status",
            Field::Progress => "progress",
            Field::Parent => "parent",
            Field::Outcome => "outcome",
            Field::Note => "note",
            Field::Message => "message",
            Field::Column(name) => name,
        }
    }

    /// Whether it holds durations.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Field::Time | Field::InStatus)
    }

    /// Whether it holds ids, which print as what they are.
    pub(crate) fn is_id(&self) -> bool {
        matches!(self, Field::Id | Field::Parent)
    }

    /// What the table prints in the place of a value that a reader may not see.
    pub(crate) fn mask(&self, row: &EntryRef<'_>) -> &'static str {
        match self {
            Field::Column(name) if row.columns.get(name).is_some() => MASK,
            _ => "",
        }
    }

    /// What it holds for a task, as far as a reader of that clearance may know.
    #[inline]
    pub(crate) fn cell<'a>(&self, row: &EntryRef<'a>, now: Moment, clearance: Clearance) -> Cell<'a> {
        match self {
            Field::Id => Cell::text(row.id),
            Field::Status => Cell::text(row.status()),
            Field::Time => Cell::Time(row.age(now)),
            Field::InStatus => Cell::Time(row.in_status(now)),
            Field::Parent => row.parent.map_or(Cell::Missing, |parent| Cell::text(&parent.id)),
            Field::Outcome => row.end.map_or(Cell::Missing, |(outcome, _)| Cell::text(outcome.as_str())),
            Field::Note => row.note.map_or(Cell::Missing, Cell::text),
            Field::Message => row.killed_by().map_or(Cell::Missing, |kill| Cell::text(&kill.message)),
            Field::Progress => row.progress.percent().map_or(Cell::Missing, Cell::Percent),
            Field::Column(name) => match row.columns.get(name) {
                Some(column) if column.is_known(clearance) => {
                    Cell::Text { text: column.text(), shown: column.shown(clearance) }
                }
                _ => Cell::Missing,
            },
        }
    }
}

/// The fields that a client may name: the built-in ones, those of the table, and every column that
/// some task has set that is running, or has ended and is kept. A secret is unknown to clients that may not see it.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    list: &'a ProcList,
    clearance: Clearance,
    are_ended: bool,
}

/// What a snapshot has in these columns, as it is printed.
pub(crate) fn texts<'a>(columns: &'a [Field], proc: &'a Proc) -> impl Iterator<Item = String> + 'a {
    columns.iter().map(|column| {
        let value = proc.cols.iter().find(|(name, _)| name == column.name());
        value.map_or_else(String::new, |(_, value)| escape::echo(value).to_string())
    })
}

impl<'a> Fields<'a> {
    pub(crate) fn of(list: &'a ProcList, clearance: Clearance) -> Self {
        Fields { list, clearance, are_ended: false }
    }

    /// The same for tasks that have ended.
    pub(crate) fn of_ended(self) -> Self {
        Fields { are_ended: true, ..self }
    }

    /// The field of that name.
    ///
    /// # Errors
    ///
    /// What there is instead.
    pub(crate) fn find(self, name: &str) -> Result<Field, String> {
        if let Some(field) = BUILT_IN.iter().find(|field| field.name() == name) {
            return Ok(field.clone());
        }
        let is_set = |row: &EntryRef<'_>| row.columns.get(name).is_some_and(|value| value.is_known(self.clearance));
        // A server that has nothing to do has no column but those of the table.
        let was_set = || self.list.finished().all().iter().any(|entry| entry.with(is_set));
        let is_column = || self.list.columns().iter().any(|known| known == name) || self.list.any(is_set) || was_set();
        if self.is_visible(name) && is_column() {
            return Ok(Field::Column(name.to_string()));
        }
        let further = FURTHER.iter().chain(self.of_their_end()).find(|field| field.name() == name);
        further.cloned().ok_or_else(|| format!("no column of that name ({})", self.names()))
    }

    /// The columns of the table that are the program's.
    pub(crate) fn columns(self) -> Vec<Field> {
        let columns = self.list.columns();
        columns.iter().filter(|name| self.is_visible(name)).map(|name| Field::Column(name.clone())).collect()
    }

    fn of_their_end(self) -> &'static [Field] {
        if self.are_ended { &OF_ENDED } else { &[] }
    }

    fn is_visible(self, name: &str) -> bool {
        name.len() <= limits::NAME && (self.clearance == Clearance::Secret || !self.list.is_secret(name))
    }

    fn names(self) -> String {
        let mut names: Vec<String> =
            BUILT_IN.into_iter().chain(self.columns()).map(|field| field.name().into()).collect();
        let further = self.further(&names);
        names.extend(further);
        names.extend(self.of_their_end().iter().map(|field| field.name().to_string()));
        names.iter().map(|name| escape::echo(name).to_string()).collect::<Vec<_>>().join(", ")
    }

    /// What only the tasks have, besides those `known`.
    fn further(self, known: &[String]) -> Vec<String> {
        let found: RefCell<BTreeSet<String>> = RefCell::default();
        let note = |row: &EntryRef<'_>| {
            let mut found = found.borrow_mut();
            let columns = row.columns.iter().filter(|(_, value)| value.is_known(self.clearance)).map(|(name, _)| name);
            let ours = [(row.progress.percent().is_some(), Field::Progress), (row.parent.is_some(), Field::Parent)];
            let ours = ours.iter().filter(|(has_it, _)| *has_it).map(|(_, field)| field.name());
            for name in columns.chain(ours) {
                if !found.contains(name) && !known.iter().any(|known| known == name) {
                    found.insert(name.to_string());
                }
            }
            found.len() >= MOST_FURTHER
        };
        if !self.list.any(note) {
            self.list.finished().all().iter().any(|entry| entry.with(note));
        }
        found.into_inner().into_iter().filter(|name| self.is_visible(name)).take(MOST_FURTHER).collect()
    }
}
