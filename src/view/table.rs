//! Table: rows as aligned text. Adds `ProcList::contents`.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration;
use crate::entry::{Entry, EntryRef};
use crate::escape::{self, CELL, Form};
use crate::kinds::Kinds;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::view::field::{Cell, Field};
use crate::view::grid::{self, Grid, WideIds, align};
use crate::view::{LIMIT, Selection, View};

impl ProcList {
    /// The table as text, as a client at netcat sees it that may not kill: at most 1,000 rows, longest
    /// running first, and secrets are `***`.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.set_cols(["method", "uri"]);
    /// let _task = list.start("req1").col("method", "GET").col("uri", "/users/");
    ///
    /// let table = list.contents();
    /// let mut lines = table.lines();
    /// assert_eq!(lines.next(), Some("id    status    time  method  uri"));
    /// assert!(lines.next().unwrap().starts_with("req1  init    0.0"));
    /// ```
    pub fn contents(&self) -> String {
        self.table(LIMIT)
    }

    /// The same with as many rows as `limit` says: for a log, or a crash report.
    pub fn table(&self, limit: usize) -> String {
        Pace::in_one_piece(async |pace| render(self, &View::new(limit, Clearance::Public), pace).await)
    }
}

/// The table of what `view` shows.
pub(crate) async fn render(list: &ProcList, view: &View, pace: &mut Pace) -> String {
    let now = Moment::now();
    let Selection { tasks, total } = view.select(list, now);
    pace.breathe().await;
    let mut table = rows(list, &fields(list, view), &tasks, now, view, pace).await;
    // Whoever looks at a screen did not read a moment ago what was typed.
    let left_out = match view.filter.is_some() && view.width.is_some() {
        true => list.len().saturating_sub(total),
        false => 0,
    };
    let limit = tasks.len();
    match (total - tasks.len(), left_out) {
        (0, 0) => {}
        (0, _) => push(&mut table, format_args!("... {left_out} more that where leaves out\n")),
        (more, 0) => push(&mut table, format_args!("... {more} more (limit {limit})\n")),
        (more, _) => {
            push(&mut table, format_args!("... {more} more (limit {limit}), {left_out} that where leaves out\n"))
        }
    }
    table
}

/// Says how many rows of `total` are not shown.
pub(crate) fn push_rest(table: &mut String, shown: usize, total: usize) {
    if shown < total {
        push(table, format_args!("... {} more (limit {shown})\n", total - shown));
    }
}

/// The columns of a view.
pub(crate) fn fields(list: &ProcList, view: &View) -> Vec<Field> {
    view.columns.clone().unwrap_or_else(|| {
        let built_in = [Field::Id, Field::Status, Field::Time];
        built_in.into_iter().chain(list.columns().iter().cloned().map(Field::Column)).collect()
    })
}

/// A header and a row for each of `tasks` that is still running.
pub(crate) async fn rows(
    list: &ProcList,
    fields: &[Field],
    tasks: &[Arc<Entry>],
    now: Moment,
    view: &View,
    pace: &mut Pace,
) -> String {
    if view.width.is_some() {
        let tasks: Vec<_> = tasks.iter().map(|task| (0, Arc::clone(task))).collect();
        return indented_rows(list, fields, &tasks, now, view, pace).await;
    }
    let mut cells = Cells::of(list, view);
    let has_odd = cells.kinds.is_some()
        && tasks.iter().any(|task| task.with_live(|row| cells.is_odd(row, now)).unwrap_or_default());
    let widths: Vec<usize> = fields.iter().map(|field| time_width(field, tasks, now, has_odd)).collect();
    let mut text = String::with_capacity(64 * (tasks.len() + 1));
    for (field, width) in fields.iter().zip(&widths) {
        let name = escape::echo(field.name()).to_string();
        push(&mut text, format_args!("{name:>width$}\t"));
    }
    end_row(&mut text);
    let mut wide = WideIds::default();
    for task in tasks {
        pace.breathe().await;
        if task.with_live(|row| cells.read(fields, row, now)).is_none() {
            continue;
        }
        for ((field, width), cell) in fields.iter().zip(&widths).zip(cells.iter()) {
            match (field, cell) {
                (Field::Id, cell) => wide.push(&mut text, |text| escape::push(text, cell.text, Form::Id, usize::MAX)),
                (Field::Time, cell) => push_right(&mut text, cell.time, *width, cells.is_odd),
                (Field::InStatus, cell) => push_right(&mut text, cell.time, *width, false),
                (Field::Parent, cell) => escape::push(&mut text, cell.text, Form::Id, usize::MAX),
                (_, cell) => escape::push(&mut text, cell.text, Form::Plain, CELL),
            }
            if *field == Field::Status {
                cells.push_suffix(&mut text);
            }
            text.push('\t');
        }
        end_row(&mut text);
    }
    pace.breathe().await;
    wide.widen(align(&text))
}

/// The same, with so many blanks before each id; and for a screen: cells are cut so that every column is to be seen.
pub(crate) async fn indented_rows(
    list: &ProcList,
    fields: &[Field],
    tasks: &[(usize, Arc<Entry>)],
    now: Moment,
    view: &View,
    pace: &mut Pace,
) -> String {
    let names: Vec<_> = fields
        .iter()
        .map(|field| format!("{}{}", if field.is_time() { ">" } else { "" }, escape::echo(field.name())))
        .collect();
    let mut grid = Grid::new(names.iter().map(String::as_str));
    let mut cells = Cells::of(list, view);
    for (indent, task) in tasks {
        pace.breathe().await;
        if task.with_live(|row| cells.read(fields, row, now)).is_none() {
            continue;
        }
        let row = fields.iter().zip(cells.iter()).map(|(field, cell)| match field {
            Field::Id => format!("{:indent$}{}", "", escape::id(cell.text)).into(),
            Field::Parent => escape::id(cell.text).to_string().into(),
            Field::Time if cells.is_odd => format!("{ODD}{}", duration::seconds(cell.time)).into(),
            Field::Time | Field::InStatus => duration::seconds(cell.time).into(),
            Field::Status => {
                let mut suffix = String::new();
                cells.push_suffix(&mut suffix);
                grid::Cell::ending_in(escape::echo(cell.text).to_string(), &suffix)
            }
            Field::Progress | Field::Outcome | Field::Note | Field::Message | Field::Column(_) => {
                escape::echo(cell.text).to_string().into()
            }
        });
        grid.push_cells(row.collect());
    }
    grid.fit(view.width).finish()
}

/// How wide the times of a column are; 0 if it holds texts.
fn time_width(field: &Field, tasks: &[Arc<Entry>], now: Moment, has_odd: bool) -> usize {
    let mark = usize::from(has_odd && *field == Field::Time);
    let longest = match field {
        Field::Time => tasks.iter().map(|task| now.since(task.started())).max(),
        Field::InStatus => {
            let in_status = |task: &Arc<Entry>| task.with_live(|row| row.in_status(now));
            tasks.iter().filter_map(in_status).max()
        }
        Field::Id
        | Field::Status
        | Field::Progress
        | Field::Parent
        | Field::Outcome
        | Field::Note
        | Field::Message
        | Field::Column(_) => {
            return 0;
        }
    };
    longest.map_or(0, |longest| duration::seconds(longest).len() + mark).max(field.name().len())
}

fn push_right(text: &mut String, time: Duration, width: usize, is_odd: bool) {
    let from = text.len();
    if is_odd {
        text.push(ODD);
    }
    duration::push_seconds(text, time);
    let missing = width.saturating_sub(text.len() - from);
    text.insert_str(from, &" ".repeat(missing));
}

fn push(text: &mut String, args: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(args);
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

/// A row ends in the end of its last cell.
fn end_row(text: &mut String) {
    text.pop();
    text.push('\n');
}

/// What one row shows, copied: that is all that is done under the lock of an
/// entry. The texts lie one after the other in a buffer that serves all rows.
struct Cells {
    text: String,
    /// Where each text ends, and the time that stands in its place.
    ends: Vec<(usize, Duration)>,
    /// How far the task has come.
    progress: Option<(u64, u64)>,
    /// For how long it has been being killed.
    killing: Option<Duration>,
    /// It has run for longer than others of its kind.
    is_odd: bool,
    kinds: Option<Arc<Kinds>>,
    clearance: Clearance,
}

/// Stands before the time of a task that is odd.
const ODD: char = '!';

#[derive(Clone, Copy)]
struct Shown<'a> {
    text: &'a str,
    time: Duration,
}

impl Cells {
    fn of(list: &ProcList, view: &View) -> Self {
        Cells {
            text: String::new(),
            ends: Vec::new(),
            progress: None,
            killing: None,
            is_odd: false,
            kinds: list.kinds(),
            clearance: view.clearance,
        }
    }

    fn is_odd(&self, row: &EntryRef<'_>, now: Moment) -> bool {
        let oddness = |kinds: &Arc<Kinds>| kinds.oddness(row, row.age(now), self.clearance);
        self.kinds.as_ref().and_then(oddness).is_some()
    }

    fn read(&mut self, fields: &[Field], row: &EntryRef<'_>, now: Moment) {
        self.text.clear();
        self.ends.clear();
        self.is_odd = self.is_odd(row, now);
        self.progress = row.progress.parts();
        self.killing = row.kill.map(|kill| now.since(kill.at));
        for field in fields {
            let mut time = Duration::ZERO;
            match field.cell(row, now, self.clearance) {
                Cell::Text { shown, .. } => self.text.push_str(shown),
                Cell::Time(passed) => time = passed,
                Cell::Percent(percent) => push(&mut self.text, format_args!("{percent}%")),
                Cell::Missing => self.text.push_str(field.mask(row)),
            }
            self.ends.push((self.text.len(), time));
        }
    }

    /// What stands behind the status.
    fn push_suffix(&self, text: &mut String) {
        if let Some((done, total)) = self.progress {
            push(text, format_args!(" {done}/{total}"));
        }
        if let Some(since) = self.killing {
            push(text, format_args!(" (killing {:.1}s)", since.as_secs_f64()));
        }
    }

    fn iter(&self) -> impl Iterator<Item = Shown<'_>> {
        let starts = [0].into_iter().chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, &(end, time))| Shown { text: &self.text[start..end], time })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::view::field::Fields;

    /// The table of `list`, its times replaced by `0.0000`, is `expected`.
    fn shows(list: &ProcList, expected: &str) {
        assert_eq!(timeless(&list.contents()), expected);
    }

    fn rendered(list: &ProcList, view: &View) -> String {
        Pace::in_one_piece(async |pace| render(list, view, pace).await)
    }

    fn timeless(table: &str) -> String {
        let is_time = |word: &str| word.len() == 6 && word.starts_with("0.0");
        let words = table.split_inclusive(' ');
        words
            .map(|word| if is_time(word.trim_end()) { word.replace(word.trim_end(), "0.0000") } else { word.into() })
            .collect()
    }

    #[test]
    fn an_empty_list_is_a_header() {
        let list = ProcList::new();
        shows(&list, "id  status  time\n");
        list.set_cols(["host", "id", "uri", "host", "", "time"]);
        shows(&list, "id  status  time  host  uri\n");
    }

    #[test]
    fn columns_are_aligned_and_time_is_to_the_right() {
        let list = ProcList::new();
        list.set_cols(["host", "method", "uri"]);
        let _a = list.start("proc1").col("host", "127.0.0.1:18364").col("method", "GET").col("uri", "/users/");
        let _b = list.start("proc2").col("host", "127.0.0.1:5").col("method", "GET").col("uri", "/users/5/friends");
        shows(
            &list,
            "id     status    time  host             method  uri\n\
             proc1  init    0.0000  127.0.0.1:18364  GET     /users/\n\
             proc2  init    0.0000  127.0.0.1:5      GET     /users/5/friends\n",
        );
    }

    #[test]
    fn a_missing_value_leaves_its_column_empty_and_the_line_without_blanks() {
        let list = ProcList::new();
        list.set_cols(["host", "method", "uri"]);
        let _a = list.start("a").col("method", "GET").col("unnamed", "kept");
        let _b = list.start("b").col("uri", "/");
        shows(
            &list,
            "id  status    time  host  method  uri\n\
             a   init    0.0000        GET\n\
             b   init    0.0000                /\n",
        );
        assert_eq!(list.get("a").expect("is running").cols[1], ("unnamed".to_string(), "kept".to_string()));
    }

    #[test]
    fn a_wide_character_takes_two_columns() {
        let list = ProcList::new();
        list.set_cols(["city", "uri"]);
        let _a = list.start("a").col("city", "東京").col("uri", "/");
        let _b = list.start("b").col("city", "Bonn").col("uri", "/");
        shows(
            &list,
            "id  status    time  city  uri\n\
             a   init    0.0000  東京  /\n\
             b   init    0.0000  Bonn  /\n",
        );
    }

    #[test]
    fn rows_over_the_limit_are_counted() {
        let list = ProcList::new();
        let tasks: Vec<_> = (0..10).map(|n| list.start(format!("t{n}"))).collect();
        let table = list.table(3);
        assert_eq!(table.lines().count(), 5);
        assert!(table.ends_with("\n... 7 more (limit 3)\n"), "{table}");
        drop(tasks);
    }

    #[test]
    fn a_kill_under_way_shows_in_the_status() {
        let list = ProcList::new();
        let task = list.start("a");
        task.set_status("merging");
        list.kill("a", "").expect("is running");
        shows(&list, "id  status                    time\na   merging (killing 0.0s)  0.0000\n");
        task.set_status("x".repeat(100));
        assert!(list.contents().contains(&format!(" {}… (killing 0.0s)  ", "x".repeat(79))));
    }

    #[test]
    fn what_is_not_ours_does_not_act() {
        let list = ProcList::new();
        list.set_cols(["u\tri"]);
        let _task = list.start("a b").col("u\tri", "/\x1b[2J\u{202e}\nforged  row");
        shows(&list, "id      status    time  u\\tri\na\\x20b  init    0.0000  /\\x1b[2J\\u{202e}\\nforged  row\n");
    }

    #[test]
    fn a_view_chooses_its_columns_and_times_stand_to_the_right() {
        let list = ProcList::new();
        list.set_cols(["host", "uri"]);
        let _task = list.start("a").col("uri", "/");
        let columns =
            ["in_status", "uri", "id"].map(|name| Fields::of(&list, Clearance::Secret).find(name).expect("a column"));
        let view = View { columns: Some(columns.into()), ..View::new(10, Clearance::Secret) };
        assert_eq!(timeless(&rendered(&list, &view).replace("   0.0", "0.0")), "in_status  uri  id\n0.0000  /    a\n");
    }

    #[test]
    fn a_secret_is_shown_to_readers_that_may_see_it() {
        let list = ProcList::new();
        list.set_cols(["token"]);
        let task = list.start("a").secret_col("token", "8e2b");
        assert!(list.contents().ends_with("  ***\n"));
        assert!(rendered(&list, &View::new(10, Clearance::Secret)).ends_with("  8e2b\n"));
        task.set_col("token", "77");
        assert!(list.contents().ends_with("  ***\n"), "a new value is a secret too");
    }

    /// Where the columns after `time` begin, in display columns, read off the
    /// values: each holds a marker that nothing else holds.
    fn starts(line: &str, markers: &[&str]) -> Vec<usize> {
        markers.iter().map(|marker| line[..line.find(marker).expect("the marker is there")].width()).collect()
    }

    proptest! {
        #[test]
        fn columns_start_at_the_same_place_in_every_row(
            rows in proptest::collection::vec((any::<String>(), any::<String>(), any::<String>(), any::<String>()), 1..8)
        ) {
            let list = ProcList::new();
            list.set_cols(["\u{e000}one", "\u{e001}two", "\u{e002}three"]);
            let guards: Vec<_> = rows.into_iter().map(|(id, status, one, two)| {
                // Private-use characters cannot be drawn by the other values.
                let clean = |s: String| s.replace(['\u{e000}', '\u{e001}', '\u{e002}'], "");
                let task = list.start(clean(id)).col("\u{e000}one", format!("\u{e000}{}", clean(one)))
                    .col("\u{e001}two", format!("\u{e001}{}", clean(two))).col("\u{e002}three", "\u{e002}");
                task.set_status(clean(status));
                task
            }).collect();
            let table = list.contents();
            prop_assert_eq!(table.lines().count(), guards.len() + 1);
            let markers = ["\u{e000}", "\u{e001}", "\u{e002}"];
            let expected = starts(table.lines().next().unwrap_or_default(), &markers);
            for line in table.lines() {
                let found = starts(line, &markers);
                // A wide id moves its own row.
                let moved = found[0].saturating_sub(expected[0]);
                prop_assert!(moved == 0 || line.split(' ').next().is_some_and(|id| id.width() > 40), "{}", table);
                let back: Vec<_> = found.iter().map(|at| at - moved).collect();
                prop_assert_eq!(&back, &expected, "{}", table);
                prop_assert!(!line.ends_with(' '));
            }
            prop_assert!(table.bytes().all(|b| b >= 0x20 || b == b'\n'));
        }
    }
}
