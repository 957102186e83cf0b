//! Command: what one line of input asks for. No I/O.

use std::fmt;
use std::time::Duration;

use crate::escape;

/// What a client may ask for: no faster than an eye, no slower than a shift.
const DELAYS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What `help` prints.
pub(crate) const HELP: &str = "\
kill <id> [message]  end a task; the message reaches it, and its log
delay <duration>     the pace of the table, 100ms to 1h: 500ms, 2 (seconds), 1m
Enter                freeze the table to type in peace; Enter again goes on
help                 this
quit                 finish what was asked, then close; the end of input too";

/// One line of input, understood.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Freeze, or thaw.
    Enter,
    Kill {
        /// The name of the task as it was typed: as the table shows it.
        name: String,
        message: String,
    },
    Delay(Duration),
    Help,
    Quit,
}

/// One line of input, not understood: its `Display` is the reply.
#[derive(Debug, PartialEq)]
pub(crate) enum Invalid {
    Unknown(String),
    KillWhom(String),
    Duration(String),
}

/// Understands one line, without its line end. Words are split on spaces and
/// tabs, verbs are taken in any case.
pub(crate) fn parse(line: &str) -> Result<Command, Invalid> {
    let (verb, rest) = word(line);
    match verb.to_ascii_lowercase().as_str() {
        "" => Ok(Command::Enter),
        "kill" => match word(rest) {
            ("", _) => Err(Invalid::KillWhom(verb.to_string())),
            (name, message) => Ok(Command::Kill { name: name.to_string(), message: message.to_string() }),
        },
        "delay" => match duration(rest).filter(|delay| DELAYS.contains(delay)) {
            Some(delay) => Ok(Command::Delay(delay)),
            None => Err(Invalid::Duration(rest.to_string())),
        },
        "help" => Ok(Command::Help),
        "quit" | "exit" => Ok(Command::Quit),
        _ => Err(Invalid::Unknown(verb.to_string())),
    }
}

/// The first word, and the rest without the blanks around it.
fn word(text: &str) -> (&str, &str) {
    const BLANKS: [char; 2] = [' ', '\t'];
    let text = text.trim_matches(BLANKS);
    match text.split_once(BLANKS) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}

/// A bare number is seconds, anything else is for humantime.
fn duration(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_number { Duration::try_from_secs_f64(text.parse().ok()?).ok() } else { humantime::parse_duration(text).ok() }
}

/// Keeps a delay within what a client may ask for.
pub(crate) fn clamp_delay(delay: Duration) -> Duration {
    delay.clamp(*DELAYS.start(), *DELAYS.end())
}

/// Whether `line` comes from a browser, or from somebody who makes a browser
/// send it here: an HTTP request, whose first line ends with the version and
/// whose second is the header `Host`. `first` is the first line of a session.
pub(crate) fn is_http(line: &str, first: bool) -> bool {
    const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let (verb, rest) = word(line);
    let (_target, version) = word(rest);
    let is_method = METHODS.contains(&verb);
    // Whatever the method: a page may invent one, `kill` for instance.
    let is_request_line = version.starts_with("HTTP/") && word(version).1.is_empty();
    let is_host = line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("host:"));
    (first && is_method) || is_request_line || is_host
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Unknown(verb) => write!(f, "invalid command '{}': try help", escape::echo(verb)),
            Invalid::KillWhom(verb) => write!(f, "invalid command '{}': kill <id> [message]", escape::echo(verb)),
            Invalid::Duration(text) => write!(f, "invalid duration '{}': use 100ms to 1h", escape::echo(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn means(line: &str, expected: Command) {
        assert_eq!(parse(line), Ok(expected), "{line:?}");
    }

    fn answers(line: &str, reply: &str) {
        assert_eq!(parse(line).expect_err("is invalid").to_string(), reply, "{line:?}");
    }

    fn kill(name: &str, message: &str) -> Command {
        Command::Kill { name: name.into(), message: message.into() }
    }

    #[test]
    fn a_kill_has_a_name_and_the_rest_of_the_line() {
        means("kill req2 houston, we have a problem", kill("req2", "houston, we have a problem"));
        means(" KILL\t req2 \t two  blanks inside  ", kill("req2", "two  blanks inside"));
        means("kill req2", kill("req2", ""));
        answers("kill", "invalid command 'kill': kill <id> [message]");
        answers("kill  \t", "invalid command 'kill': kill <id> [message]");
    }

    #[test]
    fn a_delay_is_seconds_or_what_humantime_reads() {
        means("delay 500ms", Command::Delay(Duration::from_millis(500)));
        means("Delay 2", Command::Delay(Duration::from_secs(2)));
        means("delay 0.25", Command::Delay(Duration::from_millis(250)));
        means("delay 1.5s", Command::Delay(Duration::from_millis(1500)));
        means("delay 1m 30s", Command::Delay(Duration::from_secs(90)));
        means("delay 100ms", Command::Delay(Duration::from_millis(100)));
        means("delay 1h", Command::Delay(Duration::from_secs(3600)));
    }

    #[test]
    fn a_delay_out_of_range_or_unreadable_says_what_to_use() {
        answers("delay 0s", "invalid duration '0s': use 100ms to 1h");
        for bad in ["99ms", "1h 1s", "-1", "1e3", "inf", "NaN", ".", "1.2.3", "x", "99999999999999999999999y"] {
            answers(&format!("delay {bad}"), &format!("invalid duration '{bad}': use 100ms to 1h"));
        }
        answers("delay", "invalid duration '': use 100ms to 1h");
    }

    #[test]
    fn anything_else_is_answered_without_acting_on_the_terminal() {
        answers("foo bar", "invalid command 'foo': try help");
        answers("\x1b[A", "invalid command '\\x1b[A': try help");
        answers(&"x".repeat(4000), &format!("invalid command '{}…': try help", "x".repeat(79)));
    }

    #[test]
    fn verbs_and_blank_lines() {
        means("", Command::Enter);
        means(" \t", Command::Enter);
        means("help", Command::Help);
        means("QUIT", Command::Quit);
        means("exit", Command::Quit);
    }

    #[test]
    fn http_is_known_by_its_method_version_or_host() {
        for line in ["POST / HTTP/1.1", "GET", "DELETE /procs/1"] {
            assert!(is_http(line, true), "{line}");
        }
        for line in ["PRI * HTTP/2.0", "FOO / HTTP/1.1", "kill req1 HTTP/1.1", "host: localhost", "Host:x"] {
            assert!(is_http(line, false), "{line}");
        }
        for line in ["kill GET slow HTTP", "get", "", "hos", "kill HTTP/1.1", "delay 1", "kill req1 saw GET / HTTP/1.1"]
        {
            assert!(!is_http(line, true), "{line}");
        }
        assert!(!is_http("GET", false));
    }

    proptest! {
        #[test]
        fn every_line_is_understood_or_answered_with_one_printable_line(line in any::<String>()) {
            if let Err(invalid) = parse(&line) {
                prop_assert!(!invalid.to_string().contains(char::is_control));
            }
            is_http(&line, true);
        }

        #[test]
        fn a_kill_takes_the_name_and_the_message_as_they_are(
            name in "[^ \t]{1,20}", message in "([^ \t]([^\n]{0,30}[^ \t])?)?", blanks in "[ \t]{1,3}", verb in "[kK][iI][lL][lL]",
        ) {
            prop_assert_eq!(parse(&format!("{blanks}{verb}{blanks}{name}{blanks}{message}{blanks}")), Ok(kill(&name, &message)));
        }

        #[test]
        fn every_delay_that_is_taken_is_in_range(text in "[0-9.]{0,6}(ms|s|m|h|)") {
            if let Ok(Command::Delay(delay)) = parse(&format!("delay {text}")) {
                prop_assert!(delay >= Duration::from_millis(100) && delay <= Duration::from_secs(3600));
            }
        }
    }
}
