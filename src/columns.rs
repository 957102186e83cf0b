//! Columns: the named values of one task, one behind the other in one buffer.
//!
//! A text per name and per value would be moved about before it comes to rest,
//! and at a start that costs more than copying it once to where it stays.

use smallvec::SmallVec;

/// Names and values in the order in which they were set first.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Name, value, name, value. What the usual three columns of a request
    /// need fits into the entry.
    text: SmallVec<[u8; 96]>,
    /// Where each name and its value end. They begin where the one before ends.
    ends: SmallVec<[(usize, usize); 4]>,
}

impl Columns {
    /// Sets a column, or replaces its value.
    #[inline]
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.position(name) {
            None => self.push(name, value),
            Some(column) => self.replace(column, value),
        }
    }

    fn push(&mut self, name: &str, value: &str) {
        self.text.extend_from_slice(name.as_bytes());
        let name_end = self.text.len();
        self.text.extend_from_slice(value.as_bytes());
        self.ends.push((name_end, self.text.len()));
    }

    #[cold]
    fn replace(&mut self, column: usize, value: &str) {
        let (start, end) = self.ends[column];
        self.text.drain(start..end);
        self.text.insert_from_slice(start, value.as_bytes());
        self.shift(column, value.len(), end - start);
        self.give_back();
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let Some(column) = self.position(name) else { return };
        let start = self.start(column);
        let (_, end) = self.ends[column];
        self.text.drain(start..end);
        self.shift(column, 0, end - start);
        self.ends.remove(column);
        self.give_back();
    }

    /// A value that was large once does not keep its room for the life of the task.
    fn give_back(&mut self) {
        if self.text.capacity() > 4 * self.text.len() + 1024 {
            self.text.shrink_to_fit();
        }
    }

    /// Moves all that comes after the name of `column`: there is `more` where `less` was.
    fn shift(&mut self, column: usize, more: usize, less: usize) {
        self.ends[column].1 = self.ends[column].1 + more - less;
        for (name_end, end) in &mut self.ends[column + 1..] {
            *name_end = *name_end + more - less;
            *end = *end + more - less;
        }
    }

    fn start(&self, column: usize) -> usize {
        match column {
            0 => 0,
            _ => self.ends[column - 1].1,
        }
    }

    #[inline]
    fn position(&self, name: &str) -> Option<usize> {
        let mut start = 0;
        self.ends.iter().position(|&(name_end, end)| {
            let found = &self.text[start..name_end] == name.as_bytes();
            start = end;
            found
        })
    }

    fn text(&self, start: usize, end: usize) -> &str {
        // Whole strings went in, so whole strings come out.
        std::str::from_utf8(&self.text[start..end]).unwrap_or_default()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (start, end) = self.ends[self.position(name)?];
        Some(self.text(start, end))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let columns = self.ends.iter().enumerate();
        columns.map(|(column, &(name_end, end))| (self.text(self.start(column), name_end), self.text(name_end, end)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(columns: &Columns, expected: &[(&str, &str)]) {
        assert_eq!(columns.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn values_are_set_replaced_and_removed_in_place() {
        let mut columns = Columns::default();
        columns.set("host", "::1");
        columns.set("bytes", "17");
        columns.set("uri", "");
        columns.set("host", "127.0.0.1");
        holds(&columns, &[("host", "127.0.0.1"), ("bytes", "17"), ("uri", "")]);
        columns.remove("bytes");
        columns.remove("nobody");
        columns.set("uri", "/");
        holds(&columns, &[("host", "127.0.0.1"), ("uri", "/")]);
        assert_eq!((columns.get("uri"), columns.get("bytes")), (Some("/"), None));
    }

    #[test]
    fn a_large_value_gives_its_room_back() {
        let mut columns = Columns::default();
        columns.set("body", &"x".repeat(1 << 20));
        columns.set("body", "-");
        assert!(columns.text.capacity() < 2048);
        columns.set("body", &"x".repeat(1 << 20));
        columns.remove("body");
        assert!(columns.text.capacity() < 2048);
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_its_order(steps in proptest::collection::vec(("[a-dé]{0,2}", proptest::option::of(".{0,40}")), 0..40)) {
            let mut columns = Columns::default();
            let mut model: Vec<(String, String)> = Vec::new();
            for (name, value) in steps {
                match value {
                    Some(value) => {
                        columns.set(&name, &value);
                        match model.iter_mut().find(|(known, _)| *known == name) {
                            Some((_, old)) => *old = value,
                            None => model.push((name, value)),
                        }
                    }
                    None => {
                        columns.remove(&name);
                        model.retain(|(known, _)| *known != name);
                    }
                }
            }
            let held: Vec<_> = columns.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            prop_assert_eq!(held, model);
        }
    }
}
