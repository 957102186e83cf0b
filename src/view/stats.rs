//! Stats: `stats`. What a list holds, and what became of the rest.

use crate::duration::seconds;
use crate::escape;
use crate::list::ProcList;
use crate::view::grid::Grid;

/// Counts of `list`, which serves so many `clients`.
pub(crate) fn render(list: &ProcList, clients: usize) -> String {
    let stats = list.stats();
    let mut grid = Grid::headless();
    let mut row = |name: &str, value: String| grid.push([name.to_string(), value]);
    row("running", stats.running.to_string());
    row("being killed", stats.being_killed.to_string());
    row("started", stats.started.to_string());
    row("ended", stats.ended.to_string());
    row("killed", stats.killed.to_string());
    row("panicked", stats.panicked.to_string());
    row("clients", clients.to_string());
    for (name, rates) in [("last 10 s", &stats.last_10_seconds), ("last minute", &stats.last_minute)] {
        let [started, ended, killed, panicked] =
            [rates.started, rates.ended, rates.killed, rates.panicked].map(|count| rate(rates.per_second(count)));
        row(name, format!("{started} started, {ended} ended, {killed} killed, {panicked} panicked a second"));
        if rates.ended + rates.killed + rates.panicked > 0 {
            let [p50, p99, max] = [rates.p50, rates.p99, rates.max].map(seconds);
            row("", format!("p50 {p50} s, p99 {p99} s, max {max} s"));
        }
    }
    if let Some((id, age)) = stats.oldest {
        row("oldest", format!("{}, {} s", escape::id(&id), seconds(age)));
    }
    row("memory", format!("{} bytes", stats.memory));
    let cut = stats.truncations;
    row(
        "cut short",
        format!("{} ids, {} statuses, {} values, {} messages", cut.ids, cut.statuses, cut.values, cut.messages),
    );
    row("columns left out", cut.columns.to_string());
    grid.finish()
}

fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_string(),
        ..0.1 => format!("{per_second:.3}"),
        ..100.0 => format!("{per_second:.1}"),
        _ => format!("{per_second:.0}"),
    }
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
