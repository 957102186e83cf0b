//! Grid: rows of cells as aligned text. The only file that names tabwriter.

use std::io::Write;

use tabwriter::TabWriter;
use unicode_width::UnicodeWidthStr;

/// A small table. Cells come escaped.
pub(crate) struct Grid {
    rows: Vec<Vec<String>>,
    is_right: Vec<bool>,
}

impl Grid {
    /// A header: the name of each column, behind `>` if it is aligned to the right.
    pub(crate) fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grid = Grid { rows: vec![Vec::new()], is_right: Vec::new() };
        for name in header {
            grid.is_right.push(name.starts_with('>'));
            grid.rows[0].push(name.strip_prefix('>').unwrap_or(name).to_string());
        }
        grid
    }

    /// Rows without a header.
    pub(crate) fn headless() -> Self {
        Grid { rows: Vec::new(), is_right: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: impl Into<Vec<String>>) {
        self.rows.push(row.into());
    }

    pub(crate) fn finish(self) -> String {
        let mut text = String::new();
        let widths: Vec<usize> = (0..self.is_right.len()).map(|column| self.width(column)).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    text.push('\t');
                }
                if self.is_right.get(column) == Some(&true) {
                    text.push_str(&" ".repeat(widths[column] - cell.width()));
                }
                text.push_str(cell);
            }
            text.push('\n');
        }
        align(&text)
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or_default()
    }
}

/// Lines of cells that are separated by tabs, as lines of cells in columns.
pub(crate) fn align(cells: &str) -> String {
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
    use super::*;

    #[test]
    fn cells_stand_in_columns_and_numbers_to_the_right() {
        let mut grid = Grid::new(["host", ">count", "x"]);
        grid.push(["東京".to_string(), "7".to_string(), "y".to_string()]);
        grid.push(["a".to_string(), "123456".to_string(), String::new()]);
        assert_eq!(grid.finish(), "host   count  x\n東京       7  y\na     123456\n");
    }
}
