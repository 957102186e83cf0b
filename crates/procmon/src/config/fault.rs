//! Fault: what is wrong with a file, and where.

use std::fmt;
use std::ops::Range;

/// The text of a file, and what was found in it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

/// `file:line:column: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    file: String,
    /// Counted from 1, the column in characters.
    place: (usize, usize),
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.place;
        write!(f, "{}:{line}:{column}: {}", self.file, self.what)
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Source { file, text, faults: Vec::new(), warnings: Vec::new() }
    }

    /// The file cannot be used.
    pub(crate) fn fault(&mut self, at: &Range<usize>, what: impl Into<String>) {
        let fault = self.at(at, what);
        self.faults.push(fault);
    }

    /// The file can be used, and is perhaps not what was meant.
    pub(crate) fn warn(&mut self, at: &Range<usize>, what: impl Into<String>) {
        let warning = self.at(at, what);
        self.warnings.push(warning);
    }

    fn at(&self, at: &Range<usize>, what: impl Into<String>) -> Fault {
        Fault { file: self.file.to_string(), place: self.place(at.start), what: what.into() }
    }

    /// Line and column of an offset.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }
}
