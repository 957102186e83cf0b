//! Done: `done` and `slow`. The tasks that ended last, and the slowest of all that ended.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::duration::seconds;
use crate::entry::{Depth, Entry};
use crate::escape;
use crate::finished::SLOWEST;
use crate::list::ProcList;
use crate::proc::{Outcome, Proc};
use crate::view::View;
use crate::view::expr::Expr;
use crate::view::field::{self, Field};
use crate::view::grid::{Cell, Grid};

/// How many finished tasks are shown unless told otherwise.
pub(crate) const DONE: usize = 20;

/// Where rows are cut, so much is kept of why a task was killed, and of its note.
const MESSAGE: usize = 16;

/// Which of the finished tasks are asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Which {
    /// So many at most.
    pub(crate) n: usize,
    /// Those for which this expression holds, all of them if it is empty; if there is none, those that the client's view
    /// shows.
    pub(crate) filter: Option<String>,
}

impl Which {
    /// The view of those that are asked for.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression.
    pub(crate) fn of(&self, list: &ProcList, view: &View) -> Result<View, String> {
        let mut view = view.clone();
        if let Some(filter) = &self.filter {
            let fields = view.fields(list).of_ended();
            view.filter = match filter.as_str() {
                "" => None,
                filter => Some(Expr::parse(filter, fields).map_err(|invalid| invalid.to_string())?),
            };
        }
        Ok(view)
    }
}

/// The tasks that ended last, the last one first.
///
/// # Errors
///
/// What is wrong with the expression.
pub(crate) fn done(list: &ProcList, which: &Which, view: &View) -> Result<String, String> {
    let view = which.of(list, view)?;
    Ok(answer(list, &last(list, which.n, &view), &view))
}

/// The same, to be shown in another way.
pub(crate) fn last(list: &ProcList, n: usize, view: &View) -> Vec<Arc<Entry>> {
    let ended_at = |entry: &Arc<Entry>| Reverse(entry.with(|row| row.end.map(|(_, at)| at)));
    let mut entries = list.finished().last();
    entries.sort_by_cached_key(ended_at);
    // Behind those there are some of threads that ended fewer, and not all. Whoever looks for one may find it there.
    if view.filter.is_none() {
        entries.truncate(list.finished().kept());
    }
    entries.extend(list.finished().apart());
    entries.sort_by_cached_key(ended_at);
    first(entries, n, view)
}

/// The slowest of those that ended, the slowest first.
///
/// # Errors
///
/// What is wrong with the expression.
pub(crate) fn slow(list: &ProcList, which: &Which, view: &View) -> Result<String, String> {
    let (now, view) = (Moment::now(), which.of(list, view)?);
    let mut entries = list.finished().slowest();
    entries.sort_by_cached_key(|entry| Reverse(entry.with(|row| row.age(now))));
    entries.truncate(SLOWEST);
    Ok(answer(list, &first(entries, which.n, &view), &view))
}

/// The first `n` that the view shows.
fn first(entries: Vec<Arc<Entry>>, n: usize, view: &View) -> Vec<Arc<Entry>> {
    let now = Moment::now();
    entries.into_iter().filter(|entry| entry.with(|row| view.shows(row, now))).take(n).collect()
}

fn answer(list: &ProcList, entries: &[Arc<Entry>], view: &View) -> String {
    match (entries, &view.filter) {
        ([], Some(_)) => "no finished task matches\n".to_string(),
        ([], None) => "no finished task is kept\n".to_string(),
        _ => render(list, entries, view),
    }
}

fn render(list: &ProcList, entries: &[Arc<Entry>], view: &View) -> String {
    let now = Moment::now();
    let columns = view.own_columns(list);
    let names: Vec<String> = columns.iter().map(|column| escape::echo(column.name()).to_string()).collect();
    let mut header: Vec<String> = ["id", "status", ">time", ">ago", "outcome"].map(String::from).into();
    header.extend(names.iter().cloned().chain([Field::Note, Field::Message].map(|field| field.name().to_string())));
    let mut grid = Grid::new(header.iter().map(String::as_str));
    for entry in entries {
        let snapshot = entry.snapshot(view.clearance, Depth::Row, now);
        let ago = snapshot.end.map_or(Duration::ZERO, |at| now.since(at));
        let proc = snapshot.without_secrets();
        let mut row: Vec<Cell> = vec![
            escape::id(&proc.id).to_string().into(),
            Cell::ending_in(escape::echo(&proc.status).to_string(), &progress(&proc)),
            seconds(proc.elapsed).into(),
            format!("{:.1}", ago.as_secs_f64()).into(),
            proc.outcome.unwrap_or(Outcome::Ended).to_string().into(),
        ];
        row.extend(field::texts(&columns, &proc).map(Cell::from));
        row.push(escape::echo(&proc.note.unwrap_or_default()).to_string().into());
        let killing = proc.killing.filter(|_| proc.outcome == Some(Outcome::Killed));
        row.push(killing.map_or_else(String::new, |kill| escape::plain(&kill.message).to_string()).into());
        grid.push_cells(row);
    }
    // What is read by a program keeps its columns.
    let Some(width) = view.width else { return grid.finish() };
    // Who has chosen columns wants the room for those.
    let is_chosen = |field: Field| view.columns.as_ref().is_none_or(|columns| columns.contains(&field));
    let unwanted = [Field::Status, Field::Time].into_iter().filter(|field| !is_chosen(field.clone()));
    let grid = unwanted.fold(grid, |grid, field| grid.without(field.name()));
    let grid = grid.without_empty(&["note", "message"]).keeping("message", MESSAGE).keeping("note", MESSAGE);
    let (grid, left_out) = grid.without_the_first(&names, width);
    let mut text = grid.fit(view.width).finish();
    if !left_out.is_empty() {
        text.push_str(&format!("... no room for {}: cols <a,b,..> chooses\n", left_out.join(", ")));
    }
    text
}

/// How far it had come.
fn progress(proc: &Proc) -> String {
    proc.progress.map_or(String::new(), |progress| format!(" {}/{}", progress.done, progress.total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Clearance;

    fn all() -> Which {
        Which { n: 20, filter: None }
    }

    fn done_text(list: &ProcList, which: &Which, clearance: Clearance) -> String {
        done(list, which, &View::new(10, clearance)).expect("it is right")
    }

    fn slow_text(list: &ProcList, clearance: Clearance) -> String {
        slow(list, &all(), &View::new(10, clearance)).expect("it is right")
    }

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn the_last_to_end_comes_first_with_its_outcome() {
        let list = ProcList::new();
        list.set_cols(["uri", "token"]);
        let [a, b, c] =
            ["a", "b", "c"].map(|id| list.start(id).col("uri", format!("/{id}")).secret_col("token", "8e2b"));
        a.set_status("merging");
        list.kill("b", "too slow").expect("is running");
        b.check().expect_err("was killed");
        drop((a, b));
        std::thread::spawn(|| {
            let _task = c;
            std::panic::resume_unwind(Box::new("a bug"));
        })
        .join()
        .expect_err("it panicked");
        let text = done_text(&list, &all(), Clearance::Secret);
        let lines: Vec<_> = text.lines().map(words).collect();
        assert_eq!(lines[0], ["id", "status", "time", "ago", "outcome", "uri", "token", "note", "message"]);
        assert_eq!((lines[1][0], &lines[1][4..]), ("c", &["panicked", "/c", "8e2b"][..]));
        assert_eq!((lines[2][0], &lines[2][4..]), ("b", &["killed", "/b", "8e2b", "too", "slow"][..]));
        assert_eq!((&lines[3][..2], lines[3][4]), (&["a", "merging"][..], "ended"));
        assert!(
            !done_text(&list, &all(), Clearance::Public).contains("token")
                && !slow_text(&list, Clearance::Public).contains("8e2b")
        );
        assert_eq!(done_text(&list, &Which { n: 1, ..all() }, Clearance::Secret).lines().count(), 2);
        let killed = Which { filter: Some("outcome=killed".to_string()), ..all() };
        let text = done_text(&list, &killed, Clearance::Secret);
        assert_eq!(text.lines().count(), 2);
        let filter = Some("note~x".to_string());
        assert_eq!(done_text(&list, &Which { filter, ..all() }, Clearance::Secret), "no finished task matches\n");
        assert_eq!(slow_text(&ProcList::new(), Clearance::Secret), "no finished task is kept\n");
    }

    #[test]
    fn who_looks_for_one_finds_it_behind_those_that_ended_last() {
        let list = ProcList::new();
        list.keep_done(4);
        let other = list.clone();
        std::thread::spawn(move || drop(other.start("nightly"))).join().expect("it ends");
        (0..20).for_each(|n| drop(list.start(n.to_string())));
        assert!(!done_text(&list, &all(), Clearance::Public).contains("nightly"));
        let filter = Some("id=nightly".to_string());
        assert!(done_text(&list, &Which { filter, ..all() }, Clearance::Public).contains("nightly"));
    }

    #[test]
    fn where_columns_were_chosen_they_have_the_room() {
        let list = ProcList::new();
        list.set_cols(["uri"]);
        drop(list.start("a").col("uri", "/x".repeat(40)));
        let header = |columns: &str, width| {
            let mut view = View { width, ..View::new(10, Clearance::Public) };
            view.choose_columns(columns, &list).expect("they are known");
            let text = done(&list, &all(), &view).expect("it is well formed");
            words(text.lines().next().unwrap_or_default()).join(" ")
        };
        assert_eq!(header("id,uri", Some(60)), "id ago outcome uri");
        assert_eq!(header("id,time,uri", Some(60)), "id time ago outcome uri");
        assert_eq!(header("id,uri", None), "id status time ago outcome uri note message");
    }

    #[test]
    fn the_slowest_come_first() {
        let list = ProcList::new();
        let (a, b) = (list.start("a"), list.start("b"));
        drop((b, a));
        let text = slow_text(&list, Clearance::Secret);
        assert_eq!(text.lines().map(|line| words(line)[0]).collect::<Vec<_>>(), ["id", "a", "b"]);
    }
}
