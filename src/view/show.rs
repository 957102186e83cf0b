//! Show: `show <id>`. All that is known of one task.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration::seconds;
use crate::entry::{Depth, EntryRef, Snapshot, Tie};
use crate::escape;
use crate::list::ProcList;
use crate::probe::Parked;
use crate::proc::{Killing, Outcome, Proc};
use crate::stack::Known;
use crate::view::grid::Grid;

/// How many children are named.
const CHILDREN: usize = 20;

/// The task that the table shows as `name`, or showed last; `None` if there is none.
pub(crate) fn render(list: &ProcList, name: &str, clearance: Clearance) -> Option<String> {
    let id = escape::parse_id(name)?;
    let running = list
        .find(&id)
        .map(|entry| (entry.snapshot(clearance, Depth::All, Moment::now()), Known::now().of(&entry).cloned()));
    let running = running.filter(|(snapshot, _)| snapshot.end.is_none());
    running.map(|(snapshot, parked)| running_text(snapshot, parked.as_ref())).or_else(|| {
        let now = Moment::now();
        let ended = list.finished().all().into_iter().filter(|entry| entry.id() == id);
        let last = ended.max_by_key(|entry| entry.with(|row| row.end.map(|(_, at)| at)))?;
        let snapshot = last.snapshot(clearance, Depth::All, now);
        let ago = snapshot.end.map_or(Duration::ZERO, |at| now.since(at));
        let is_below =
            |row: &EntryRef<'_>| row.parent.is_some_and(|parent| parent.entry.as_ptr() == Arc::as_ptr(&last));
        let mut go_on = list.filter_map(false, |task, row| is_below(row).then(|| Arc::clone(task)));
        go_on.sort_unstable_by(|a, b| a.by_age(b));
        let go_on: Vec<_> = go_on.iter().map(|task| task.id().to_string()).collect();
        Some(ended_text(snapshot, ago, &go_on))
    })
}

fn running_text(snapshot: Snapshot, parked: Option<&Parked>) -> String {
    let mut text = String::new();
    let (deadline, refuses_kills, tie) = (snapshot.deadline, snapshot.refuses_kills, snapshot.tie);
    let proc = &snapshot.without_secrets();
    let id = escape::id(&proc.id);
    let status = escape::quoted(&proc.status);
    let started = humantime::format_rfc3339_seconds(proc.started);
    let (in_status, elapsed) = (seconds(proc.in_status), seconds(proc.elapsed));
    line(&mut text, format_args!("{id} has been running for {elapsed} s, since {started}"));
    line(&mut text, format_args!("in {status} for {in_status} s"));
    push_site(&mut text, proc);
    push_progress(&mut text, proc);
    if let Some(parked) = parked {
        line(&mut text, format_args!("parked {:.1}s ago: {}", parked.ago.as_secs_f64(), parked.places.join("; ")));
    }
    if let Some(killing) = &proc.killing {
        let (since, message) = (seconds(killing.since), escape::quoted(&killing.message));
        line(&mut text, format_args!("being killed for {since} s by {}: {message}", by(killing)));
    }
    if refuses_kills {
        line(&mut text, format_args!("it may not be killed"));
    }
    let left = deadline.filter(|_| proc.killing.is_none()).map(|at| at.saturating_duration_since(Instant::now()));
    if let Some(left) = left {
        line(&mut text, format_args!("its deadline is in {:.1} s: then the program kills it", left.as_secs_f64()));
    }
    push_rest(&mut text, proc, tie, &proc.children);
    text.push_str(&history(proc));
    text
}

/// Its end first, then what is still known of it.
fn ended_text(snapshot: Snapshot, ago: Duration, go_on: &[String]) -> String {
    let mut text = String::new();
    let tie = snapshot.tie;
    let proc = &snapshot.without_secrets();
    let id = escape::id(&proc.id);
    let outcome = proc.outcome.unwrap_or(Outcome::Ended);
    let killing = proc.killing.as_ref().filter(|_| outcome == Outcome::Killed);
    let killer = killing.map_or(String::new(), |killing| format!(" by {}", by(killing)));
    let message = killing.filter(|killing| !killing.message.is_empty());
    let message = message.map_or(String::new(), |killing| format!(": {}", escape::plain(&killing.message)));
    let (ago, ran) = (ago.as_secs_f64(), proc.elapsed.as_secs_f64());
    let status = escape::quoted(&proc.status);
    line(&mut text, format_args!("{id} {outcome} {ago:.1}s ago{killer}, after {ran:.1}s, in {status}{message}"));
    line(
        &mut text,
        format_args!(
            "it ran for {} s, since {}",
            seconds(proc.elapsed),
            humantime::format_rfc3339_seconds(proc.started)
        ),
    );
    if let Some(killing) = proc.killing.as_ref().filter(|_| outcome != Outcome::Killed) {
        let (since, message) = (seconds(killing.since), escape::quoted(&killing.message));
        line(&mut text, format_args!("a kill by {} came {since} s before that: {message}", by(killing)));
    }
    push_site(&mut text, proc);
    push_progress(&mut text, proc);
    push_rest(&mut text, proc, tie, go_on);
    text.push_str(&profile(proc));
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let written = writeln!(text, "{line}");
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

fn by(killing: &Killing) -> String {
    killing.by.as_ref().map_or("the program".to_string(), ToString::to_string)
}

fn push_site(text: &mut String, proc: &Proc) {
    if let Some(site) = &proc.site {
        line(text, format_args!("set at {site}"));
    }
}

fn push_progress(text: &mut String, proc: &Proc) {
    let Some(progress) = &proc.progress else { return };
    let (done, total, percent) = (progress.done, progress.total, progress.percent());
    let pace = progress.rate().map_or(String::new(), |rate| format!(", {rate:.1} a second"));
    let left = progress.time_to_go().filter(|_| proc.outcome.is_none());
    let left = left.map_or(String::new(), |left| format!(", {:.0} s to go", left.as_secs_f64().ceil()));
    line(text, format_args!("{done} of {total} done, {percent}%{pace}{left}"));
}

/// Its family, its note and its columns.
fn push_rest(text: &mut String, proc: &Proc, tie: Tie, children: &[String]) {
    if let Some(parent) = &proc.parent {
        let has_ended = if tie.is_orphan { ", which has ended" } else { "" };
        let independent = if tie.is_independent { "; a kill of that does not reach it" } else { "" };
        line(text, format_args!("child of {}{has_ended}{independent}", escape::id(parent)));
    }
    if !children.is_empty() {
        let ids = children.iter().take(CHILDREN).map(|id| escape::id(id).to_string()).collect::<Vec<_>>().join(" ");
        let more = children.len().saturating_sub(CHILDREN);
        let more = if more > 0 { format!(" .. {more} more") } else { String::new() };
        let that = if proc.outcome.is_some() { " that go on" } else { "" };
        line(text, format_args!("children{that}: {ids}{more}"));
    }
    if let Some(note) = &proc.note {
        line(text, format_args!("note: {}", escape::plain(note)));
    }
    if !proc.cols.is_empty() {
        let mut columns = Grid::new(["column", "value"]);
        for (name, value) in &proc.cols {
            columns.push([escape::echo(name).to_string(), escape::plain(value).to_string()]);
        }
        text.push_str(&columns.finish());
    }
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
        text.push_str(&profile(proc));
    }
    text
}

/// The time spent in each status.
fn profile(proc: &Proc) -> String {
    let mut profile = Grid::new([">in all", "status"]);
    for (status, spent) in &proc.profile {
        profile.push([seconds(*spent), escape::echo(status).to_string()]);
    }
    profile.finish()
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
    fn a_task_that_has_ended_shows_its_end_and_where_it_spent_its_time() {
        let list = ProcList::new();
        let task = list.start("a").col("uri", "/export").secret_col("token", "8e2b");
        (0..50).for_each(|n| task.set_status(format!("step {n}")));
        list.kill("a", "too slow").expect("is running");
        task.check().expect_err("was killed");
        drop(task);
        drop(list.start("a"));
        let killed = list.start("a+2");
        list.kill("a+2", "").expect("is running");
        killed.check().expect_err("was killed");
        drop(killed);
        let text = |id| render(&list, id, Clearance::Public).expect("it is kept");
        assert!(text("a").starts_with("a ended 0.0s ago, after 0.0s, in \"init\"\nit ran for 0."), "{}", text("a"));
        assert!(
            text("a+2").starts_with("a+2 killed 0.0s ago by the program, after 0.0s, in \"init\"\n"),
            "the last one"
        );

        list.keep_done(0);
        list.keep_done(10);
        let task = list.start("b").col("uri", "/export").secret_col("token", "8e2b");
        (0..50).for_each(|n| task.set_status(format!("step {n}")));
        list.kill("b", "too slow").expect("is running");
        task.check().expect_err("was killed");
        drop(task);
        let text = text("b");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "b killed 0.0s ago by the program, after 0.0s, in \"step 49\": too slow");
        assert!(lines[2].starts_with("set at src/view/show.rs:") && !text.contains("8e2b"), "{text}");
        assert!(
            lines[4].ends_with("/export") && lines[6].ends_with("  init") && lines[7].ends_with("step 0"),
            "{text}"
        );
        assert_eq!(lines.len(), 6 + 33, "{text}");
        assert!(render(&list, "c", Clearance::Secret).is_none());
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
