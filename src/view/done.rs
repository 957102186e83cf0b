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
use crate::proc::Outcome;
use crate::view::View;
use crate::view::grid::Grid;

/// How many finished tasks are shown unless told otherwise.
pub(crate) const DONE: usize = 20;

/// The `n` tasks that ended last, the last one first.
pub(crate) fn done(list: &ProcList, n: usize, view: &View) -> String {
    render(list, &last(list, n), view)
}

/// The same, to be shown in another way.
pub(crate) fn last(list: &ProcList, n: usize) -> Vec<Arc<Entry>> {
    let mut entries = list.finished().last();
    entries.sort_by_cached_key(|entry| Reverse(entry.with(|row| row.end.map(|(_, at)| at))));
    // Behind those there are some of threads that ended fewer, and not all.
    entries.truncate(n.min(list.finished().kept()));
    entries
}

/// The `n` slowest of those that ended, the slowest first.
pub(crate) fn slow(list: &ProcList, n: usize, view: &View) -> String {
    let now = Moment::now();
    let mut entries = list.finished().slowest();
    entries.sort_by_cached_key(|entry| Reverse(entry.with(|row| row.age(now))));
    entries.truncate(n.min(SLOWEST));
    render(list, &entries, view)
}

fn render(list: &ProcList, entries: &[Arc<Entry>], view: &View) -> String {
    let now = Moment::now();
    let columns = view.fields(list).columns();
    let names = columns.iter().map(|column| escape::echo(column.name()).to_string());
    let mut header: Vec<String> = ["id", "status", ">time", ">ago", "outcome"].map(String::from).into();
    header.extend(names.chain(["note", "message"].map(String::from)));
    let mut grid = Grid::new(header.iter().map(String::as_str));
    for entry in entries {
        let snapshot = entry.snapshot(view.clearance, Depth::Row, now);
        let ago = snapshot.end.map_or(Duration::ZERO, |at| now.since(at));
        let proc = snapshot.without_secrets();
        let mut row = vec![
            escape::id(&proc.id).to_string(),
            escape::echo(&proc.status).to_string(),
            seconds(proc.elapsed),
            seconds(ago),
            proc.outcome.unwrap_or(Outcome::Ended).to_string(),
        ];
        for column in &columns {
            let value = proc.cols.iter().find(|(name, _)| name == column.name());
            row.push(value.map_or_else(String::new, |(_, value)| escape::echo(value).to_string()));
        }
        row.push(escape::echo(&proc.note.unwrap_or_default()).to_string());
        let killing = proc.killing.filter(|_| proc.outcome == Some(Outcome::Killed));
        row.push(killing.map_or_else(String::new, |kill| escape::plain(&kill.message).to_string()));
        grid.push(row);
    }
    grid.fit(view.width).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Clearance;

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
        let text = done(&list, 20, &View::new(10, Clearance::Secret));
        let lines: Vec<_> = text.lines().map(words).collect();
        assert_eq!(lines[0], ["id", "status", "time", "ago", "outcome", "uri", "token", "note", "message"]);
        assert_eq!((lines[1][0], &lines[1][4..]), ("c", &["panicked", "/c", "8e2b"][..]));
        assert_eq!((lines[2][0], &lines[2][4..]), ("b", &["killed", "/b", "8e2b", "too", "slow"][..]));
        assert_eq!((&lines[3][..2], lines[3][4]), (&["a", "merging"][..], "ended"));
        assert!(
            !done(&list, 20, &View::new(10, Clearance::Public)).contains("token")
                && !slow(&list, 20, &View::new(10, Clearance::Public)).contains("8e2b")
        );
        assert_eq!(done(&list, 1, &View::new(10, Clearance::Secret)).lines().count(), 2);
    }

    #[test]
    fn the_slowest_come_first() {
        let list = ProcList::new();
        let (a, b) = (list.start("a"), list.start("b"));
        drop((b, a));
        let text = slow(&list, 20, &View::new(10, Clearance::Secret));
        assert_eq!(text.lines().map(|line| words(line)[0]).collect::<Vec<_>>(), ["id", "a", "b"]);
    }
}
