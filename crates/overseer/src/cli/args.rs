//! The arguments of `overseer`. Completions and the man page are made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;

const MORE: &str = "\
Procfile:
  Lines of 'name: command', each run by 'sh -c' in the directory of the file.
  Other lines are ignored. A file .env beside it sets variables. Each program
  gets PORT (100 more for each further program, 1 more for each further
  instance) and PS (web.1).

Output:
  Lines of the programs go to standard output and standard error, with the name
  of the program. Into a file nothing is lost, and a slow disk slows the
  programs down. A terminal or pipe that is not read never does: then the oldest
  lines beyond 4 MiB are lost, and that is said.

At the list (--listen):
  kill <id> [message], restart <id>, stop <id>, start [id], signal <id> <name>,
  logs [-f] <id> [n], help. When an operator has stopped the last program,
  overseer waits for a start, or for a signal.

Signals:
  INT, TERM, QUIT and HUP (unless it was ignored, as by nohup) stop all; a
  second one kills what is left.

Exit code:
  Of one command its own; 128 + n for a signal, 127 if it was not found, 126 if
  it cannot be run. Of several 1 if one has failed for good or could not be
  killed, else 0. 2 for a mistake in the arguments.";

/// Runs a command, or what a Procfile lists, and starts it again when it fails.
///
/// Nothing is left behind when it ends: each program is stopped with its whole process group (TERM, then KILL after the
/// grace), also when overseer itself is killed. SIGINT and SIGTERM stop all; a second one kills what is left.
///
/// `overseer [OPTIONS] -- COMMAND ARGS..` runs one command, `overseer [OPTIONS]` the programs of a Procfile.
#[derive(Debug, Parser)]
#[command(name = "overseer", version, max_term_width = 80, after_long_help = MORE)]
pub(crate) struct Args {
    /// The Procfile: lines of `name: command`.
    #[arg(short = 'f', long, value_name = "FILE", default_value = "Procfile", conflicts_with = "command")]
    pub(crate) procfile: PathBuf,

    /// How many of a program run: web=2, or all=2.
    #[arg(short = 'm', long, value_name = "NAME=N", value_delimiter = ',', value_parser = amount, conflicts_with = "command")]
    pub(crate) formation: Vec<(String, u32)>,

    /// Only these programs.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "command")]
    pub(crate) only: Vec<String>,

    /// PORT of the first program; each further one has 100 more. [default: PORT of .env or the environment, or 5000]
    #[arg(short = 'p', long, conflicts_with = "command")]
    pub(crate) port: Option<u16>,

    /// Show the processlist at this port of loopback or Unix socket: :8081, /run/app.sock.
    #[arg(long, value_name = "ADDR|PATH")]
    pub(crate) listen: Option<String>,

    /// When a program that has ended is started again.
    #[arg(long, value_enum, default_value = "on-failure", conflicts_with = "exit_on_any")]
    pub(crate) restart: When,

    /// The first exit, of whichever program, ends all, with its code.
    #[arg(long)]
    pub(crate) exit_on_any: bool,

    /// How long after TERM what is left is killed.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) grace: Duration,

    /// Print lines as they are, without the name of their program.
    #[arg(long)]
    pub(crate) no_prefix: bool,

    /// Colour the names. Automatic: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", default_missing_value = "always", num_args = 0..=1, require_equals = true)]
    pub(crate) color: Color,

    /// Print completions for a shell, and end.
    #[arg(long, value_enum, value_name = "SHELL")]
    pub(crate) completions: Option<Shell>,

    /// Print the man page, and end.
    #[arg(long)]
    pub(crate) man: bool,

    /// One command to run, in place of a Procfile.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Never,
    OnFailure,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Args {
    pub(crate) fn amounts(&self) -> BTreeMap<String, u32> {
        self.formation.iter().cloned().collect()
    }
}

fn amount(text: &str) -> Result<(String, u32), String> {
    let (name, n) = text.split_once('=').ok_or("use NAME=N: web=2")?;
    let n = n.trim().parse().ok().filter(|n| *n <= 99).ok_or("use a number from 0 to 99: web=2")?;
    Ok((name.trim().to_string(), n))
}

/// `5s`, `500ms`; a bare number is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = || text.parse::<u32>().ok().map(|n| Duration::from_secs(n.into()));
    seconds().or_else(|| humantime::parse_duration(text).ok()).ok_or_else(|| "use a time like 5s or 500ms".to_string())
}
