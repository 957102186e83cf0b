//! View: what one client wants to see: which tasks, in which order, how many, which columns.

pub(crate) mod by;
pub(crate) mod done;
pub(crate) mod expr;
pub(crate) mod field;
mod grid;
pub(crate) mod json;
pub(crate) mod kinds;
mod number;
pub(crate) mod quoted;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod tree;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::entry::{Entry, EntryRef};
use crate::escape;
use crate::list::ProcList;
use expr::Expr;
use field::{Cell, Field, Fields};
use number::Number;

/// How many rows a table shows unless told otherwise.
pub(crate) const LIMIT: usize = 1000;

/// What is to be seen of a list. Clients with equal views share their frames.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    /// Which tasks; all of them if there is none.
    pub(crate) filter: Option<Expr>,
    /// In which order; longest running first if there is none.
    pub(crate) sort: Option<Sort>,
    /// How many rows.
    pub(crate) limit: usize,
    /// Which columns; the program's if there are none.
    pub(crate) columns: Option<Vec<Field>>,
    /// Secrets are shown.
    pub(crate) clearance: Clearance,
    /// How many display columns there are, where that matters.
    pub(crate) width: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sort {
    pub(crate) field: Field,
    pub(crate) descending: bool,
}

/// The tasks that a view shows.
pub(crate) struct Selection {
    /// In the order of the view.
    pub(crate) tasks: Vec<Arc<Entry>>,
    /// How many the view would show without its limit.
    pub(crate) total: usize,
}

impl View {
    /// All tasks, longest running first, with the columns of the program.
    pub(crate) fn new(limit: usize, clearance: Clearance) -> Self {
        View { filter: None, sort: None, limit, columns: None, clearance, width: None }
    }

    /// `where`: shows the tasks for which an expression holds; all if it is empty.
    ///
    /// # Errors
    ///
    /// The reply, as for the two below.
    pub(crate) fn filter_by(&mut self, text: &str, list: &ProcList) -> Result<(), String> {
        self.filter = match text {
            "" => None,
            text => Some(Expr::parse(text, self.fields(list)).map_err(|invalid| invalid.to_string())?),
        };
        Ok(())
    }

    /// `sort`: orders by a column, behind `-` the other way round; by age if there is none.
    pub(crate) fn sort_by(&mut self, text: &str, list: &ProcList) -> Result<(), String> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        self.sort = match name {
            "" => None,
            name => {
                let field = self.field(name, list).map_err(|why| {
                    let meant = sort_like_sql(name).filter(|(column, _)| self.field(column, list).is_ok());
                    meant.map_or(why, |(_, reply)| reply)
                })?;
                Some(Sort { field, descending })
            }
        };
        Ok(())
    }

    /// `cols`: prints these columns; those of the program if there are none.
    pub(crate) fn choose_columns(&mut self, text: &str, list: &ProcList) -> Result<(), String> {
        let names = quoted::names(text).map_err(|fault| invalid_column(text, fault))?;
        let mut columns: Vec<Field> = Vec::new();
        for name in &names {
            let column = self.fields(list).find(name).map_err(|why| invalid_column(name, why))?;
            if columns.contains(&column) {
                return Err(invalid_column(name, "it is there already"));
            }
            columns.push(column);
        }
        self.columns = Some(columns).filter(|columns| !columns.is_empty());
        Ok(())
    }

    /// The column that a client has named, by itself or between quotes.
    pub(crate) fn field(&self, text: &str, list: &ProcList) -> Result<Field, String> {
        let name = quoted::name(text).map_err(|fault| invalid_column(text, fault))?;
        self.fields(list).find(&name).map_err(|why| invalid_column(text, why))
    }

    /// The columns of the program that it shows, also of tasks that have ended.
    pub(crate) fn own_columns(&self, list: &ProcList) -> Vec<Field> {
        let chosen = self.columns.as_deref().unwrap_or_default();
        let chosen: Vec<Field> = chosen.iter().filter(|field| matches!(field, Field::Column(_))).cloned().collect();
        if chosen.is_empty() { self.fields(list).columns() } else { chosen }
    }

    /// The columns that its reader may name.
    pub(crate) fn fields<'a>(&self, list: &'a ProcList) -> Fields<'a> {
        Fields::of(list, self.clearance)
    }

    /// Whether it shows this task, if there is room.
    pub(crate) fn shows(&self, task: &EntryRef<'_>, now: Moment) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.holds(task, now, self.clearance))
    }

    /// The tasks of `list` that this shows at `now`.
    pub(crate) fn select(&self, list: &ProcList, now: Moment) -> Selection {
        let is_quick = self.filter.as_ref().is_none_or(Expr::is_quick);
        match &self.sort {
            None => {
                let matching = |task: &Arc<Entry>, row: &EntryRef<'_>| self.shows(row, now).then(|| Arc::clone(task));
                let mut tasks = match self.filter {
                    None => list.entries(),
                    Some(_) => list.filter_map(is_quick, matching),
                };
                let total = tasks.len();
                first(&mut tasks, self.limit, |a, b| a.by_age(b));
                Selection { tasks, total }
            }
            Some(sort) => {
                let matching = |task: &Arc<Entry>, row: &EntryRef<'_>| {
                    self.shows(row, now).then(|| (sort.key(row, now, self.clearance), Arc::clone(task)))
                };
                let mut keyed = list.filter_map(is_quick, matching);
                let total = keyed.len();
                first(&mut keyed, self.limit, |(a, x), (b, y)| sort.order(a, b).then_with(|| x.id().cmp(y.id())));
                Selection { tasks: keyed.into_iter().map(|(_, task)| task).collect(), total }
            }
        }
    }
}

fn invalid_column(name: &str, why: impl std::fmt::Display) -> String {
    format!("invalid column '{}': {why}", escape::echo(name))
}

/// The column that `sort time desc` means, and what to type in its place.
fn sort_like_sql(text: &str) -> Option<(&str, String)> {
    let (column, order) = text.rsplit_once([' ', '\t'])?;
    let sign = match order.to_ascii_lowercase().as_str() {
        "desc" | "descending" => "-",
        "asc" | "ascending" => "",
        _ => return None,
    };
    let column = column.trim_end();
    let reply = format!("invalid column '{}': type sort {sign}{}", escape::echo(text), escape::echo(column));
    Some((column, reply))
}

/// Leaves the first `limit` of `items`, in order.
fn first<T>(items: &mut Vec<T>, limit: usize, order: impl Fn(&T, &T) -> Ordering) {
    if limit < items.len() {
        if limit > 0 {
            items.select_nth_unstable_by(limit - 1, &order);
        }
        items.truncate(limit);
    }
    items.sort_unstable_by(&order);
}

/// What a task is sorted by. Numbers come before texts; a column holds times or none.
#[derive(Debug, PartialEq)]
enum Key {
    Time(Duration),
    Percent(u64),
    Number(Number),
    Text(CompactString),
    Missing,
}

impl Sort {
    fn key(&self, row: &EntryRef<'_>, now: Moment, clearance: Clearance) -> Key {
        match self.field.cell(row, now, clearance) {
            Cell::Time(time) => Key::Time(time),
            Cell::Percent(percent) => Key::Percent(percent),
            Cell::Missing | Cell::Text { text: "", .. } => Key::Missing,
            Cell::Text { text, .. } => Number::parse(text).map_or_else(|| Key::Text(text.into()), Key::Number),
        }
    }

    fn order(&self, a: &Key, b: &Key) -> Ordering {
        let order = match (a, b) {
            // A task without a value is the last one, whichever way it goes.
            (Key::Missing, Key::Missing) => return Ordering::Equal,
            (Key::Missing, _) => return Ordering::Greater,
            (_, Key::Missing) => return Ordering::Less,
            (Key::Time(a), Key::Time(b)) => a.cmp(b),
            (Key::Percent(a), Key::Percent(b)) => a.cmp(b),
            (Key::Number(a), Key::Number(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Time(_) | Key::Percent(_) | Key::Number(_), _) => Ordering::Less,
            (_, Key::Time(_) | Key::Percent(_) | Key::Number(_)) => Ordering::Greater,
        };
        if self.descending { order.reverse() } else { order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &ProcList, view: &View) -> Vec<String> {
        view.select(list, Moment::now()).tasks.iter().map(|task| task.id().to_string()).collect()
    }

    fn sorted(list: &ProcList, column: &str, descending: bool) -> Vec<String> {
        let field = Fields::of(list, Clearance::Secret).find(column).expect("a column");
        ids(list, &View { sort: Some(Sort { field, descending }), ..View::new(1000, Clearance::Secret) })
    }

    #[test]
    fn the_oldest_are_chosen_and_ordered() {
        let list = ProcList::new();
        let tasks: Vec<_> = (0..100).map(|n| list.start(format!("t{n}"))).collect();
        let oldest = |limit| ids(&list, &View::new(limit, Clearance::Secret));
        assert_eq!(oldest(3), ["t0", "t1", "t2"]);
        assert_eq!(oldest(1000), (0..100).map(|n| format!("t{n}")).collect::<Vec<_>>());
        let none = View::new(0, Clearance::Secret).select(&list, Moment::now());
        assert_eq!((none.tasks.len(), none.total), (0, 100));
        drop(tasks);
    }

    #[test]
    fn numbers_are_sorted_as_numbers_before_texts_and_what_is_missing_is_last() {
        let list = ProcList::new();
        list.set_cols(["bytes"]);
        let values = [("e", "x"), ("c", "9"), ("d", "-"), ("b", "10"), ("a", "1e1"), ("f", "-3.5")];
        let tasks: Vec<_> = values.map(|(id, bytes)| list.start(id).col("bytes", bytes)).into();
        let (z, y) = (list.start("z"), list.start("y").col("bytes", ""));
        assert_eq!(sorted(&list, "bytes", false), ["f", "c", "a", "b", "d", "e", "y", "z"]);
        assert_eq!(sorted(&list, "bytes", true), ["e", "d", "a", "b", "c", "f", "y", "z"]);
        drop((tasks, z, y));
    }

    #[test]
    fn a_limit_keeps_the_first_in_the_order_of_the_view() {
        let list = ProcList::new();
        let tasks: Vec<_> = (0..50).map(|n| list.start(format!("t{n:02}"))).collect();
        let sort = Some(Sort { field: Field::Id, descending: true });
        assert_eq!(ids(&list, &View { sort, ..View::new(2, Clearance::Secret) }), ["t49", "t48"]);
        assert_eq!(sorted(&list, "time", true)[..2], ["t00", "t01"]);
        assert_eq!(sorted(&list, "in_status", false)[..2], ["t49", "t48"]);
        drop(tasks);
    }
}
