//! Escape: text from the program and its clients, made harmless to a terminal.
//!
//! Ids, statuses, columns and messages come from the program or from its
//! clients. Printed as they are they could move the cursor, turn the reading
//! direction or forge a line. The table, the replies and the `Display` of our
//! errors all print through [`push`], so there is one set of rules.

use std::fmt;

use unicode_width::UnicodeWidthChar;

/// The widest cell of the table, in display columns.
pub(crate) const CELL: usize = 80;

/// The most combining marks in a row that are printed as they are. Four are
/// enough for any script; an unbounded stack of them draws over other lines.
const MARKS: usize = 4;

/// Where a text is going to stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By itself, or between apostrophes.
    Plain,
    /// Between double quotes, so that a quote prints as `\"` and a backslash as `\\`.
    Quoted,
    /// As the name of a task, which [`parse_id`] reads back: one word that
    /// can mean only one task.
    Id,
    /// Inside a string of JSON.
    Json,
}

/// Prints `text` escaped, and cut with `…` at `columns` display columns.
pub(crate) struct Escaped<'a> {
    text: &'a str,
    form: Form,
    columns: usize,
}

/// A text of any length, by itself.
pub(crate) fn plain(text: &str) -> Escaped<'_> {
    Escaped { text, form: Form::Plain, columns: usize::MAX }
}

/// A text that a client typed, said back to it: no longer than a cell.
pub(crate) fn echo(text: &str) -> Escaped<'_> {
    Escaped { text, form: Form::Plain, columns: CELL }
}

/// A status between double quotes: no longer than a cell, as in the table.
pub(crate) fn quoted_cell(text: &str) -> Escaped<'_> {
    Escaped { text, form: Form::Quoted, columns: CELL }
}

/// A text of any length between double quotes.
pub(crate) fn quoted(text: &str) -> Escaped<'_> {
    Escaped { text, form: Form::Quoted, columns: usize::MAX }
}

/// The name of a task, never cut.
pub(crate) fn id(text: &str) -> Escaped<'_> {
    Escaped { text, form: Form::Id, columns: usize::MAX }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(self.text.len() + 2);
        let quote = if matches!(self.form, Form::Quoted | Form::Json) { "\"" } else { "" };
        push(&mut out, self.text, self.form, self.columns);
        write!(f, "{quote}{out}{quote}")
    }
}

/// Appends `text` to `out`, escaped, cut with `…` when it is wider than
/// `columns`. An escape sequence is never cut in the middle.
pub(crate) fn push(out: &mut String, text: &str, form: Form, columns: usize) {
    // A short text of printable ASCII is by far the most common.
    if text.len() <= columns && text.bytes().all(|b| is_harmless(b, form)) && !is_reserved(text, form) {
        out.push_str(text);
        return;
    }
    let mut width = 0;
    let mut marks = MARKS; // at the start there is nothing to put a mark on
    let mut cut = out.len(); // up to here there is room for the `…`
    for (at, c) in text.char_indices() {
        let before = out.len();
        let own = c.width().unwrap_or(0);
        let first_of_reserved = at == 0 && is_reserved(text, form);
        if first_of_reserved || must_escape(c, form) || (own == 0 && marks == MARKS) {
            push_escape(out, c, form, first_of_reserved);
            width += out.len() - before;
            marks = MARKS;
        } else {
            out.push(c);
            width += own;
            marks = match own {
                0 => marks + 1,
                _ if c == ' ' => MARKS,
                _ => 0,
            };
        }
        if width > columns {
            out.truncate(cut);
            out.push('…');
            return;
        }
        if width < columns {
            cut = out.len();
        }
    }
}

fn is_harmless(byte: u8, form: Form) -> bool {
    match byte {
        b'"' => !matches!(form, Form::Quoted | Form::Json),
        b'\\' => form == Form::Plain,
        b' ' => form != Form::Id,
        0x21..0x7f => true,
        _ => false,
    }
}

/// Ids that a command would take for something else: `kill where ..` and
/// `kill @7f3a ..` name sets of tasks.
fn is_reserved(text: &str, form: Form) -> bool {
    form == Form::Id && (text.starts_with('@') || text.eq_ignore_ascii_case("where"))
}

fn must_escape(c: char, form: Form) -> bool {
    match c {
        '"' => matches!(form, Form::Quoted | Form::Json),
        '\\' => form != Form::Plain,
        ' ' => form == Form::Id,
        ' '..='~' => false,
        _ => c.is_control() || is_format(c),
    }
}

/// Bidirectional controls, zero-width and other invisible format characters,
/// line and paragraph separators, variation selectors, skin tones of emoji: the Unicode category
/// Cf, Zl, Zp and the default-ignorable ranges, which terminals disagree on.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{1f3fb}'..='\u{1f3ff}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn push_escape(out: &mut String, c: char, form: Form, as_byte: bool) {
    use fmt::Write;
    let written = match c {
        // JSON has a number of two bytes for a character, or a pair of them.
        _ if form == Form::Json && !matches!(c, '"' | '\\' | '\t' | '\n' | '\r') => {
            c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
        }
        _ if as_byte => write!(out, "\\x{:02x}", u32::from(c)),
        '\t' => out.write_str("\\t"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        _ => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
    debug_assert!(written.is_ok(), "a String takes whatever is written to it");
}

/// The id whose printed name is exactly `shown`: undoes [`Form::Id`]. `None`
/// when no id prints like that, so that one task has one name.
pub(crate) fn parse_id(shown: &str) -> Option<String> {
    let id = unescape(shown)?;
    let mut again = String::with_capacity(shown.len());
    push(&mut again, &id, Form::Id, usize::MAX);
    (again == shown).then_some(id)
}

/// Undoes every escape sequence, and takes a quote for itself behind a
/// backslash. `None` when there is a backslash that begins none.
pub(crate) fn unescape(shown: &str) -> Option<String> {
    let mut text = String::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (c, after) = match rest.chars().next()? {
            c @ ('\\' | '"' | '\'') => (c, &rest[1..]),
            't' => ('\t', &rest[1..]),
            'n' => ('\n', &rest[1..]),
            'r' => ('\r', &rest[1..]),
            'x' => (u8::from_str_radix(rest.get(1..3)?, 16).ok()?.into(), &rest[3..]),
            'u' => {
                let end = rest.find('}')?;
                let code = u32::from_str_radix(rest.get(2..end)?, 16).ok()?;
                (char::from_u32(code)?, &rest[end + 1..])
            }
            _ => return None,
        };
        text.push(c);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// Cuts `text` to at most `bytes` bytes, the last of them `…`, at a character.
pub(crate) fn shorten(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - '…'.len_utf8()));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn shows(escaped: Escaped<'_>, expected: &str) {
        assert_eq!(escaped.to_string(), expected);
    }

    #[test]
    fn control_characters_are_spelled_out() {
        shows(plain("a\tb\nc\rd\x1b[2Je\0\x7f"), r"a\tb\nc\rd\x1b[2Je\x00\x7f");
        shows(plain("\u{85}\u{9b}31m\u{2028}"), r"\u{85}\u{9b}31m\u{2028}");
    }

    #[test]
    fn direction_and_zero_width_are_spelled_out() {
        shows(plain("abc\u{202e}def\u{200b}\u{feff}\u{2066}"), r"abc\u{202e}def\u{200b}\u{feff}\u{2066}");
    }

    #[test]
    fn combining_marks_stay_on_their_letter_but_not_without_one() {
        shows(plain("👍\u{1f3fd}"), "👍\\u{1f3fd}");
        shows(plain("e\u{301}"), "e\u{301}");
        shows(plain("\u{301}e"), "\\u{301}e");
        shows(plain("a \u{301}"), "a \\u{301}");
        let tower = format!("e{}", "\u{301}".repeat(6));
        shows(plain(&tower), "e\u{301}\u{301}\u{301}\u{301}\\u{301}\\u{301}");
    }

    #[test]
    fn quotes_are_escaped_only_between_quotes() {
        shows(plain(r#"say "hi""#), r#"say "hi""#);
        shows(quoted(r#"say "hi""#), r#""say \"hi\"""#);
        // Else this message ends before it says that it was killed.
        shows(quoted(r#"v \": killed after 0.0s"#), r#""v \\\": killed after 0.0s""#);
        shows(quoted_cell(r"C:\"), r#""C:\\""#);
        shows(plain(r"C:\"), r"C:\");
    }

    #[test]
    fn a_cell_is_cut_at_80_columns() {
        shows(echo(&"x".repeat(80)), &"x".repeat(80));
        shows(echo(&"x".repeat(81)), &format!("{}…", "x".repeat(79)));
        shows(echo(&"漢".repeat(40)), &"漢".repeat(40));
        shows(echo(&"漢".repeat(41)), &format!("{}…", "漢".repeat(39)));
    }

    #[test]
    fn an_id_is_one_word_with_one_meaning() {
        shows(id("proc 2"), r"proc\x202");
        shows(id(r"a\x20b"), r"a\\x20b");
        shows(id("@7f3a"), r"\x407f3a");
        shows(id("a@b"), "a@b");
        shows(id("where"), r"\x77here");
        shows(id("WHERE"), r"\x57HERE");
        shows(id("whereabouts"), "whereabouts");
    }

    #[test]
    fn a_name_that_the_table_never_shows_means_nobody() {
        for typed in ["@7f3a", "where", r"a\qb", r"\x61", "\\", r"\x4", r"\u{}", r"\u{d800}", "a\u{202e}"] {
            assert_eq!(parse_id(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn a_text_is_shortened_at_a_character() {
        let mut text = "é".repeat(10);
        shorten(&mut text, 20);
        assert_eq!(text, "é".repeat(10));
        shorten(&mut text, 10);
        assert_eq!(text, "ééé…");
    }

    proptest! {
        #[test]
        fn every_id_is_found_again_by_its_printed_name(original in any::<String>()) {
            let shown = id(&original).to_string();
            prop_assert!(!shown.contains([' ', '\t', '\n', '\r']));
            prop_assert_eq!(parse_id(&shown), Some(original));
        }

        #[test]
        fn whatever_goes_in_nothing_acts_on_the_terminal(text in any::<String>()) {
            for c in echo(&text).to_string().chars() {
                prop_assert!(!c.is_control() && !is_format(c), "{c:?}");
            }
        }

        #[test]
        fn no_cell_is_wider_than_a_cell(text in any::<String>()) {
            prop_assert!(echo(&text).to_string().width() <= CELL);
        }
    }
}
