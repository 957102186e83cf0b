//! Quoted: names and values between quotes, as expressions and the commands that take names read them.

use std::fmt;

use crate::escape;

const BLANKS: [char; 2] = [' ', '\t'];

/// What is wrong with a quoted text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Open,
    Escape,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Open => "the closing quote is missing",
            Fault::Escape => r#"write \\ for a backslash, or \" \t \n \x1b \u{85}"#,
        })
    }
}

/// Whether `text` begins with a quote.
pub(crate) fn is_quoted(text: &str) -> bool {
    text.starts_with(['"', '\''])
}

/// The text between the quotes with which `text` begins, and what comes behind them. A backslash
/// spells out what the table spells out.
pub(crate) fn take(text: &str) -> Result<(String, &str), Fault> {
    let mut chars = text.char_indices();
    let quote = chars.next().map_or('"', |(_, c)| c);
    let mut is_escaped = false;
    for (at, c) in chars {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            let inside = escape::unescape(&text[1..at]).ok_or(Fault::Escape)?;
            return Ok((inside, &text[at + c.len_utf8()..]));
        }
    }
    Err(Fault::Open)
}

/// One name: all of `text`, or what is between its quotes.
pub(crate) fn name(text: &str) -> Result<String, Fault> {
    if !is_quoted(text) {
        return Ok(text.to_string());
    }
    match take(text)? {
        (name, "") => Ok(name),
        _ => Err(Fault::Open),
    }
}

/// Names between blanks or commas.
pub(crate) fn names(text: &str) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c| BLANKS.contains(&c) || c == ',');
        if rest.is_empty() {
            return Ok(names);
        }
        if is_quoted(rest) {
            let (name, after) = take(rest)?;
            names.push(name);
            rest = after;
        } else {
            let end = rest.find(|c| BLANKS.contains(&c) || c == ',').unwrap_or(rest.len());
            names.push(rest[..end].to_string());
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_by_itself_or_between_quotes() {
        assert_eq!((name("uri"), name("my column")), (Ok("uri".into()), Ok("my column".into())));
        assert_eq!((name(r#""my column""#), name("'-dash'")), (Ok("my column".into()), Ok("-dash".into())));
        assert_eq!(name(r#""a\tb\"""#), Ok("a\tb\"".into()));
        assert_eq!(
            (name("\"a"), name("\"a\" b"), name(r"'\q'")),
            (Err(Fault::Open), Err(Fault::Open), Err(Fault::Escape))
        );
    }

    #[test]
    fn names_are_between_blanks_and_commas() {
        assert_eq!(names(" id, uri\ttime,,"), Ok(["id", "uri", "time"].map(String::from).into()));
        assert_eq!(names(r#"id,"a, b" 'c'"#), Ok(["id", "a, b", "c"].map(String::from).into()));
        assert_eq!((names(""), names("'x")), (Ok(vec![]), Err(Fault::Open)));
    }
}
