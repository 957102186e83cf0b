//! Line: bytes from a client -> whole lines of text.
//!
//! A decoder of our own, because tokio-util's `LinesCodec` stalls the lines
//! behind a fault, hands over a half line at the end of input, and decodes
//! UTF-8 before telnet's bytes can be removed.

use std::io;

use bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

/// The longest line, in bytes, without its end.
pub(crate) const LONGEST: usize = 4096;

/// One line of input. A fault is a line like any other: the lines behind it
/// are read as if it had not been there.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    Text(String),
    /// Longer than [`LONGEST`]: how it began. Told at once; the rest is skipped.
    TooLong(String),
    /// Not UTF-8, or with a NUL in it: what can be read of it.
    NotText(String),
    /// The input ended inside a line.
    Unfinished,
}

impl Line {
    fn text(&self) -> &str {
        match self {
            Line::Text(text) | Line::TooLong(text) | Line::NotText(text) => text,
            Line::Unfinished => "",
        }
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// Whether it comes from a browser, or from somebody who makes a browser send it here: an HTTP
    /// request, whose first line ends with the version and whose second is the header `Host`.
    pub(crate) fn is_http(&self, is_first: bool) -> bool {
        const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        let line = self.text();
        let (verb, rest) = word(line);
        let (_target, version) = word(rest);
        // Whatever the method: a page may invent one, `kill` for instance.
        let is_request_line = version.starts_with("HTTP/") && word(version).1.is_empty();
        let is_host = line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("host:"));
        (is_first && METHODS.contains(&verb)) || is_request_line || is_host
    }

    /// Whether it is no text that a person types. A browser that speaks TLS sends a first line with
    /// control characters in it (a record begins with 0x16), whatever follows, and a stranger may
    /// have chosen what follows. What keys send by mistake (escape sequences, tabs, rubbed out
    /// characters) is no sign of that.
    pub(crate) fn is_binary(&self) -> bool {
        let keys = ['\t', '\x08', FORM_FEED, '\x1b', '\x7f', '\r'];
        match self {
            Line::NotText(_) => true,
            Line::Text(text) | Line::TooLong(text) => text
                .contains(|c: char| (c.is_ascii_control() && !keys.contains(&c)) || c == char::REPLACEMENT_CHARACTER),
            Line::Unfinished => false,
        }
    }
}

const FORM_FEED: char = '\x0c';

/// The first word, and the rest without the blanks around it.
pub(crate) fn word(text: &str) -> (&str, &str) {
    const BLANKS: [char; 2] = [' ', '\t'];
    // Ctrl-L, typed to see a clean screen, is no part of a word.
    let text = text.trim_start_matches([' ', '\t', FORM_FEED]).trim_end_matches(BLANKS);
    match text.split_once(BLANKS) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}

/// Splits lines at LF or CRLF and removes telnet's commands.
#[derive(Debug, Default)]
pub(crate) struct LineDecoder {
    /// The line so far: never much longer than [`LONGEST`].
    line: Vec<u8>,
    telnet: Telnet,
    /// The line has been reported as too long.
    skipping: bool,
}

/// How far into a telnet command the input is: IAC and a verb, or IAC, one of
/// WILL WONT DO DONT, and an option (RFC 854).
#[derive(Debug, Default, Clone, Copy)]
enum Telnet {
    #[default]
    Text,
    Iac,
    Option,
}

const IAC: u8 = 255;
const FIRST_VERB: u8 = 240;
const WILL: u8 = 251;
const DONT: u8 = 254;

impl LineDecoder {
    fn take(&mut self, byte: u8) -> Option<Line> {
        match (std::mem::take(&mut self.telnet), byte) {
            (Telnet::Text, IAC) => self.telnet = Telnet::Iac,
            (Telnet::Iac, WILL..=DONT) => self.telnet = Telnet::Option,
            (Telnet::Iac, FIRST_VERB..) | (Telnet::Option, _) => {}
            (Telnet::Iac, _) => {
                // No telnet, just a byte that is not text. The line may end here.
                let too_long = self.push(IAC);
                let line = self.take(byte);
                return too_long.or(line);
            }
            (Telnet::Text, b'\n') => return self.end(),
            (Telnet::Text, _) => return self.push(byte),
        }
        None
    }

    fn push(&mut self, byte: u8) -> Option<Line> {
        if self.skipping {
            return None;
        }
        self.line.push(byte);
        // One more may be the CR before the LF.
        let is_too_long = self.line.len() > LONGEST && !(self.line.len() == LONGEST + 1 && byte == b'\r');
        is_too_long.then(|| self.too_long())
    }

    fn end(&mut self) -> Option<Line> {
        if std::mem::take(&mut self.skipping) {
            return None;
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(match String::from_utf8(line) {
            Ok(text) if text.contains('\0') => Line::NotText(text),
            Ok(text) => Line::Text(text),
            Err(bytes) => Line::NotText(String::from_utf8_lossy(bytes.as_bytes()).into_owned()),
        })
    }

    fn too_long(&mut self) -> Line {
        self.skipping = true;
        Line::TooLong(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned())
    }
}

impl Decoder for LineDecoder {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Line>> {
        while input.has_remaining() {
            if let Some(line) = self.take(input.get_u8()) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> io::Result<Option<Line>> {
        if let Some(line) = self.decode(input)? {
            return Ok(Some(line));
        }
        let is_unfinished = !self.skipping && self.line.iter().any(|b| !b.is_ascii_whitespace());
        *self = LineDecoder::default();
        Ok(is_unfinished.then_some(Line::Unfinished))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of an input that arrives in these pieces and then ends.
    fn lines<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
        let mut decoder = LineDecoder::default();
        let mut input = BytesMut::new();
        let mut lines = Vec::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(line) = decoder.decode(&mut input).expect("no I/O") {
                lines.push(line);
            }
            assert!(input.is_empty(), "nothing piles up");
        }
        while let Some(line) = decoder.decode_eof(&mut input).expect("no I/O") {
            lines.push(line);
        }
        lines
    }

    fn text(text: &str) -> Line {
        Line::Text(text.into())
    }

    #[test]
    fn lines_end_with_lf_or_crlf() {
        assert_eq!(
            lines([b"a\nb\r\n\n\r\nc\rd\n".as_slice()]),
            [text("a"), text("b"), text(""), text(""), text("c\rd")]
        );
    }

    #[test]
    fn a_line_may_come_in_many_pieces_and_a_piece_may_hold_many_lines() {
        assert_eq!(lines([b"ki".as_slice(), b"ll ", b"x\nhe", b"lp\n"]), [text("kill x"), text("help")]);
    }

    #[test]
    fn a_form_feed_before_a_word_is_no_part_of_it() {
        assert_eq!(word("\x0ckill a b"), ("kill", "a b"));
        assert_eq!(word(" \x0c \x0chelp\x0c"), ("help\x0c", ""));
        assert!(!text("\x0chelp").is_binary());
    }

    #[test]
    fn only_a_finished_line_counts() {
        assert_eq!(lines([b"help\nkill req1".as_slice()]), [text("help"), Line::Unfinished]);
        assert_eq!(lines([b"help\n  \r".as_slice()]), [text("help")]);
    }

    #[test]
    fn a_line_of_4096_bytes_is_the_longest() {
        let longest = "x".repeat(4096);
        assert_eq!(lines([format!("{longest}\nnext\n").as_bytes()]), [text(&longest), text("next")]);
        assert_eq!(lines([format!("{longest}\r\nnext\n").as_bytes()]), [text(&longest), text("next")]);
        let head = |more: &str| Line::TooLong(format!("{longest}{more}"));
        assert_eq!(lines([format!("{longest}y\nnext\n").as_bytes()]), [head("y"), text("next")]);
        assert_eq!(lines([format!("{longest}\ry\nnext\n").as_bytes()]), [head("\ry"), text("next")]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut decoder = LineDecoder::default();
        let mut input = BytesMut::new();
        let mut found = Vec::new();
        for _ in 0..10_000 {
            input.extend_from_slice(&[b'x'; 1024]);
            while let Some(line) = decoder.decode(&mut input).expect("no I/O") {
                found.push(line);
            }
            assert!(input.is_empty() && decoder.line.capacity() <= 2 * LONGEST);
        }
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_is_not_text_is_told_and_left_behind() {
        let faults = [Line::NotText("\u{fffd}(".into()), Line::NotText("a\0b".into()), text("help")];
        assert_eq!(lines([b"\xc3\x28\na\0b\nhelp\n".as_slice()]), faults);
    }

    #[test]
    fn telnet_commands_are_removed_wherever_they_are() {
        // IAC DO LINEMODE, IAC WILL 10 (which is a line feed), IAC NOP, IAC IP.
        let input = [b"\xff\xfd\x22ki".as_slice(), b"\xff\xfb", b"\x0all \xff", b"\xf1x\xff\xf4\r\n"];
        assert_eq!(lines(input), [text("kill x")]);
    }

    #[test]
    fn a_byte_that_only_looks_like_telnet_swallows_nothing() {
        let latin1 = b"kill a \xff\nhelp\nfo\xffo\n".as_slice();
        let faults = [Line::NotText("kill a \u{fffd}".into()), text("help"), Line::NotText("fo\u{fffd}o".into())];
        assert_eq!(lines([latin1]), faults);
        let longest = [&[b'a'; 4096], b"\xff\nhelp\n".as_slice()].concat();
        let [Line::TooLong(_), after] = &lines([longest.as_slice()])[..] else { panic!("two lines") };
        assert_eq!(*after, text("help"));
    }

    #[test]
    fn http_is_known_by_its_method_version_or_host() {
        for line in ["POST / HTTP/1.1", "GET", "DELETE /procs/1"] {
            assert!(text(line).is_http(true), "{line}");
        }
        for line in ["PRI * HTTP/2.0", "FOO / HTTP/1.1", "kill req1 HTTP/1.1", "host: localhost", "Host:x"] {
            assert!(text(line).is_http(false), "{line}");
        }
        for line in ["kill GET slow HTTP", "get", "", "hos", "kill HTTP/1.1", "delay 1", "kill req1 saw GET / HTTP/1.1"]
        {
            assert!(!text(line).is_http(true) && !text(line).is_http(false), "{line}");
        }
        assert!(!text("GET /").is_http(false));
    }

    proptest! {
        #[test]
        fn the_pieces_make_no_difference(input in any::<Vec<u8>>(), truncations in proptest::collection::vec(1usize..8, 0..200)) {
            let mut rest = input.as_slice();
            let mut pieces = Vec::new();
            for cut in truncations {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(lines(pieces), lines([input.as_slice()]));
        }
    }
}
