//! Endings: `done` and `slow`. The tasks that ended last, and the slowest of all that ended.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::duration::seconds;
use crate::entry::{Entry, Facts};
use crate::escape;
use crate::finished::SLOWEST;
use crate::list::ProcList;
use crate::proc::Outcome;
use crate::view::View;
use crate::view::field::{Field, Fields};
use crate::view::grid::Grid;

/// The `n` tasks that ended last, the last one first.
pub(crate) fn done(list: &ProcList, n: usize, view: &View) -> String {
    // Behind those there are some of threads that ended fewer, and not all.
    let n = n.min(list.finished().kept());
    let mut entries = list.finished().last();
    entries.sort_by_cached_key(|entry| Reverse(entry.look_back(ended)));
    render(list, &entries[..n.min(entries.len())], view)
}

/// The `n` slowest of those that ended, the slowest first.
pub(crate) fn slow(list: &ProcList, n: usize, view: &View) -> String {
    let mut entries = list.finished().slowest();
    entries.sort_by_cached_key(|entry| Reverse(entry.look_back(ran)));
    // Behind those there are some of threads that ended fewer, and not all.
    let n = n.min(SLOWEST);
    render(list, &entries[..n.min(entries.len())], view)
}

fn ended(facts: &Facts<'_>) -> Option<Instant> {
    facts.end.map(|(_, at)| at)
}

fn ran(facts: &Facts<'_>) -> Duration {
    ended(facts).map_or(Duration::ZERO, |at| at.saturating_duration_since(facts.started))
}

fn render(list: &ProcList, entries: &[Arc<Entry>], view: &View) -> String {
    let View { reveal, width, .. } = *view;
    let now = Moment::now();
    let columns: Vec<Field> = Fields::of(list, reveal).columns().collect();
    let mut header: Vec<String> = ["id", "status", ">time", ">ago", "outcome"].map(String::from).into();
    header.extend(columns.iter().map(|column| escape::echo(column.name()).to_string()));
    header.extend(["note", "message"].map(String::from));
    let mut grid = Grid::new(header.iter().map(String::as_str));
    for entry in entries {
        let (mut row, cells, note) = entry.look_back(|facts| {
            let ago = ended(facts).map_or(Duration::ZERO, |at| now.since(at));
            let outcome = facts.end.map_or(Outcome::Ended, |(outcome, _)| outcome);
            let message = match (outcome, facts.kill) {
                (Outcome::Killed, Some(kill)) => kill.message.clone(),
                _ => String::new(),
            };
            let note = facts.note.clone();
            let fixed = [facts.status().to_string(), seconds(ran(facts)), seconds(ago), outcome.to_string(), message];
            let cells: Vec<String> = columns.iter().map(|column| text(column, facts, now, reveal)).collect();
            (fixed, cells, note)
        });
        let message = std::mem::take(&mut row[4]);
        let mut shown = vec![escape::id(entry.id()).to_string(), escape::echo(&row[0]).to_string()];
        shown.extend(row[1..4].iter().cloned());
        shown.extend(cells.iter().map(|cell| escape::echo(cell).to_string()));
        shown.push(escape::echo(&note.text().unwrap_or_default()).to_string());
        shown.push(escape::plain(&message).to_string());
        grid.push(shown);
    }
    grid.fit(width).finish()
}

fn text(column: &Field, facts: &Facts<'_>, now: Moment, reveal: bool) -> String {
    column.cell(facts, now, reveal).shown().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = done(&list, 20, &View::of_all(10, true));
        let lines: Vec<_> = text.lines().map(words).collect();
        assert_eq!(lines[0], ["id", "status", "time", "ago", "outcome", "uri", "token", "note", "message"]);
        assert_eq!((lines[1][0], &lines[1][4..]), ("c", &["panicked", "/c", "8e2b"][..]));
        assert_eq!((lines[2][0], &lines[2][4..]), ("b", &["killed", "/b", "8e2b", "too", "slow"][..]));
        assert_eq!((&lines[3][..2], lines[3][4]), (&["a", "merging"][..], "ended"));
        assert!(
            !done(&list, 20, &View::of_all(10, false)).contains("token")
                && !slow(&list, 20, &View::of_all(10, false)).contains("8e2b")
        );
        assert_eq!(done(&list, 1, &View::of_all(10, true)).lines().count(), 2);
    }

    #[test]
    fn the_slowest_come_first() {
        let list = ProcList::new();
        let (a, b) = (list.start("a"), list.start("b"));
        drop((b, a));
        let text = slow(&list, 20, &View::of_all(10, true));
        assert_eq!(text.lines().map(|line| words(line)[0]).collect::<Vec<_>>(), ["id", "a", "b"]);
    }
}
