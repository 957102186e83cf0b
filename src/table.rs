//! Table: rows as aligned text. Adds `ProcList::contents`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tabwriter::TabWriter;

use crate::entry::Cells;
use crate::escape::{self, CELL, Form};
use crate::list::{BUILT_IN, Oldest, ProcList};

/// How many rows a table shows unless told otherwise.
pub(crate) const LIMIT: usize = 1000;

impl ProcList {
    /// The table as text, as a client at netcat sees it: at most 1,000 rows,
    /// longest running first.
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
        render(self, LIMIT)
    }

    /// The same with as many rows as `limit` says: for a log, or a crash report.
    pub fn table(&self, limit: usize) -> String {
        render(self, limit)
    }
}

/// The table of the `limit` longest running tasks.
pub(crate) fn render(list: &ProcList, limit: usize) -> String {
    let columns = list.columns();
    let Oldest { tasks, total } = list.oldest(limit);
    let now = Instant::now();
    let shown = tasks.len();

    // The first row is the oldest, so its time is the widest.
    let mut time = String::new();
    if let Some(oldest) = tasks.first() {
        push_seconds(&mut time, now.saturating_duration_since(oldest.started()));
    }
    let time_width = time.len().max("time".len());

    let mut text = String::with_capacity(64 * (shown + 1));
    push_header(&mut text, &columns, time_width);
    let mut cells = Cells::default();
    for task in tasks {
        let Some(killed_at) = task.read(&columns, &mut cells) else { continue };
        escape::push(&mut text, task.id(), Form::Id, usize::MAX);
        let mut cells = cells.iter();
        text.push('\t');
        escape::push(&mut text, cells.next().unwrap_or_default(), Form::Plain, CELL);
        if let Some(at) = killed_at {
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            let written = write!(text, " (killing {seconds:.1}s)");
            debug_assert!(written.is_ok());
        }
        time.clear();
        push_seconds(&mut time, now.saturating_duration_since(task.started()));
        text.push('\t');
        text.extend(std::iter::repeat_n(' ', time_width.saturating_sub(time.len())));
        text.push_str(&time);
        for cell in cells {
            text.push('\t');
            escape::push(&mut text, cell, Form::Plain, CELL);
        }
        text.push('\n');
    }
    let mut table = align(text);
    if shown < total {
        let written = writeln!(table, "... {} more (limit {limit})", total - shown);
        debug_assert!(written.is_ok());
    }
    table
}

fn push_header(text: &mut String, columns: &[String], time_width: usize) {
    let [id, status, time] = BUILT_IN;
    let written = write!(text, "{id}\t{status}\t{time:>time_width$}");
    debug_assert!(written.is_ok());
    for name in columns {
        text.push('\t');
        escape::push(text, name, Form::Plain, CELL);
    }
    text.push('\n');
}

/// Seconds with four decimals, cut and not rounded: a clock shows what has passed.
fn push_seconds(text: &mut String, time: Duration) {
    let written = write!(text, "{}.{:04}", time.as_secs(), time.subsec_micros() / 100);
    debug_assert!(written.is_ok());
}

/// Lines of cells that end at tabs, as lines of cells in columns.
fn align(cells: String) -> String {
    let mut writer = TabWriter::new(Vec::with_capacity(cells.len() * 2)).minwidth(0).padding(2);
    let written = writer.write_all(cells.as_bytes());
    debug_assert!(written.is_ok(), "a Vec takes whatever is written to it");
    let bytes = writer.into_inner().unwrap_or_default();
    // The writer fills empty cells at the end of a line with blanks.
    let mut table = String::with_capacity(bytes.len());
    for line in String::from_utf8_lossy(&bytes).lines() {
        table.push_str(line.trim_end_matches(' '));
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    /// The table of `list`, its times replaced by `0.0000`, is `expected`.
    fn shows(list: &ProcList, expected: &str) {
        assert_eq!(timeless(&list.contents()), expected);
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
        let table = render(&list, 3);
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
    fn the_widest_time_makes_the_column() {
        let mut text = String::new();
        push_seconds(&mut text, Duration::from_nanos(12_345_678_999_999));
        assert_eq!(text, "12345.6789");
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
                prop_assert_eq!(&starts(line, &markers), &expected, "{}", table);
                prop_assert!(!line.ends_with(' '));
            }
            prop_assert!(table.bytes().all(|b| b >= 0x20 || b == b'\n'));
        }
    }
}
