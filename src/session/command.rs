//! Command: what one line of input asks for. No I/O.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::access::Role;
use crate::duration;
use crate::escape;

/// What a client may ask for: no faster than an eye, no slower than a shift.
const DELAYS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What `help` prints.
pub(crate) const HELP: &str = "\
where <expr>         only the rows that match, as uri~/export and time>30s
sort [-]<column>     in this order, - reverses; limit <n>, limit all: how many
cols <a,b,..>        these columns; where, sort and cols alone: as it was
list, by <column>    one table now; the same grouped, with counts and times
show <id>            all of one task
done [n], slow [n]   the tasks that ended last, the slowest of all that ended
stats, audit         counts and memory, the last kills
json                 an object a line for each task that matches, for jq
kill <id> [message]  end a task; the message reaches it, and its log
kill where <expr>    show who would be killed, and what to type then
top [rows] [width]   draw in place, for a terminal; plain: scroll again
delay <duration>     the pace of the table, 100ms to 1h: 500ms, 2 (seconds), 1m
auth <token>         may more, where a token is set
Enter                freeze the table to type in peace; Enter again goes on
help                 this
quit                 finish what was asked, then close; the end of input too";

/// What `help` adds while the table scrolls.
pub(crate) const HELP_SCROLLING: &str =
    "Ctrl-R               reprint a half-typed line that the table has scrolled away";

/// The rows and the width of `top` unless told otherwise: a terminal of 80x24.
const TOP: Size = Size { rows: 20, width: 80 };

const TOP_ROWS: RangeInclusive<usize> = 1..=200;
const TOP_WIDTHS: RangeInclusive<usize> = 20..=500;

/// How many finished tasks are shown unless told otherwise.
const DONE: usize = 20;

/// The size of the table of `top`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

/// One line of input, understood.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Freeze, or thaw.
    Enter,
    List,
    Where(String),
    Sort(String),
    Limit(usize),
    Cols(String),
    Ask(Question),
    Top(Size),
    Plain,
    Kill {
        /// The name of the task as it was typed: as the table shows it.
        name: String,
        message: String,
    },
    /// Kill a set that `kill where` has shown.
    KillSet {
        token: String,
        message: String,
    },
    Delay(Duration),
    Auth(String),
    Help,
    Quit,
}

impl Command {
    /// Who may say it.
    pub(crate) fn role(&self) -> Role {
        match self {
            Command::Kill { .. } | Command::KillSet { .. } | Command::Ask(Question::KillWhere(_)) => Role::Kill,
            Command::Auth(_) | Command::Help | Command::Quit => Role::Nothing,
            _ => Role::See,
        }
    }
}

/// What is answered from a look at the whole list.
#[derive(Debug, PartialEq)]
pub(crate) enum Question {
    By(String),
    Show(String),
    Done(usize),
    Slow(usize),
    Stats,
    Audit,
    Json,
    KillWhere(String),
}

impl Question {
    /// Who asks this is about to kill, or costs next to nothing.
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Question::KillWhere(_) | Question::Show(_) | Question::Audit)
    }
}

/// One line of input, not understood: its `Display` is the reply.
#[derive(Debug, PartialEq)]
pub(crate) enum Invalid {
    Unknown(String),
    /// What the command looks like.
    Usage(String, &'static str),
    Duration(String),
}

/// Understands one line of a client that has shown no token: what it may say, and nothing else is
/// looked at.
pub(crate) fn parse_outside(line: &str) -> Option<Result<Command, Invalid>> {
    let (verb, _) = word(line);
    let may_say = ["auth", "help", "quit", "exit"];
    may_say.iter().any(|known| verb.eq_ignore_ascii_case(known)).then(|| parse(line))
}

/// Understands one line, without its line end. Words are split on spaces and
/// tabs, verbs are taken in any case.
pub(crate) fn parse(line: &str) -> Result<Command, Invalid> {
    let (verb, rest) = word(line);
    let usage = |usage| Err(Invalid::Usage(verb.to_string(), usage));
    let alone = |command, how| if rest.is_empty() { Ok(command) } else { usage(how) };
    match verb.to_ascii_lowercase().as_str() {
        "" => Ok(Command::Enter),
        "list" => alone(Command::List, "list"),
        "where" => Ok(Command::Where(rest.to_string())),
        "sort" => Ok(Command::Sort(rest.to_string())),
        "limit" => match rest.to_ascii_lowercase().as_str() {
            "all" => Ok(Command::Limit(usize::MAX)),
            rest => match rest.parse() {
                Ok(rows @ 1..) => Ok(Command::Limit(rows)),
                _ => usage("limit <n>, or limit all"),
            },
        },
        "cols" => Ok(Command::Cols(rest.to_string())),
        "by" if rest.is_empty() => usage("by <column>"),
        "by" => Ok(Command::Ask(Question::By(rest.to_string()))),
        "show" if rest.is_empty() => usage("show <id>"),
        "show" => Ok(Command::Ask(Question::Show(rest.to_string()))),
        "done" => match count(rest) {
            Some(n) => Ok(Command::Ask(Question::Done(n))),
            None => usage("done [n]"),
        },
        "slow" => match count(rest) {
            Some(n) => Ok(Command::Ask(Question::Slow(n))),
            None => usage("slow [n]"),
        },
        "stats" => alone(Command::Ask(Question::Stats), "stats"),
        "audit" => alone(Command::Ask(Question::Audit), "audit"),
        "json" => alone(Command::Ask(Question::Json), "json"),
        "top" => match size(rest) {
            Some(size) => Ok(Command::Top(size)),
            None => usage("top [rows, 1 to 200] [width, 20 to 500]"),
        },
        "plain" => alone(Command::Plain, "plain"),
        "kill" => match word(rest) {
            ("", _) => usage("kill <id> [message]"),
            (name, "") if name.eq_ignore_ascii_case("where") => usage("kill where <expression>"),
            (name, expr) if name.eq_ignore_ascii_case("where") => {
                Ok(Command::Ask(Question::KillWhere(expr.to_string())))
            }
            (name, message) if name.starts_with('@') => {
                Ok(Command::KillSet { token: name.to_string(), message: message.to_string() })
            }
            (name, message) => Ok(Command::Kill { name: name.to_string(), message: message.to_string() }),
        },
        "delay" => match duration::parse(rest).ok().filter(|delay| DELAYS.contains(delay)) {
            Some(delay) => Ok(Command::Delay(delay)),
            None => Err(Invalid::Duration(rest.to_string())),
        },
        "auth" if rest.is_empty() => usage("auth <token>"),
        "auth" => Ok(Command::Auth(rest.to_string())),
        "help" => Ok(Command::Help),
        "quit" | "exit" => Ok(Command::Quit),
        _ => Err(Invalid::Unknown(verb.to_string())),
    }
}

/// How many finished tasks to show.
fn count(rest: &str) -> Option<usize> {
    if rest.is_empty() { Some(DONE) } else { rest.parse().ok().filter(|n| *n > 0) }
}

fn size(rest: &str) -> Option<Size> {
    let (rows, width) = word(rest);
    let number = |text: &str, unless: usize| if text.is_empty() { Some(unless) } else { text.parse().ok() };
    let size = Size { rows: number(rows, TOP.rows)?, width: number(width, TOP.width)? };
    (TOP_ROWS.contains(&size.rows) && TOP_WIDTHS.contains(&size.width)).then_some(size)
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
            Invalid::Usage(verb, usage) => write!(f, "invalid command '{}': {usage}", escape::echo(verb)),
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
    fn a_set_is_named_by_an_expression_or_a_token() {
        let victims = |expr: &str| Command::Ask(Question::KillWhere(expr.into()));
        means("kill where uri~/export and time>30s", victims("uri~/export and time>30s"));
        means("KILL Where id=a", victims("id=a"));
        means("kill @7f3a too  slow", Command::KillSet { token: "@7f3a".into(), message: "too  slow".into() });
        means(r"kill \x407f3a", kill(r"\x407f3a", ""));
        answers("kill where", "invalid command 'kill': kill where <expression>");
    }

    #[test]
    fn what_is_to_be_seen() {
        means("where", Command::Where(String::new()));
        means("WHERE  a = 'b  c' ", Command::Where("a = 'b  c'".into()));
        means("sort -time", Command::Sort("-time".into()));
        means("limit 7", Command::Limit(7));
        means("limit ALL", Command::Limit(usize::MAX));
        means("cols id, uri time", Command::Cols("id, uri time".into()));
        means("cols", Command::Cols(String::new()));
        means("done", Command::Ask(Question::Done(20)));
        means("slow 3", Command::Ask(Question::Slow(3)));
        means("top", Command::Top(Size { rows: 20, width: 80 }));
        means("top 40 120", Command::Top(Size { rows: 40, width: 120 }));
        for (bad, usage) in [
            ("limit", "limit <n>, or limit all"),
            ("limit 0", "limit <n>, or limit all"),
            ("limit -1", "limit <n>, or limit all"),
            ("by", "by <column>"),
            ("show", "show <id>"),
            ("done 0", "done [n]"),
            ("slow x", "slow [n]"),
            ("top 0", "top [rows, 1 to 200] [width, 20 to 500]"),
            ("top 10 10", "top [rows, 1 to 200] [width, 20 to 500]"),
            ("top 10 80 7", "top [rows, 1 to 200] [width, 20 to 500]"),
            ("list x", "list"),
            ("json x", "json"),
            ("auth", "auth <token>"),
        ] {
            let verb = word(bad).0;
            answers(bad, &format!("invalid command '{verb}': {usage}"));
        }
    }

    #[test]
    fn help_fits_a_terminal_of_80x24_and_names_every_command() {
        let lines: Vec<_> = HELP.lines().chain([HELP_SCROLLING]).collect();
        assert!(lines.len() <= 22 && lines.iter().all(|line| line.len() <= 79), "{HELP}");
        for verb in "list where sort limit cols by show done slow stats json top plain kill delay auth audit help quit"
            .split(' ')
        {
            assert!(HELP.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == verb), "{verb}");
            assert!(!matches!(parse(verb), Err(Invalid::Unknown(_))), "{verb}");
        }
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
            name in "[^ \t@][^ \t]{0,19}", message in "([^ \t]([^\n]{0,30}[^ \t])?)?", blanks in "[ \t]{1,3}", verb in "[kK][iI][lL][lL]",
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
