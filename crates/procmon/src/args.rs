//! The arguments of `procmon`. Completions and the man page are made of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::BoolishValueParser;
use clap_complete::Shell;

const MORE: &str = "\
Options may have one dash or two.

Exit code:
  0 after SIGTERM, a clean SIGINT, or a task that terminates; 1 for a mistake in
  the file, a prologue that failed, or a SIGINT that took longer than
  SHUTDOWN_MAX; 255 for a mistake in the arguments.";

/// Runs a tree of processes from a TOML file.
///
/// When a task dies, its children are stopped first, and come back after it. docs/procmon.md describes the file.
#[derive(Debug, Parser)]
#[command(name = "procmon", version, max_term_width = 80, after_help = MORE)]
pub(crate) struct Args {
    /// The file that describes the tasks.
    #[arg(value_name = "CONFIGFILE")]
    pub(crate) file: Option<PathBuf>,

    /// Let [env] use variables that are nowhere defined.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_default_value = true)]
    pub(crate) nocheck: bool,

    /// Take warnings of the file for errors.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_default_value = true)]
    pub(crate) strict: bool,

    /// Print the tree, the commands, and what each signal does. Nothing is started.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_default_value = true)]
    pub(crate) dry_run: bool,

    /// Put the name of a task before its lines on standard output and standard error.
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_default_value = true)]
    pub(crate) prefix: bool,

    /// Show the processlist at this port of loopback or Unix socket: :8081, /run/procmon.sock.
    #[arg(long, value_name = "ADDR|PATH")]
    pub(crate) listen: Option<String>,

    /// Only these tasks, and what they need.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Print completions for a shell, and end.
    #[arg(long, value_enum, value_name = "SHELL")]
    pub(crate) completions: Option<Shell>,

    /// Print the man page, and end.
    #[arg(long)]
    pub(crate) man: bool,
}

/// Long options with one dash get the second one: `-nocheck=false`, as the flags of Go.
pub(crate) fn with_two_dashes(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_option = true;
    let rewritten = args.enumerate().map(|(n, arg)| {
        let text = arg.to_str().unwrap_or_default();
        is_option &= text != "--";
        let is_long = text.len() > 2 && text.starts_with('-') && !text.starts_with("--");
        if n > 0 && is_option && is_long { format!("-{text}").into() } else { arg }
    });
    rewritten.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        let args = ["procmon"].iter().chain(args).map(OsString::from);
        Args::try_parse_from(with_two_dashes(args))
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for args in
            [["-nocheck", "f.toml"], ["--nocheck", "f.toml"], ["f.toml", "-nocheck=true"], ["f.toml", "--nocheck=1"]]
        {
            let parsed = parse(&args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
            assert!(parsed.nocheck && parsed.file == Some("f.toml".into()), "{args:?}");
        }
        let parsed = parse(&["-nocheck=false", "-only", "a,b", "-listen=:8081", "f.toml"]).expect("they are right");
        assert!(!parsed.nocheck && parsed.only == ["a", "b"] && parsed.listen.as_deref() == Some(":8081"));
        assert!(parse(&["-nochek", "f.toml"]).is_err() && parse(&["f.toml", "g.toml"]).is_err());
        assert_eq!(parse(&[]).map(|args| args.file).ok(), Some(None));
    }
}
