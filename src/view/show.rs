//! Show: `show <id>`. All that is known of one task.

use std::fmt::Write;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration::seconds;
use crate::entry::Depth;
use crate::escape;
use crate::list::ProcList;
use crate::proc::Proc;
use crate::view::grid::Grid;

/// How many children are named.
const CHILDREN: usize = 20;

/// The task that the table shows as `name`; `None` if there is none.
pub(crate) fn render(list: &ProcList, name: &str, clearance: Clearance) -> Option<String> {
    let entry = list.find(&escape::parse_id(name)?)?;
    let proc = entry.snapshot(clearance, Depth::All, Moment::now()).without_secrets();
    proc.outcome.is_none().then(|| text(&proc))
}

fn text(proc: &Proc) -> String {
    let mut text = String::new();
    let id = escape::id(&proc.id);
    let status = escape::quoted(&proc.status);
    let started = humantime::format_rfc3339_seconds(proc.started);
    let (in_status, elapsed) = (seconds(proc.in_status), seconds(proc.elapsed));
    let mut line = |line: std::fmt::Arguments<'_>| {
        let written = writeln!(text, "{line}");
        debug_assert!(written.is_ok(), "a String takes whatever is written to it");
    };
    line(format_args!("{id} has been running for {elapsed} s, since {started}"));
    line(format_args!("in {status} for {in_status} s"));
    if let Some(site) = &proc.site {
        line(format_args!("set at {site}"));
    }
    if let Some(progress) = &proc.progress {
        let (done, total, percent) = (progress.done, progress.total, progress.percent());
        let pace = progress.rate().map_or(String::new(), |rate| format!(", {rate:.1} a second"));
        let to_go =
            progress.time_to_go().map_or(String::new(), |left| format!(", {:.0} s to go", left.as_secs_f64().ceil()));
        line(format_args!("{done} of {total} done, {percent}%{pace}{to_go}"));
    }
    if let Some(killing) = &proc.killing {
        let by = killing.by.as_ref().map_or("the program".to_string(), ToString::to_string);
        let (since, message) = (seconds(killing.since), escape::quoted(&killing.message));
        line(format_args!("being killed for {since} s by {by}: {message}"));
    }
    if let Some(parent) = &proc.parent {
        line(format_args!("child of {}", escape::id(parent)));
    }
    if !proc.children.is_empty() {
        let ids = proc.children.iter().take(CHILDREN).map(|id| escape::id(id).to_string());
        let ids = ids.collect::<Vec<_>>().join(" ");
        let more = proc.children.len().saturating_sub(CHILDREN);
        let more = if more > 0 { format!(" .. {more} more") } else { String::new() };
        line(format_args!("children: {ids}{more}"));
    }
    if let Some(note) = &proc.note {
        line(format_args!("note: {}", escape::plain(note)));
    }
    if !proc.cols.is_empty() {
        let mut columns = Grid::new(["column", "value"]);
        for (name, value) in &proc.cols {
            columns.push([escape::echo(name).to_string(), escape::plain(value).to_string()]);
        }
        text.push_str(&columns.finish());
    }
    text.push_str(&history(proc));
    text
}

/// The last statuses with the time spent in each; and if there were more, all by their sums.
fn history(proc: &Proc) -> String {
    let mut history = Grid::new([">entered", ">spent", "status"]);
    let ends = proc.history.iter().skip(1).map(|step| step.at).chain([proc.elapsed]);
    for (step, end) in proc.history.iter().zip(ends) {
        let spent = seconds(end.saturating_sub(step.at));
        history.push([seconds(step.at), spent, escape::echo(&step.status).to_string()]);
    }
    let mut text = history.finish();
    if proc.history.first().is_some_and(|first| !first.at.is_zero()) {
        let mut profile = Grid::new([">in all", "status"]);
        for (status, spent) in &proc.profile {
            profile.push([seconds(*spent), escape::echo(status).to_string()]);
        }
        text.push_str(&profile.finish());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_task_is_shown_and_every_column_whole() {
        let list = ProcList::new();
        list.set_cols(["uri"]);
        let long = "x".repeat(1000);
        let task = list.start("a b").col("uri", &long).col("unnamed", "kept").secret_col("token", "8e2b");
        task.set_status("one");
        task.set_status("two");
        list.kill("a b", "too \"slow\"").expect("is running");
        let text = render(&list, r"a\x20b", Clearance::Secret).expect("is running");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with(r"a\x20b has been running for 0.0") && lines[0].ends_with('Z'), "{text}");
        assert!(lines[1].starts_with(r#"in "two" for 0.0"#), "{text}");
        assert!(lines[2].starts_with("set at src/view/show.rs:"), "{text}");
        assert!(lines[3].ends_with(r#" s by the program: "too \"slow\"""#), "{text}");
        assert_eq!(lines[5..8], [format!("uri      {long}"), "unnamed  kept".into(), "token    8e2b".into()]);
        assert!(lines[8].ends_with("status") && lines[9].ends_with("init") && lines[11].ends_with("two"), "{text}");
        assert!(!render(&list, r"a\x20b", Clearance::Public).expect("is running").contains("token"));
        assert!(render(&list, "a b", Clearance::Secret).is_none());
    }

    #[test]
    fn a_long_history_is_summed_up() {
        let list = ProcList::new();
        let task = list.start("a");
        (0..100).for_each(|n| task.set_status(if n % 2 == 0 { "even" } else { "odd" }));
        let text = render(&list, "a", Clearance::Secret).expect("is running");
        let sums: Vec<_> = text.lines().skip_while(|line| !line.contains("in all")).skip(1).collect();
        assert_eq!(sums.len(), 3, "{text}");
        assert!(sums[0].ends_with("  init") && sums[1].ends_with("  even") && sums[2].ends_with("  odd"), "{text}");
    }
}
