//! Field: what a column is called, and what it holds for a task.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::columns::MASK;
use crate::entry::Facts;
use crate::escape;
use crate::list::ProcList;

/// What the table can show of a task, and a view can filter and sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Id,
    Status,
    Time,
    InStatus,
    /// A column of the program's.
    Column(String),
}

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
    /// The task has no such column, or it is a secret.
    Missing,
}

impl<'a> Cell<'a> {
    #[inline]
    fn text(text: &'a str) -> Self {
        Cell::Text { text, shown: text }
    }

    /// What is printed, but for times.
    pub(crate) fn shown(self) -> &'a str {
        match self {
            Cell::Text { shown, .. } => shown,
            Cell::Time(_) | Cell::Missing => "",
        }
    }
}

impl Field {
    pub(crate) fn name(&self) -> &str {
        match self {
            Field::Id => "id",
            Field::Status => "status",
            Field::Time => "time",
            Field::InStatus => "in_status",
            Field::Column(name) => name,
        }
    }

    /// Whether it is a duration.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Field::Time | Field::InStatus)
    }

    /// What stands in the table where nothing may be known.
    pub(crate) fn mask(&self, task: &Facts<'_>) -> &'static str {
        match self {
            Field::Column(name) if task.columns.get(name).is_some() => MASK,
            _ => "",
        }
    }

    /// What may be known of this field to who sees secrets if `reveal`.
    #[inline]
    pub(crate) fn cell<'a>(&self, task: &Facts<'a>, now: Moment, reveal: bool) -> Cell<'a> {
        match self {
            Field::Id => Cell::text(task.id),
            Field::Status => Cell::text(task.status()),
            Field::Time => Cell::Time(task.age(now)),
            Field::InStatus => Cell::Time(task.in_status(now)),
            Field::Column(name) => {
                let column = task.columns.get(name);
                column
                    .filter(|column| column.is_known(reveal))
                    .map_or(Cell::Missing, |column| Cell::Text { text: column.text(), shown: column.shown(true) })
            }
        }
    }
}

/// The fields that a client may name.
pub(crate) struct Fields(Vec<Field>);

impl Fields {
    /// Those of `list`. A secret is an unknown column to who may not see it.
    pub(crate) fn of(list: &ProcList, reveal: bool) -> Self {
        let columns: Arc<[String]> = list.columns();
        let mut fields = vec![Field::Id, Field::Status, Field::Time, Field::InStatus];
        let visible = columns.iter().filter(|name| reveal || !list.is_secret(name));
        fields.extend(visible.map(|name| Field::Column(name.clone())));
        Fields(fields)
    }

    /// The field of that name.
    ///
    /// # Errors
    ///
    /// What there is instead.
    pub(crate) fn find(&self, name: &str) -> Result<Field, String> {
        let found = self.0.iter().find(|field| field.name() == name);
        found.cloned().ok_or_else(|| format!("no column of that name ({})", self.names()))
    }

    /// Those that are columns of the program's.
    pub(crate) fn columns(self) -> impl Iterator<Item = Field> {
        self.0.into_iter().filter(|field| matches!(field, Field::Column(_)))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|field| escape::echo(field.name()).to_string()).collect();
        names.join(", ")
    }
}
