//! Outline: what would run, for `--dry-run`.

use std::fmt::Write;

use crate::config::{Kind, Output, Signal, Task};
use crate::tree::Tree;

/// The tree, the commands, and what each signal does.
pub(crate) fn of(tree: &Tree) -> String {
    let mut text = String::new();
    let tasks: Vec<(usize, &Task)> = tree.tasks().collect();
    if !tree.config.prologue.is_empty() {
        text.push_str("before all:\n");
        for (name, check) in &tree.config.prologue {
            let _ = writeln!(text, "  {name}: {check}");
        }
    }
    text.push_str("tasks:\n");
    for (at, _) in tasks.iter().filter(|(_, task)| task.kind == Kind::Root) {
        branch(&mut text, &tasks, *at, 1);
    }
    let aside: Vec<&(usize, &Task)> =
        tasks.iter().filter(|(_, task)| matches!(task.kind, Kind::Periodic(_) | Kind::Prerun)).collect();
    if !aside.is_empty() {
        text.push_str("aside:\n");
        for (_, task) in aside {
            let when = match task.kind {
                Kind::Periodic(period) => format!("every {period:?}{}", effect(task)),
                _ => "before others".to_string(),
            };
            let _ = writeln!(text, "  {}: {when}: {}", task.name, command(task));
        }
    }
    text.push_str("signals:\n");
    for (signal, name, unless) in [
        (Signal::Term, "SIGTERM", "stops everything, exit 0"),
        (Signal::Int, "SIGINT", "stops everything, exit 0"),
        (Signal::Hup, "SIGHUP", "is ignored, or stops everything if standard input is a terminal"),
        (Signal::Usr1, "SIGUSR1", "is ignored"),
        (Signal::Usr2, "SIGUSR2", "is ignored"),
    ] {
        let _ = match tasks.iter().rfind(|(_, task)| task.kind == Kind::Signal(signal)) {
            Some((_, task)) => writeln!(text, "  {name}: {}{}: {}", task.name, effect(task), command(task)),
            None => writeln!(text, "  {name}: {unless}"),
        };
    }
    text.push_str("  SIGQUIT: stops everything, exit 0\n");
    text
}

fn branch(text: &mut String, tasks: &[(usize, &Task)], at: usize, depth: usize) {
    let Some((_, task)) = tasks.iter().find(|(known, _)| *known == at) else { return };
    let once = if task.is_onetime { " (once)" } else { "" };
    let _ = writeln!(text, "{:indent$}{}{once}: {}", "", task.name, command(task), indent = depth * 2);
    for (below, _) in tasks.iter().filter(|(_, task)| task.kind == Kind::Child(at)) {
        branch(text, tasks, *below, depth + 1);
    }
}

fn effect(task: &Task) -> &'static str {
    match (task.shutdown, task.terminate) {
        (false, false) => "",
        (true, false) => ", with everything stopped meanwhile",
        (false, true) => ", then the end",
        (true, true) => ", with everything stopped before, then the end",
    }
}

/// As it would be run. An argument that is not one plain word is in quotes.
fn command(task: &Task) -> String {
    if task.path.is_empty() {
        return "(nothing)".to_string();
    }
    let quoted = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/=:,+@%$".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) { word.clone() } else { format!("{word:?}") }
    };
    let mut words: Vec<String> = std::iter::once(&task.path).chain(&task.args).map(quoted).collect();
    for (sign, output, usual) in [("1>", &task.stdout, Output::Stdout), ("2>", &task.stderr, Output::Stderr)] {
        if *output != usual {
            words.push(match output {
                Output::Stdout => format!("{sign}STDOUT"),
                Output::Stderr => format!("{sign}STDERR"),
                Output::Suppress => format!("{sign}SUPPRESS"),
                Output::File(path) => format!("{sign}{path}"),
            });
        }
    }
    words.join(" ")
}
