//! procmon: runs a tree of processes from a TOML file.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod check;
mod config;
mod honeycomb;
mod log;
mod outline;
mod run;
mod signals;
mod tree;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use futures_util::StreamExt;
use pm_overseer::LogLines;

use crate::args::Args;
use crate::config::{Config, Given};
use crate::honeycomb::Honeycomb;
use crate::log::Log;
use crate::run::Runner;
use crate::signals::Signals;
use crate::tree::{Printed, Tree};

/// The code for a mistake in the arguments, as the Go tool's flags have it.
const BAD_ARGUMENTS: u8 = 255;
/// How long the last events for honeycomb may take.
const LAST_EVENTS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = match Args::try_parse_from(args::with_two_dashes(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_ARGUMENTS } else { 0 });
        }
    };
    if let Some(shell) = args.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "procmon", &mut script);
        return printed(&script);
    }
    if args.man {
        let mut page = Vec::new();
        let _ = clap_mangen::Man::new(Args::command()).render(&mut page);
        return printed(&page);
    }
    let Some(file) = &args.file else {
        let _ = writeln!(io::stdout(), "a config file name is required!");
        return ExitCode::FAILURE;
    };
    match load(&args, file).and_then(|(config, warnings)| start(&args, config, &warnings)) {
        Ok(code) => ExitCode::from(code),
        Err(faults) => {
            for fault in faults {
                let _ = writeln!(io::stderr(), "{fault}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What is wrong, a line each.
type Faults = Vec<String>;

/// Whether it could be.
fn printed(text: &[u8]) -> ExitCode {
    if io::stdout().write_all(text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load(args: &Args, path: &Path) -> Result<(Config, Vec<String>), Faults> {
    let file = &path.display().to_string();
    let text = std::fs::read(path).map_err(|error| vec![format!("{file} cannot be read: {error}")])?;
    let text = String::from_utf8(text).map_err(|_| vec![format!("{file} is no text: it is not UTF-8")])?;
    let given = Given { env: env(), nocheck: args.nocheck, strict: args.strict };
    let said = |faults: Vec<config::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    config::load(file, &text, &given).map(|(config, warnings)| (config, said(warnings))).map_err(said)
}

fn env() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the tasks print.
async fn forward(mut lines: LogLines, honeycomb: Honeycomb) {
    let mut missed = 0;
    while let Some(line) = lines.next().await {
        honeycomb.line(&line.id, &line.text);
        let all = lines.missed();
        honeycomb.lose(all - std::mem::replace(&mut missed, all));
    }
}

fn start(args: &Args, config: Config, warnings: &[String]) -> Result<u8, Faults> {
    let said = |error: &dyn std::fmt::Display| vec![format!("procmon: {error}")];
    let env = env();
    let (honeycomb, sent) = match Honeycomb::of(&env).map_err(|error| said(&error))? {
        Some((honeycomb, sent)) if !args.dry_run => (Some(honeycomb), Some(sent)),
        _ => (None, None),
    };
    let (log, writing) = Log::spawn(&config.logger, honeycomb.clone()).map_err(|error| said(&error))?;
    let printed = if honeycomb.is_some() { Printed::Elsewhere } else { Printed::Here { has_prefix: args.prefix } };
    let tree = Tree::new(config, &args.only, printed, &log).map_err(|error| said(&error))?;
    if args.dry_run {
        for warning in warnings {
            let _ = writeln!(io::stderr(), "{warning}");
        }
        let shown = io::stdout().write_all(outline::of(&tree).as_bytes());
        return shown.map(|()| 0).map_err(|error| said(&error));
    }
    for warning in warnings {
        log.warn(warning).write();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| said(&error))?;
    if let Some(honeycomb) = &honeycomb {
        for lines in [tree.main.watch_logs(), tree.aside.watch_logs()] {
            runtime.spawn(forward(lines, honeycomb.clone()));
        }
    }
    let code = runtime.block_on(run(args, tree, log.clone())).map_err(|error| said(&error));
    // A monitor that still waits for its answer holds nothing up.
    runtime.shutdown_background();
    writing.finish(&log);
    if let (Some(honeycomb), Some(sent)) = (honeycomb, sent) {
        honeycomb.end();
        let _ = sent.recv_timeout(LAST_EVENTS);
    }
    code
}

async fn run(args: &Args, tree: Tree, log: Log) -> Result<u8, Box<dyn std::error::Error>> {
    // Before the first child: an ignored SIGCHLD would lose every status.
    pm_overseer::adopt_orphans()?;
    let mut signals = Signals::new()?;
    if let Some(address) = &args.listen {
        listen(&tree, address).await.map_err(|error| format!("--listen {address}: {error}"))?;
    }
    // Signals with a task that come before there is anything to run it beside.
    let mut early = Vec::new();
    for (name, check) in tree.config.prologue.clone() {
        let mut asking = std::pin::pin!(check::ask_apart(check));
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                came = signals.next() => match came.signal.and_then(|signal| tree.task_on(signal)) {
                    Some((at, _)) if came.signal != Some(config::Signal::Term) => early.push(at),
                    _ if came.is_end => {
                        log.info(format_args!("got {came}: nothing was started yet")).write();
                        return Ok(0);
                    }
                    _ => {}
                },
            }
        };
        if let Err(why) = answer {
            log.error("did not return ok").with("name", name.as_str()).with("why", why.as_str()).write();
            return Err(format!("the prologue '{}' failed: {why}", name.escape_debug()).into());
        }
    }
    log.open(&tree.config.logger.output);
    let code = Runner::new(tree, log, signals, early).run().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), pm_overseer::copied()).await;
    Ok(code)
}

async fn listen(tree: &Tree, address: &str) -> io::Result<()> {
    let list = pm::global();
    list.set_cols(pm_overseer::COLS);
    let server = list.server().commands(pm_overseer::commands([&tree.main, &tree.aside]));
    if address.contains('/') {
        let server = server.bind_unix(address).await?;
        tokio::spawn(server.serve());
    } else {
        server.spawn(address)?;
    }
    Ok(())
}
