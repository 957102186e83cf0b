//! Grid: rows of cells as aligned text. The only file that names tabwriter.

use std::io::Write;

use tabwriter::TabWriter;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// An id wider than this widens its own row, and not the first column of every row.
const WIDE: usize = 40;

/// What a column keeps of its cells, however narrow the screen.
const NARROWEST: usize = 8;

/// Between two columns.
const PADDING: usize = 2;

/// Stands for a wide id while its row is aligned. Cells come escaped, so none holds one, and it
/// has no width.
const PLACE: char = '\u{1}';

/// A small table. Cells come escaped.
pub(crate) struct Grid {
    rows: Vec<Vec<Cell>>,
    is_right: Vec<bool>,
    /// Each column keeps so much of its cells, however narrow the screen.
    kept: Vec<usize>,
    /// How wide it may be.
    width: Option<usize>,
}

/// A text, and how much of its end stands whatever is cut.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    end: usize,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell { text, end: 0 }
    }
}

impl Cell {
    pub(crate) fn ending_in(text: String, end: &str) -> Self {
        Cell { text: text + end, end: end.len() }
    }

    fn width(&self) -> usize {
        self.text.width()
    }

    fn end(&self) -> &str {
        &self.text[self.text.len() - self.end..]
    }

    /// Cuts it with `…` at so many display columns, and never inside of an escape sequence.
    fn cut(&mut self, columns: usize) {
        if self.width() <= columns {
            return;
        }
        let end = self.end().to_string();
        let columns = columns.saturating_sub(end.width()).max(1);
        let text = &self.text[..self.text.len() - end.len()];
        let (mut width, mut cut) = (0, 0);
        for (at, piece) in pieces(text) {
            width += piece.width();
            if width > columns - 1 {
                break;
            }
            cut = at + piece.len();
        }
        self.text = format!("{}…{end}", &text[..cut]);
    }
}

/// `text` in pieces that are not to be torn apart: escape sequences, and letters with their marks.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let first = rest.chars().next()?;
        let len = match rest.as_bytes() {
            [b'\\', b'x', ..] => rest.len().min(4),
            [b'\\', b'u', b'{', ..] => rest.find('}').map_or(1, |end| end + 1),
            [b'\\', b't' | b'n' | b'r' | b'\\' | b'"', ..] => 2,
            _ => {
                let marks = rest[first.len_utf8()..].chars().take_while(|c| c.width() == Some(0));
                first.len_utf8() + marks.map(char::len_utf8).sum::<usize>()
            }
        };
        let piece = rest.get(..len).unwrap_or(&rest[..first.len_utf8()]);
        at += piece.len();
        Some((at - piece.len(), piece))
    })
}

impl Grid {
    /// A header: the name of each column, behind `>` if it is aligned to the right.
    pub(crate) fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grid = Grid { rows: vec![Vec::new()], ..Grid::headless() };
        for name in header {
            grid.is_right.push(name.starts_with('>'));
            grid.kept.push(NARROWEST);
            grid.rows[0].push(name.strip_prefix('>').unwrap_or(name).to_string().into());
        }
        grid
    }

    /// Rows without a header.
    pub(crate) fn headless() -> Self {
        Grid { rows: Vec::new(), is_right: Vec::new(), kept: Vec::new(), width: None }
    }

    pub(crate) fn push(&mut self, row: impl Into<Vec<String>>) {
        self.push_cells(row.into().into_iter().map(Cell::from).collect());
    }

    pub(crate) fn push_cells(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Without those of these columns that have nothing in any row.
    pub(crate) fn without_empty(mut self, names: &[&str]) -> Self {
        for name in names {
            let Some(column) = self.last_column(name) else { continue };
            if self.rows[1..].iter().all(|row| row.get(column).is_none_or(|cell| cell.text.is_empty())) {
                self.remove(column);
            }
        }
        self
    }

    /// With so much room for a column at least.
    pub(crate) fn keeping(mut self, name: &str, columns: usize) -> Self {
        if let Some(column) = self.last_column(name) {
            self.kept[column] = columns;
        }
        self
    }

    /// Without the first column of this name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        if let Some(column) = self.column(name) {
            self.remove(column);
        }
        self
    }

    /// Without the first of these columns, so many that the others have room. Returns the names of those that it is without.
    pub(crate) fn without_the_first(mut self, names: &[String], room: usize) -> (Self, Vec<String>) {
        let mut left_out = Vec::new();
        for name in names {
            if self.has_room(room) {
                break;
            }
            if self.column(name).is_some() {
                self = self.without(name);
                left_out.push(name.clone());
            }
        }
        (self, left_out)
    }

    /// Whether all columns have room, as narrow as they may become.
    fn has_room(&self, room: usize) -> bool {
        let (widths, least) = (self.widths(), self.least());
        let needed = widths.iter().zip(&least).map(|(width, least)| width.min(least)).sum::<usize>();
        needed + PADDING * widths.len().saturating_sub(1) <= room
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.rows[0].iter().position(|cell| cell.text == name)
    }

    /// A program may have a column of the name of one of ours, which stand last.
    fn last_column(&self, name: &str) -> Option<usize> {
        self.rows[0].iter().rposition(|cell| cell.text == name)
    }

    fn remove(&mut self, column: usize) {
        self.is_right.remove(column);
        self.kept.remove(column);
        self.rows.iter_mut().filter(|row| row.len() > column).for_each(|row| drop(row.remove(column)));
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.is_right.len()).map(|column| self.width(column)).collect()
    }

    /// How narrow each column may become; what is never cut has no bound.
    fn least(&self) -> Vec<usize> {
        // A cell whose end stands keeps something before it.
        let end = |column: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(column));
            cells
                .map(|cell| cell.end().width())
                .filter(|end| *end > 0)
                .map(|end| end + NARROWEST / 2)
                .max()
                .unwrap_or(0)
        };
        let is_fixed = |column: usize| self.is_right[column] || self.is_id(column);
        let least = |column| if is_fixed(column) { usize::MAX } else { end(column).max(self.kept[column]) };
        (0..self.is_right.len()).map(least).collect()
    }

    /// Cuts cells so that all columns have room in so many display columns, if there is a bound.
    /// The widest columns give way first, each keeps at least [`NARROWEST`] or what it was told to, and neither ids nor
    /// numbers are cut.
    pub(crate) fn fit(mut self, width: Option<usize>) -> Self {
        let Some(room) = width else { return self };
        let columns = self.is_right.len();
        while !self.has_room(room) && self.kept.iter().any(|kept| *kept > NARROWEST) {
            self.kept.iter_mut().for_each(|kept| *kept = NARROWEST.max(*kept - 1));
        }
        let (mut widths, least) = (self.widths(), self.least());
        while widths.iter().sum::<usize>() + PADDING * columns.saturating_sub(1) > room {
            let can_give = (0..columns).filter(|column| widths[*column] > least[*column]);
            let Some(widest) = can_give.max_by_key(|column| widths[*column]) else { break };
            widths[widest] -= 1;
        }
        for row in &mut self.rows {
            for (column, cell) in row.iter_mut().enumerate().filter(|(column, _)| least[*column] < usize::MAX) {
                cell.cut(widths[column]);
            }
        }
        self.width = width;
        self
    }

    pub(crate) fn finish(self) -> String {
        let mut text = String::new();
        let mut wide = WideIds::default();
        let widths = self.widths();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    text.push('\t');
                }
                if self.is_right.get(column) == Some(&true) {
                    text.push_str(&" ".repeat(widths[column] - cell.width()));
                }
                match self.is_id(column) {
                    true => wide.push(&mut text, |text| text.push_str(&cell.text)),
                    false => text.push_str(&cell.text),
                }
            }
            text.push('\n');
        }
        let table = wide.widen(align(&text));
        match self.width {
            Some(room) => table.lines().map(|line| clip(line, room) + "\n").collect(),
            None => table,
        }
    }

    fn is_id(&self, column: usize) -> bool {
        !self.is_right.is_empty() && self.rows[0].get(column).is_some_and(|name| name.text == "id")
    }

    /// How wide a column is, but for wide ids.
    fn width(&self, column: usize) -> usize {
        let widths = self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width);
        let is_id = self.is_id(column);
        widths.filter(|width| !is_id || *width <= WIDE).max().unwrap_or_default()
    }
}

/// A line that has no room even so is cut at its end, but not within the id.
fn clip(line: &str, room: usize) -> String {
    let id = line.trim_start().split(' ').next().unwrap_or_default();
    let id_ends = line.len() - line.trim_start().len() + id.len();
    if line.width() <= room {
        return line.to_string();
    }
    let mut cell = Cell::from(line.to_string());
    cell.cut(room.max(line[..id_ends].width() + PADDING + 1));
    cell.text.trim_end().to_string()
}

/// The wide ids of a table, which take the place of nothing when it has been aligned.
#[derive(Default)]
pub(crate) struct WideIds {
    ids: Vec<String>,
    /// How wide the others are.
    width: usize,
}

impl WideIds {
    /// Appends the id that `push` writes, or what stands for it.
    pub(crate) fn push(&mut self, text: &mut String, push: impl FnOnce(&mut String)) {
        let from = text.len();
        push(text);
        let width = text[from..].width();
        if width > WIDE {
            self.ids.push(text.split_off(from));
            text.push(PLACE);
        } else {
            self.width = self.width.max(width);
        }
    }

    /// Puts the ids where they belong.
    pub(crate) fn widen(self, table: String) -> String {
        if self.ids.is_empty() {
            return table;
        }
        // The header is narrow, too.
        let blanks = self.width.max("id".len()) + PADDING;
        let mut ids = self.ids.iter();
        let mut widened = String::with_capacity(table.len());
        let mut rest = table.as_str();
        while let Some(at) = rest.find(PLACE) {
            widened.push_str(&rest[..at]);
            widened.extend(ids.next().map(String::as_str));
            rest = &rest[at + PLACE.len_utf8()..];
            let padding = rest.len() - rest.trim_start_matches(' ').len();
            rest = &rest[padding.min(blanks)..];
            if !rest.starts_with('\n') {
                widened.push_str("  ");
            }
        }
        widened + rest
    }
}

/// Lines of cells that are separated by tabs, as lines of cells in columns. One whose cells are
/// all empty is a dash: an empty line stands between frames.
pub(crate) fn align(cells: &str) -> String {
    let mut writer = TabWriter::new(Vec::with_capacity(cells.len() * 2)).minwidth(0).padding(PADDING);
    let written = writer.write_all(cells.as_bytes());
    debug_assert!(written.is_ok(), "a Vec takes whatever is written to it");
    let bytes = writer.into_inner().unwrap_or_default();
    // The writer fills empty cells at the end of a line with blanks.
    let mut table = String::with_capacity(bytes.len());
    for line in String::from_utf8_lossy(&bytes).lines() {
        match line.trim_end_matches(' ') {
            "" => table.push('-'),
            line => table.push_str(line),
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(String::from)
    }

    #[test]
    fn cells_stand_in_columns_and_numbers_to_the_right() {
        let mut grid = Grid::new(["host", ">count", "x"]);
        grid.push(row(["東京", "7", "y"]));
        grid.push(row(["a", "123456", ""]));
        assert_eq!(grid.finish(), "host   count  x\n東京       7  y\na     123456\n");
    }

    #[test]
    fn a_row_of_empty_cells_is_a_dash() {
        let mut grid = Grid::new(["status", "uri"]);
        grid.push(row(["", ""]));
        grid.push(row(["  ", ""]));
        assert_eq!(grid.finish(), "status  uri\n-\n-\n");
    }

    #[test]
    fn a_wide_id_widens_its_own_row_only() {
        let wide = "x".repeat(41);
        let mut grid = Grid::new(["n", "id", "status", "uri"]);
        grid.push(row(["1", "a", "init", "/"]));
        grid.push(row(["2", &wide, "busy", "/x"]));
        grid.push(row(["3", &wide, "", "/y"]));
        grid.push(row(["4", &wide, "", ""]));
        assert_eq!(
            grid.finish(),
            format!("n  id  status  uri\n1  a   init    /\n2  {wide}  busy    /x\n3  {wide}          /y\n4  {wide}\n")
        );
    }

    #[test]
    fn the_widest_give_way_and_every_column_is_to_be_seen() {
        let mut grid = Grid::new(["id", "status", ">time", "host", "uri"]);
        grid.push(row(["req1", &"s".repeat(80), "0.0001", "127.0.0.1:18364", "/users/5/friends"]));
        let text = grid.fit(Some(60)).finish();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.iter().all(|line| line.width() <= 60), "{text}");
        assert!(
            lines[0].starts_with("id    status") && lines[0].contains("  host") && lines[0].ends_with("uri"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("req1  ss")
                && lines[1].contains("…  0.0001  127.0.0.1:")
                && lines[1].contains("…  /users/5"),
            "{text}"
        );

        let mut grid = Grid::new(["id", "status", "a", "b"]);
        let id = "i".repeat(30);
        grid.push_cells(vec![
            id.clone().into(),
            Cell::ending_in("merging all".into(), " (killing 1.2s)"),
            "x".repeat(20).into(),
            "y".repeat(9).into(),
        ]);
        assert!(grid.rows[1].iter().all(|cell| cell.width() > 8));
        let mut narrow = Grid::new(["id", "status", "a", "b"]);
        narrow.rows.push(grid.rows[1].clone());
        let text = narrow.fit(Some(70)).finish();
        assert!(
            text.lines().nth(1).is_some_and(|line| line == format!("{id}  mer… (killing 1.2s)  xxxxxxx…  yyyyyy…")),
            "{text}"
        );
        let text = grid.fit(Some(20)).finish();
        assert!(text.lines().nth(1).is_some_and(|line| line == format!("{id}  …")), "{text}");
    }

    #[test]
    fn a_cut_tears_nothing_apart() {
        let cut = |text: &str, columns| {
            let mut cell = Cell::from(text.to_string());
            cell.cut(columns);
            cell.text
        };
        assert_eq!(cut(r"ab\x1b[2J", 6), "ab…");
        assert_eq!(cut(r"ab\u{202e}cd", 10), "ab…");
        assert_eq!((cut("e\u{301}e\u{301}e", 2).as_str(), cut("漢字漢", 4).as_str()), ("e\u{301}…", "漢…"));
        assert_eq!((cut("abc", 3).as_str(), cut("abcd", 3).as_str()), ("abc", "ab…"));
    }
}
