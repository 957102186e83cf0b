//! Lines: bytes of an output, cut into lines.

/// Cuts lines where they end, and where they are too long.
#[derive(Debug)]
pub(crate) struct Splitter {
    max: usize,
    /// A line that has not ended.
    rest: Vec<u8>,
}

/// A line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut<'a> {
    /// As it was printed, with its end.
    pub(crate) raw: &'a [u8],
    /// Without the LF or CRLF.
    pub(crate) text: &'a [u8],
    pub(crate) complete: bool,
}

impl Splitter {
    pub(crate) fn new(max: usize) -> Self {
        Splitter { max, rest: Vec::new() }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Cut<'_>)) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, after) = bytes.split_at(at + 1);
            bytes = after;
            if self.rest.is_empty() && line.len() <= self.max {
                each(whole(line));
            } else {
                self.rest.extend_from_slice(line);
                self.cut(&mut each);
                if !self.rest.is_empty() {
                    each(whole(&self.rest));
                    self.rest.clear();
                }
            }
        }
        self.rest.extend_from_slice(bytes);
        self.cut(&mut each);
    }

    /// What has not ended, at the end of the output.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Cut<'_>)) {
        if !self.rest.is_empty() {
            each(Cut { raw: &self.rest, text: &self.rest, complete: false });
            self.rest = Vec::new();
        }
    }

    /// Cuts pieces off a line that is too long. A CR is not parted from its LF.
    fn cut(&mut self, each: &mut impl FnMut(Cut<'_>)) {
        let mut from = 0;
        while self.rest.len() - from > self.max {
            let piece = &self.rest[from..from + self.max];
            let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
            each(Cut { raw: piece, text: piece, complete: false });
            from += piece.len();
        }
        self.rest.drain(..from);
        if self.rest.is_empty() && self.rest.capacity() > self.max * 2 {
            self.rest = Vec::new();
        }
    }
}

fn whole(raw: &[u8]) -> Cut<'_> {
    let text = raw.strip_suffix(b"\n").unwrap_or(raw);
    Cut { raw, text: text.strip_suffix(b"\r").unwrap_or(text), complete: true }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cuts(max: usize, pieces: &[&[u8]]) -> (Vec<u8>, Vec<(String, bool)>) {
        let (mut raw, mut lines) = (Vec::new(), Vec::new());
        let mut splitter = Splitter::new(max);
        let mut each = |cut: Cut<'_>| {
            raw.extend_from_slice(cut.raw);
            lines.push((String::from_utf8_lossy(cut.text).into_owned(), cut.complete));
        };
        for piece in pieces {
            splitter.push(piece, &mut each);
        }
        splitter.finish(&mut each);
        (raw, lines)
    }

    #[test]
    fn a_line_loses_its_lf_or_crlf_and_nothing_else() {
        let (_, lines) = cuts(64, &[b"one\r", b"\n\ntw\ro\n", b"three\r\r\nlast"]);
        let expected = [("one", true), ("", true), ("tw\ro", true), ("three\r", true), ("last", false)];
        assert_eq!(lines, expected.map(|(text, complete)| (text.to_string(), complete)));
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_say_so() {
        let (_, lines) = cuts(4, &[b"abcdefgh", b"ij\nok\n"]);
        let expected = [("abcd", false), ("efgh", false), ("ij", true), ("ok", true)];
        assert_eq!(lines, expected.map(|(text, complete)| (text.to_string(), complete)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_too_long(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            step in 1usize..20,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            let (raw, lines) = cuts(8, &pieces);
            prop_assert_eq!(&raw, &bytes);
            // However the bytes arrive, the lines are the same.
            prop_assert_eq!(&lines, &cuts(8, &[&bytes]).1);
        }
    }
}
