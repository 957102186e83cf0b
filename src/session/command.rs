//! Command: the one table of commands. Verb, usage, help, role and what it does stand together.

use std::time::Duration;

use crate::access::Role;
use crate::duration;
use crate::session::line::{Line, word};
use crate::session::question::Question;
use crate::session::screen::{self, Size};
use crate::view::done::{DONE, Which};

/// A command that every server has.
pub(crate) struct Command {
    /// The first word, or the first two.
    pub(crate) verb: &'static str,
    pub(crate) usage: &'static str,
    /// Empty if it is told with the one before.
    pub(crate) help: &'static str,
    /// The role that it needs. `None` if it is for clients that have none yet, too.
    pub(crate) role: Option<Role>,
    /// What it does, by the rest of the line.
    pub(super) action: fn(&str) -> Result<Action, Fault>,
}

/// What a session does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Ask(Question),
    /// Show a table now.
    ShowTable,
    /// Ask a task where it is parked.
    Stack(String),
    Limit(usize),
    Delay(Duration),
    Kill {
        /// The task as the table shows it, or a token.
        name: String,
        message: String,
    },
    DrawInPlace(Size),
    /// How wide a row is that scrolls.
    Width(Option<usize>),
    Scroll,
    Authenticate(String),
    FreezeOrThaw,
    Help,
    Quit,
}

/// Why a line is no command.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It was not typed as its usage says.
    Usage,
    Reply(String),
}

const SEE: Option<Role> = Some(Role::See);
const KILL: Option<Role> = Some(Role::Kill);

/// In the order in which `help` lists them.
#[rustfmt::skip]
pub(crate) const COMMANDS: &[Command] = &[
    Command { verb: "where", usage: "where [expression]", role: SEE,
        help: "only the rows that match: uri~/export and time>30s",
        action: |expr| Ok(Action::Ask(Question::Where(expr.to_string()))) },
    Command { verb: "sort", usage: "sort [-]<column>", role: SEE,
        help: "in this order, - reverses; alone: oldest first",
        action: |column| Ok(Action::Ask(Question::Sort(column.to_string()))) },
    Command { verb: "limit", usage: "limit <n|all>", role: SEE,
        help: "how many rows a table has",
        action: |rows| Ok(Action::Limit(if rows.eq_ignore_ascii_case("all") { usize::MAX } else { number(rows)? })) },
    Command { verb: "cols", usage: "cols <a,b,..>", role: SEE,
        help: "these columns; alone: those of the program",
        action: |columns| Ok(Action::Ask(Question::Cols(columns.to_string()))) },
    Command { verb: "list", usage: "list", role: SEE,
        help: "one table now; tree: each task below its parent",
        action: |rest| alone(rest, Action::ShowTable) },
    Command { verb: "by", usage: "by <column>", role: SEE,
        help: "one table, grouped: count, oldest, median, p99",
        action: |column| Ok(Action::Ask(Question::By(given(column)?))) },
    Command { verb: "tree", usage: "tree", role: SEE, help: "",
        action: |rest| alone(rest, Action::Ask(Question::Tree)) },
    Command { verb: "show", usage: "show <id>", role: SEE,
        help: "all of one task",
        action: |name| Ok(Action::Ask(Question::Show(given(name)?))) },
    Command { verb: "stack", usage: "stack <id>", role: SEE,
        help: "where it is parked: the awaits, with file and line",
        action: |name| Ok(Action::Stack(given(name)?)) },
    Command { verb: "done", usage: "done [n] [where <expr>]", role: SEE,
        help: "what ended last: done where outcome=killed",
        action: |rest| Ok(Action::Ask(Question::Done(which(rest)?))) },
    Command { verb: "slow", usage: "slow [n] [where <expr>]", role: SEE,
        help: "the slowest of all that ended",
        action: |rest| Ok(Action::Ask(Question::Slow(which(rest)?))) },
    Command { verb: "odd", usage: "odd", role: SEE,
        help: "what runs too long for its kind; kinds: a row a kind",
        action: |rest| alone(rest, Action::Ask(Question::Odd)) },
    Command { verb: "kinds", usage: "kinds", role: SEE, help: "",
        action: |rest| alone(rest, Action::Ask(Question::Kinds)) },
    Command { verb: "stats", usage: "stats", role: SEE,
        help: "counts, rates and memory",
        action: |rest| alone(rest, Action::Ask(Question::Stats)) },
    Command { verb: "audit", usage: "audit", role: SEE,
        help: "the last kills: by whom, why, and what came of them",
        action: |rest| alone(rest, Action::Ask(Question::Audit)) },
    Command { verb: "json", usage: "json", role: SEE,
        help: "an object a line for each task that matches, for jq",
        action: |rest| alone(rest, Action::Ask(Question::Json)) },
    Command { verb: "kill where", usage: "kill where <expression>", role: KILL,
        help: "show the tasks that match, and what to type then",
        action: |expr| {
            let (verb, expr) = ("kill".to_string(), given(expr)?);
            Ok(Action::Ask(Question::Tasks { verb, expr }))
        } },
    Command { verb: "kill", usage: "kill <id> [message]", role: KILL,
        help: "end a task; the message reaches it, and its log",
        action: |rest| {
            let (name, message) = word(rest);
            Ok(Action::Kill { name: given(name)?, message: message.to_string() })
        } },
    Command { verb: "top", usage: "top [rows] [width]", role: SEE,
        help: "draw in place, 20 rows, 80 wide; plain: scroll again",
        action: |rest| {
            let ((rows, width), usual) = (word(rest), Size::default());
            let size = Size::new(number_or(rows, usual.rows)?, number_or(width, usual.width)?);
            size.map(Action::DrawInPlace).ok_or(Fault::Usage)
        } },
    Command { verb: "width", usage: "width <20..500|off>", role: SEE,
        help: "cut rows to so many columns; off: as wide as they are",
        action: |width| match width.eq_ignore_ascii_case("off") {
            true => Ok(Action::Width(None)),
            false => number(width).and_then(|n| screen::width(n).map(|n| Action::Width(Some(n))).ok_or(Fault::Usage)),
        } },
    Command { verb: "plain", usage: "plain", role: SEE, help: "",
        action: |rest| alone(rest, Action::Scroll) },
    Command { verb: "delay", usage: "delay <duration>", role: SEE,
        help: "the pace of the table: 500ms, 2 (seconds), 1m",
        action: |text| {
            duration::delay(&given(text)?).map(Action::Delay).map_err(Fault::Reply)
        } },
    Command { verb: "auth", usage: "auth <token>", role: None,
        help: "show a token, where one is set",
        action: |token| Ok(Action::Authenticate(given(token)?)) },
    Command { verb: "", usage: "Enter", role: SEE,
        help: "freeze the table to type in peace; Enter again goes on",
        action: |_| Ok(Action::FreezeOrThaw) },
    Command { verb: "help", usage: "help", help: "", role: None, action: |_| Ok(Action::Help) },
    Command { verb: "quit", usage: "quit", role: None,
        help: "finish what was asked, then close; end of input too",
        action: |_| Ok(Action::Quit) },
];

/// What people type by reflex, unless a program has a command of that name.
const REFLEXES: [(&str, &str); 4] = [("?", "help"), ("h", "help"), ("ps", "list"), ("ls", "list")];

/// The command that a line gives, and the rest of the line.
pub(super) fn find(line: &str) -> Option<(&'static Command, &str)> {
    let (first, rest) = word(line);
    let (second, after) = word(rest);
    let verb = if first.eq_ignore_ascii_case("exit") { "quit" } else { first };
    COMMANDS.iter().find_map(|command| match command.verb.split_once(' ') {
        Some((one, two)) => {
            (one.eq_ignore_ascii_case(verb) && two.eq_ignore_ascii_case(second)).then_some((command, after))
        }
        None => command.verb.eq_ignore_ascii_case(verb).then_some((command, rest)),
    })
}

/// The command that somebody means who types this by reflex, and the rest of the line.
pub(super) fn find_meant(line: &str) -> Option<(&'static Command, &str)> {
    let (first, _) = word(line);
    let (_, verb) = REFLEXES.iter().find(|(typed, _)| typed.eq_ignore_ascii_case(first))?;
    // `ps aux`: what a shell would want behind it means nothing here.
    find(verb)
}

/// Whether this name means something else already.
pub(crate) fn is_taken(name: &str) -> bool {
    find(name).is_some() || name.starts_with('@') || Line::Text(name.to_string()).is_http(true)
}

/// The lines of `help`.
pub(super) fn help() -> Vec<String> {
    let told = COMMANDS.iter().filter(|command| !command.help.is_empty());
    told.map(|command| help_line(command.usage, command.help)).collect()
}

pub(super) fn help_line(usage: &str, help: &str) -> String {
    format!("{usage:<24} {help}")
}

fn alone(rest: &str, action: Action) -> Result<Action, Fault> {
    if rest.is_empty() { Ok(action) } else { Err(Fault::Usage) }
}

fn given(rest: &str) -> Result<String, Fault> {
    if rest.is_empty() { Err(Fault::Usage) } else { Ok(rest.to_string()) }
}

/// `[n] [where <expr>]`
fn which(rest: &str) -> Result<Which, Fault> {
    let (n, after) = word(rest);
    let (n, rest) = if n.eq_ignore_ascii_case("where") { ("", rest) } else { (n, after) };
    let n = number_or(n, DONE)?;
    let (verb, expr) = word(rest);
    match verb {
        "" => Ok(Which { n, filter: None }),
        _ if verb.eq_ignore_ascii_case("where") => Ok(Which { n, filter: Some(expr.to_string()) }),
        _ => Err(Fault::Usage),
    }
}

fn number(text: &str) -> Result<usize, Fault> {
    text.parse().ok().filter(|n| *n > 0).ok_or(Fault::Usage)
}

fn number_or(text: &str, unless: usize) -> Result<usize, Fault> {
    if text.is_empty() { Ok(unless) } else { number(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn means(line: &str, action: Action) {
        let (command, rest) = find(line).expect("a command");
        assert_eq!((command.action)(rest), Ok(action), "{line:?}");
    }

    #[track_caller]
    fn is_refused(line: &str) {
        let (command, rest) = find(line).expect("a command");
        assert!((command.action)(rest).is_err(), "{line:?}");
    }

    fn kill(name: &str, message: &str) -> Action {
        Action::Kill { name: name.into(), message: message.into() }
    }

    #[test]
    fn a_kill_has_a_name_and_the_rest_of_the_line() {
        means("kill req2 houston, we have a problem", kill("req2", "houston, we have a problem"));
        means(" KILL\t req2 \t two  blanks inside  ", kill("req2", "two  blanks inside"));
        means("kill req2", kill("req2", ""));
        means("kill @7f3a too  slow", kill("@7f3a", "too  slow"));
        let tasks = |expr: &str| Action::Ask(Question::Tasks { verb: "kill".into(), expr: expr.into() });
        means("KILL Where uri~/export and time>30s", tasks("uri~/export and time>30s"));
        for line in ["kill", "kill \t", "kill where"] {
            is_refused(line);
        }
    }

    #[test]
    fn a_delay_is_seconds_or_what_humantime_reads() {
        for (text, millis) in [("500ms", 500), ("2", 2000), ("0.25", 250), ("1m 30s", 90_000), ("1h", 3_600_000)] {
            means(&format!("Delay {text}"), Action::Delay(Duration::from_millis(millis)));
        }
        for bad in ["99ms", "1h 1s", "-1", "1e3", "inf", "NaN", ".", "1.2.3", "x", "99999999999999999999999y"] {
            let (command, rest) = find(&format!("delay {bad}")).map(|(c, r)| (c, r.to_string())).expect("a command");
            let reply = format!("invalid duration '{bad}': use 100ms to 1h");
            assert_eq!((command.action)(&rest), Err(Fault::Reply(reply)));
        }
        assert_eq!(find("delay").map(|(command, rest)| (command.action)(rest)), Some(Err(Fault::Usage)));
    }

    #[test]
    fn verbs_are_taken_in_any_case_and_a_blank_line_is_one() {
        means("", Action::FreezeOrThaw);
        means(" \t", Action::FreezeOrThaw);
        means("QUIT", Action::Quit);
        means("exit", Action::Quit);
        means("sort -time", Action::Ask(Question::Sort("-time".into())));
        means("limit ALL", Action::Limit(usize::MAX));
        let which = |n, filter: Option<&str>| Which { n, filter: filter.map(str::to_string) };
        means("done", Action::Ask(Question::Done(which(20, None))));
        means("slow 3", Action::Ask(Question::Slow(which(3, None))));
        means("done 5 WHERE uri~/x y", Action::Ask(Question::Done(which(5, Some("uri~/x y")))));
        means("slow where a=1", Action::Ask(Question::Slow(which(20, Some("a=1")))));
        let size = |rows, width| Action::DrawInPlace(Size { rows, width });
        means("top", size(20, 80));
        means("top 40 120", size(40, 120));
        for bad in
            "width,width 19,width x,limit,limit 0,limit -1,by,show,done 0,done 5 6,slow x,top 0,top 10 10,top 10 80 7,list x,json x,auth".split(',')
        {
            is_refused(bad);
        }
        assert!(find("foo").is_none() && find("killx").is_none());
        assert!(["?", "H", "ps", "ls"].iter().all(|typed| find(typed).is_none() && find_meant(typed).is_some()));
        means("width 60", Action::Width(Some(60)));
        means("width OFF", Action::Width(None));
    }

    #[test]
    fn help_fits_a_terminal_of_80x24_and_the_manual_names_every_command() {
        let help = help();
        // With the one on Ctrl-R, and a line for the prompt.
        assert!(help.len() + 2 <= 24 && help.iter().all(|line| line.len() <= 79), "{help:#?}");
        let manual = include_str!("../../docs/protocol.md");
        for command in COMMANDS {
            let usage = command.usage.replace('|', "\\|");
            let is_named = manual.contains(&format!("`{usage}`")) || command.verb.is_empty();
            assert!(is_named, "docs/protocol.md does not name `{usage}`");
        }
    }
}
