//! Stats: what a list holds, and what became of the rest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::duration::seconds;
use crate::escape;
use crate::list::ProcList;
use crate::view::grid::Grid;

/// Counts of `list`, which serves so many `clients`.
pub(crate) fn render(list: &ProcList, clients: usize) -> String {
    let now = Instant::now();
    let entries = list.entries();
    let mut counts = list.finished().counts();
    let (mut running, mut killing, mut memory) = (0, 0, list.overhead());
    for task in &entries {
        let (is_killed, cuts) = task.look_back(|facts| (facts.kill.is_some(), facts.cuts.copied()));
        if task.look(|_| ()).is_some() {
            running += 1;
            killing += u64::from(is_killed);
            // Those of the finished are in the counts.
            counts.cuts.add(&cuts.unwrap_or_default());
        }
        memory += task.memory();
    }
    let mut seen = HashSet::new();
    let finished = list.finished().last().into_iter().chain(list.finished().slowest());
    memory += finished.filter(|task| seen.insert(Arc::as_ptr(task))).map(|task| task.memory()).sum::<usize>();

    let mut grid = Grid::headless();
    let mut row = |name: &str, value: String| grid.push([name.to_string(), value]);
    row("running", running.to_string());
    row("being killed", killing.to_string());
    row("started", (running + counts.ended + counts.killed + counts.panicked).to_string());
    row("ended", counts.ended.to_string());
    row("killed", counts.killed.to_string());
    row("panicked", counts.panicked.to_string());
    row("clients", clients.to_string());
    if let Some(oldest) = entries.iter().min_by(|a, b| a.by_age(b)) {
        let time = seconds(now.saturating_duration_since(oldest.started()));
        row("oldest", format!("{}, {time} s", escape::id(oldest.id())));
    }
    row("memory", format!("{memory} bytes"));
    let cuts = counts.cuts;
    row(
        "cut short",
        format!("{} ids, {} statuses, {} values, {} messages", cuts.ids, cuts.statuses, cuts.values, cuts.messages),
    );
    row("columns left out", cuts.columns.to_string());
    grid.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_counted_once_and_what_was_cut_too() {
        let list = ProcList::new();
        let long = "x".repeat(2000);
        let [a, b, c] = ["a", "b", "c"].map(|id| list.start(id));
        let d = list.start(&long).col("x", &long);
        list.kill("a", "").expect("is running");
        list.kill("b", &long).expect("is running");
        b.check().expect_err("was killed");
        c.set_status(long.clone());
        for n in 0..33 {
            c.set_col(format!("c{n}"), n);
        }
        let shown = |expected: &[&str]| {
            let text = render(&list, 7);
            let text = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
            let text: String = text.collect();
            for line in expected {
                assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
            }
        };
        let cut = "cut short 1 ids, 1 statuses, 1 values, 1 messages";
        shown(&[
            "running 4",
            "being killed 2",
            "started 4",
            "ended 0",
            "killed 0",
            "clients 7",
            cut,
            "columns left out 1",
        ]);
        drop((a, b, c));
        shown(&["running 1", "being killed 0", "started 4", "ended 2", "killed 1", "panicked 0", cut]);
        drop(d);
        assert!(!render(&list, 7).contains("oldest"));
    }

    #[test]
    fn memory_follows_what_the_tasks_hold() {
        let list = ProcList::new();
        let memory = || {
            let text = render(&list, 0);
            let line = text.lines().find(|line| line.starts_with("memory")).expect("a line").to_string();
            line.split_whitespace().nth(1).and_then(|bytes| bytes.parse::<usize>().ok()).expect("a number")
        };
        let empty = memory();
        let tasks: Vec<_> = (0..1000).map(|n| list.start(format!("t{n}"))).collect();
        let short = memory();
        assert!((300_000..900_000).contains(&(short - empty)), "{empty} {short}");
        tasks.iter().for_each(|task| task.set_col("x", "x".repeat(1000)));
        assert!(memory() - short > 900_000, "{short} {}", memory());
    }
}
