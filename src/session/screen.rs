//! Screen: `top`. Frames drawn in place on a cooked terminal, without touching what is being typed.
//!
//! The terminal echoes what is typed on row 1 by itself, and its saved cursor
//! (ESC 7, ESC 8) includes that echo. So each thing drawn saves the cursor,
//! addresses its rows and restores it. Nothing here outlives a ^C: no mode is
//! switched, no region set, no question asked.

use std::ops::RangeInclusive;

use unicode_width::UnicodeWidthChar;

/// The row on which replies stand: below the input, above the table.
const REPLY: usize = 2;

/// The row of the table's header.
const TABLE: usize = 3;

/// The most that is written at a time.
const WRITE: usize = 16 * 1024;

/// Room for the line that says what had none.
const NOTE: usize = 64;

/// What it takes to address a row and clear its end, at most.
const ADDRESS: usize = "\x1b[999;1H\x1b[K".len();

/// How many rows a reply takes at most. The table gives way to it.
const REPLY_ROWS: usize = 4;

/// An empty screen, the cursor on the input line.
pub(crate) const CLEAR: &str = "\x1b[2J\x1b[1;1H";

const ROWS: RangeInclusive<usize> = 1..=200;
const WIDTHS: RangeInclusive<usize> = 20..=500;

/// The size of the table of `top`, within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

/// For a terminal of 80x24.
impl Default for Size {
    fn default() -> Self {
        Size { rows: 20, width: 80 }
    }
}

impl Size {
    pub(crate) fn new(rows: usize, width: usize) -> Option<Self> {
        (ROWS.contains(&rows) && WIDTHS.contains(&width)).then_some(Size { rows, width })
    }
}

/// A width within bounds.
pub(crate) fn width(columns: usize) -> Option<usize> {
    WIDTHS.contains(&columns).then_some(columns)
}

pub(crate) struct Screen {
    size: Size,
    /// The last answer, and below it the last news about what it has begun and about other things. How many rows they take.
    answer: String,
    news: [String; 2],
    /// What stands for an answer of several lines when the table is back.
    headline: String,
    /// How to go on from an answer that stands in the place of the table.
    hint: String,
    replies: usize,
    /// What stands in the place of the table, of how many lines that is the beginning, and how many rows lower it was drawn
    /// because of a reply.
    shown: Vec<String>,
    lines: usize,
    drawn_at: usize,
}

impl Screen {
    pub(crate) fn new(size: Size) -> Self {
        Screen {
            size,
            answer: String::new(),
            news: [const { String::new() }; 2],
            headline: String::new(),
            hint: String::new(),
            replies: 1,
            shown: Vec::new(),
            lines: 0,
            drawn_at: 0,
        }
    }

    /// Back at the beginning of an empty input line, with the last reply gone.
    pub(crate) fn input(&mut self) -> String {
        self.answer.clear();
        self.headline.clear();
        self.news = [const { String::new() }; 2];
        let replies = std::mem::replace(&mut self.replies, 1);
        let rows = (REPLY..REPLY + replies).rev().chain([1]);
        rows.map(|row| format!("\x1b[{row};1H\x1b[K")).collect()
    }

    /// How many rows of the table there is room for.
    pub(crate) fn rows(&self) -> usize {
        (self.size.rows + 1).saturating_sub(self.replies).max(1)
    }

    pub(crate) fn width(&self) -> usize {
        self.size.width
    }

    /// A text of several lines in the place of the table, none of them cut.
    pub(crate) fn text(&mut self, text: &str) -> String {
        self.headline = text.lines().next().unwrap_or_default().to_string();
        self.table(&self.wrapped(text).join("\n"))
    }

    /// The same of a text whose end matters most.
    pub(crate) fn end_of(&mut self, text: &str) -> String {
        let height = self.height();
        let lines: Vec<Vec<String>> = text.lines().map(|line| self.wrapped(line)).collect();
        let all: usize = lines.iter().map(Vec::len).sum();
        if all <= height {
            return self.table(&lines.concat().join("\n"));
        }
        let mut room = height - 1;
        let shown = lines.iter().rev().take_while(|rows| {
            let has_room = rows.len() <= room;
            room = room.saturating_sub(rows.len());
            has_room
        });
        // Of a last line that has no room the end is shown.
        let unseen = lines.len() - shown.count().max(1);
        let mut rows = lines[unseen..].concat();
        rows.drain(..rows.len().saturating_sub(height - 1));
        rows.insert(0, format!("... {unseen} lines before these: they show after plain"));
        self.table(&rows.join("\n"))
    }

    /// How many rows there are for a header, the rows, and how many more there are.
    fn height(&self) -> usize {
        (self.size.rows + 2).saturating_sub(self.replies - 1).max(1)
    }

    /// The lines of a text, those that are wider than the screen on several of its rows.
    fn wrapped(&self, text: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for line in text.lines() {
            let mut rest = line;
            while let Some(end) = self.end_of_row(rest) {
                rows.push(rest[..end].trim_end().to_string());
                rest = rest[end..].trim_start();
            }
            rows.push(rest.to_string());
        }
        rows
    }

    /// Where a line has to go on in the next row, if it is wider than the screen: at a blank, if one is not far.
    fn end_of_row(&self, line: &str) -> Option<usize> {
        let (mut used, mut blank) = (0, None);
        for (at, c) in line.char_indices() {
            used += c.width().unwrap_or(0);
            if used > self.size.width && at > 0 {
                return blank.filter(|_| c != ' ').or(Some(at));
            }
            if c == ' ' && used > self.size.width / 2 {
                blank = Some(at + 1);
            }
        }
        None
    }

    /// A table in its place.
    pub(crate) fn table(&mut self, text: &str) -> String {
        self.lines = text.lines().count();
        self.shown = text.lines().take(self.size.rows + 2).map(|line| self.clip(line)).collect();
        self.draw_table()
    }

    fn draw_table(&mut self) -> String {
        self.drawn_at = self.replies - 1;
        let (height, mut shown) = (self.height(), self.shown.clone());
        shown.resize(height, String::new());
        if self.lines > height {
            let unseen = self.lines - height + 1;
            shown[height - 1] = self.clip(&format!("... {unseen} more lines: they show after plain"));
        }
        self.draw(TABLE + self.drawn_at, &shown)
    }

    /// What stands in the place of the table again, if a reply takes another number of rows since.
    pub(crate) fn redrawn(&mut self) -> Option<String> {
        (self.drawn_at != self.replies - 1).then(|| self.draw_table())
    }

    /// Whether a reply can be shown whole.
    pub(crate) fn has_room_for(&self, reply: &str) -> bool {
        !reply.contains('\n') && self.wrapped(reply).len() <= REPLY_ROWS
    }

    /// A reply of one line.
    pub(crate) fn reply(&mut self, line: &str) -> String {
        self.answer = line.to_string();
        self.news = [const { String::new() }; 2];
        self.draw_replies(self.in_rows(line, REPLY_ROWS))
    }

    /// The same with how to go on from what stands in the place of the table.
    pub(crate) fn hint(&mut self, line: &str) -> String {
        self.hint = line.to_string();
        self.reply(line)
    }

    pub(crate) fn forget_hint(&mut self) {
        self.hint.clear();
    }

    /// A reply of one line above that.
    pub(crate) fn reply_above_hint(&mut self, line: &str) -> String {
        let hint = self.hint.clone();
        self.reply(line) + &self.news(&hint, true)
    }

    /// A line about something that happens by itself, below the last answer and in the place of the last such line:
    /// `is_asked` if that is about what the answer has begun.
    pub(crate) fn news(&mut self, line: &str, is_asked: bool) -> String {
        self.news[usize::from(!is_asked)] = line.to_string();
        // Each has a row. What is left goes to the last ones.
        let lines = [&self.answer, &self.news[0], &self.news[1]];
        let mut left = REPLY_ROWS - lines.iter().filter(|line| !line.is_empty()).count();
        let mut rows = Vec::new();
        for line in lines.into_iter().rev().filter(|line| !line.is_empty()) {
            let its = self.in_rows(line, 1 + left);
            left -= its.len() - 1;
            rows.splice(0..0, its);
        }
        self.draw_replies(rows)
    }

    /// Adds lines to an answer that stands in the place of the table, if there is one and it has room.
    pub(crate) fn append(&mut self, text: &str) -> Option<String> {
        let rows = self.wrapped(text);
        if self.headline.is_empty() || self.lines + rows.len() > self.height() {
            return None;
        }
        self.lines += rows.len();
        self.shown.extend(rows);
        Some(self.draw_table())
    }

    /// The table comes back before the next line: the answer is its headline from now on.
    pub(crate) fn fold(&mut self) {
        if !self.headline.is_empty() {
            self.answer = std::mem::take(&mut self.headline);
        }
    }

    fn draw_replies(&mut self, mut rows: Vec<String>) -> String {
        self.replies = rows.len().max(1);
        rows.resize(self.replies, String::new());
        self.draw(REPLY, &rows)
    }

    /// A line in so many rows at most.
    fn in_rows(&self, line: &str, most: usize) -> Vec<String> {
        let mut rows = self.wrapped(line);
        if rows.len() > most {
            let rest = rows.split_off(most.saturating_sub(1)).join(" ");
            rows.push(self.clip(&rest));
            rows.truncate(most);
        }
        rows
    }

    /// The same in one row.
    pub(crate) fn reply_in_a_row(&mut self, line: &str) -> String {
        let line = self.clip(line);
        self.reply(&line)
    }

    /// The cursor below it all, for a client that leaves.
    pub(crate) fn below(&self) -> String {
        format!("\x1b[{};1H\n", TABLE + self.size.rows + 2)
    }

    fn draw(&self, top: usize, lines: &[String]) -> String {
        let mut text = String::from("\x1b7");
        let mut room = WRITE - "\x1b7\x1b8".len() - lines.len() * ADDRESS;
        for (at, (row, line)) in (top..).zip(lines).enumerate() {
            // Before the text: some terminals, with the last column written, would clear that.
            text.push_str(&format!("\x1b[{row};1H\x1b[K"));
            if line.len() + NOTE <= room {
                room -= line.len();
                text.push_str(line);
            } else if room > 0 {
                room = 0;
                let unseen = lines[at..].iter().filter(|line| !line.is_empty()).count();
                text.push_str(&self.clip(&format!("... {unseen} more lines: too many for top")));
            }
        }
        text.push_str("\x1b8");
        text
    }

    /// `line`, cut by display width. It is not left to the terminal, which
    /// would go on in the next row.
    fn clip(&self, line: &str) -> String {
        let width = self.size.width;
        let (mut used, mut cut) = (0, 0);
        for (at, c) in line.char_indices() {
            used += c.width().unwrap_or(0);
            if used > width {
                return format!("{}…", &line[..cut]);
            }
            if used < width {
                cut = at + c.len_utf8();
            }
        }
        line.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::escape::plain;

    fn screen(rows: usize, width: usize) -> Screen {
        Screen::new(Size { rows, width })
    }

    #[test]
    fn a_table_is_drawn_from_row_3_and_the_rows_below_are_cleared() {
        assert_eq!(
            screen(2, 20).table("id  status\na   init\n"),
            "\x1b7\x1b[3;1H\x1b[Kid  status\x1b[4;1H\x1b[Ka   init\x1b[5;1H\x1b[K\x1b[6;1H\x1b[K\x1b8"
        );
        assert_eq!(screen(2, 20).reply("no such process 'x'"), "\x1b7\x1b[2;1H\x1b[Kno such process 'x'\x1b8");
    }

    #[test]
    fn news_stand_below_an_answer_and_always_have_room() {
        let mut screen = screen(2, 20);
        let rows = |drawn: String| -> Vec<String> {
            let drawn = drawn.strip_prefix("\x1b7").and_then(|drawn| drawn.strip_suffix("\x1b8")).expect("whole");
            drawn.split("\x1b[K").skip(1).map(|row| row.split('\x1b').next().unwrap_or_default().to_string()).collect()
        };
        screen.reply(&"a".repeat(70));
        let (full, cut) = (|letter: &str| letter.repeat(20), |letter: &str| letter.repeat(19) + "…");
        assert_eq!(rows(screen.news("b", true)), [full("a"), full("a"), cut("a"), "b".to_string()]);
        assert_eq!(rows(screen.news(&"c".repeat(61), true)), [cut("a"), full("c"), full("c"), cut("c")]);
        // What was asked for last has its own row.
        assert_eq!(rows(screen.news(&"d".repeat(21), false)), [cut("a"), cut("c"), full("d"), "d".to_string()]);
        assert_eq!(rows(screen.news("e", false)), [cut("a"), full("c"), cut("c"), "e".to_string()]);
        assert_eq!((screen.replies, screen.rows()), (4, 1));
        screen.input();
        assert_eq!((rows(screen.news("f", false)), screen.replies), (vec!["f".to_string()], 1));
        // An answer in the place of the table is gone on with, as long as it has room.
        assert!(screen.append("g").is_none());
        screen.input();
        screen.text("killing 2 of 2\nforbidden");
        assert_eq!(rows(screen.append("killed a").expect("room")), ["killing 2 of 2", "forbidden", "killed a", ""]);
        assert!(screen.append("killed b\nkilled c").is_none());
        screen.fold();
        assert_eq!(rows(screen.news("2 killed", true)), ["killing 2 of 2", "2 killed"]);
    }

    #[test]
    fn a_row_ends_at_a_blank_and_a_log_begins_with_a_whole_line() {
        let wrapped = |text: &str| screen(2, 20).wrapped(text);
        assert_eq!(wrapped("it stops at its next kill point"), ["it stops at its next", "kill point"]);
        assert_eq!(wrapped("it stops at its own next kill point"), ["it stops at its own", "next kill point"]);
        assert_eq!(wrapped(&format!("a {}", "b".repeat(25))), [format!("a {}", "b".repeat(18)), "b".repeat(7)]);
        let drawn = screen(2, 60).end_of(&format!("one\n{}\nthree\nfour\n", "x ".repeat(40)));
        assert!(drawn.contains("... 2 lines before these: they show after plain\x1b"), "{drawn:?}");
        assert!(drawn.contains("\x1b[Kthree\x1b") && !drawn.contains("x x"), "{drawn:?}");
        let drawn = screen(1, 20).end_of(&format!("one\n{} end\n", "x".repeat(90)));
        assert!(drawn.contains("\x1b[K... 1 lines before") && drawn.contains("x end\x1b"), "{drawn:?}");
        assert_eq!(
            screen(1, 20).in_rows("it stops at its own next kill point and no sooner", 2)[1],
            "next kill point and…"
        );
    }

    #[test]
    fn what_has_no_room_is_cut_and_said() {
        let text: String = (0..10).map(|n| format!("line {n}\n")).collect();
        let drawn = screen(2, 40).table(&text);
        assert!(drawn.contains("\x1b[Kline 2\x1b") && !drawn.contains("line 3"), "{drawn:?}");
        assert!(drawn.contains("... 7 more lines: they show after plain"), "{drawn:?}");
        assert_eq!(screen(1, 20).clip(&"x".repeat(21)), format!("{}…", "x".repeat(19)));
        assert_eq!(screen(1, 20).clip(&"漢".repeat(11)), format!("{}…", "漢".repeat(9)));
    }

    #[test]
    fn lines_that_do_not_fit_into_one_write_are_counted() {
        let text = format!("{}\n", "x".repeat(400)).repeat(100);
        let drawn = screen(200, 500).table(&text);
        let shown = drawn.matches("xxx\x1b").count();
        assert!(
            shown > 20 && drawn.contains(&format!("\x1b[K... {} more lines: too many for top\x1b", 100 - shown)),
            "{shown}"
        );
    }

    #[test]
    fn a_text_goes_on_in_the_next_row_and_the_end_of_a_log_is_what_shows() {
        let drawn = screen(2, 20).text(&format!("{}b\nc\n", "a".repeat(20)));
        assert!(drawn.contains(&format!("\x1b[K{}\x1b[4;1H\x1b[Kb\x1b[5;1H\x1b[Kc\x1b", "a".repeat(20))), "{drawn:?}");
        assert_eq!(screen(2, 20).wrapped(&"漢".repeat(11)), ["漢".repeat(10), "漢".to_string()]);
        let log: String = (0..10).map(|n| format!("line {n}\n")).collect();
        let drawn = screen(2, 60).end_of(&log);
        assert!(drawn.contains("... 7 lines before these: they show after plain\x1b"), "{drawn:?}");
        assert!(!drawn.contains("line 6") && drawn.contains("line 7\x1b") && drawn.contains("line 9\x1b"), "{drawn:?}");
        let whole = screen(10, 60).end_of(&log);
        assert!(whole.contains("line 0") && !whole.contains("..."), "{whole:?}");
    }

    proptest! {
        #[test]
        fn one_write_is_enough_and_nothing_is_wider_than_the_screen(
            rows in 1_usize..=200, width in 20_usize..=500, line in "\\PC{0,600}", lines in 0_usize..300,
        ) {
            // Nothing is drawn unescaped: a variation selector, for one, would widen what stands before it.
            let line = plain(&line).to_string();
            let text = format!("{line}\n").repeat(lines);
            let drawn = screen(rows, width).table(&text);
            prop_assert!(drawn.len() <= WRITE, "{}", drawn.len());
            prop_assert!(screen(rows, width).clip(&line).width() <= width);
            let drawn = drawn.strip_prefix("\x1b7").and_then(|drawn| drawn.strip_suffix("\x1b8")).expect("saved and restored");
            for (row, piece) in (3..).zip(drawn.split("\x1b[").skip(1).collect::<Vec<_>>().chunks(2)) {
                prop_assert_eq!(piece[0], &format!("{row};1H"));
                prop_assert!(piece[1].starts_with('K') && !piece[1].contains(char::is_control));
            }
        }
    }
}
