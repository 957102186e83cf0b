//! overseer: runs a command or a Procfile, and leaves nothing behind.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod printer;
mod procfile;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use futures_util::StreamExt;
use pm_overseer::{Outcome, Overseer, Program, Reason, Restart, State, StateChanges};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Args, When};
use crate::printer::{Notes, Printer};
use crate::procfile::Wanted;

/// How often it is told what holds up the end.
const STILL_STOPPING: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(shell) = args.completions {
        clap_complete::generate(shell, &mut Args::command(), "overseer", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    if args.man {
        return code_of(clap_mangen::Man::new(Args::command()).render(&mut std::io::stdout()).map(|()| 0));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    code_of(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))))
}

type Fault = Box<dyn std::error::Error>;

fn code_of(result: Result<u8, impl std::fmt::Display>) -> ExitCode {
    result.map_or_else(
        |error| {
            eprintln!("overseer: {error}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

async fn run(args: &Args) -> Result<u8, Fault> {
    let programs = programs(args)?;
    let names: Vec<String> = programs.iter().map(|(name, _)| name.clone()).collect();
    // Before the first child: an ignored SIGCHLD would lose every status.
    pm_overseer::adopt_orphans()?;
    let overseer = Overseer::new();
    for (name, program) in programs {
        let restart = match args.restart {
            _ if args.exit_on_any => Restart::Never,
            When::Never => Restart::Never,
            When::OnFailure => Restart::OnFailure,
            When::Always => Restart::Always,
        };
        overseer.add(name, program.restart(restart).grace(args.grace).die_with_parent(true))?;
    }
    if let Some(address) = &args.listen {
        listen(&overseer, address).await.map_err(|error| format!("--listen {address}: {error}"))?;
    }
    let mut signals = Signals::new()?;
    let printing = Printer::new(names.clone(), !args.no_prefix, args.color).spawn(overseer.watch_logs())?;
    let notes = Notes::spawn()?;
    let telling = tokio::spawn(tell(overseer.clone(), overseer.watch_state(), notes.clone()));

    let first = supervise(&overseer, &names, args.exit_on_any, &mut signals, &notes).await;
    let outcomes: Vec<Outcome> = names.iter().filter_map(|name| overseer.last_outcome(name)).collect();
    telling.abort();
    let _ = telling.await;
    drop(overseer);
    printing.finish();
    Ok(match (first, &outcomes[..]) {
        (Some(first), _) => code(&first),
        (None, [one]) => code(one),
        (None, all) => u8::from(all.iter().any(|outcome| outcome.reason == Reason::GaveUp || !outcome.left.is_empty())),
    })
}

fn programs(args: &Args) -> Result<Vec<(String, Program)>, Fault> {
    if let Some((command, rest)) = args.command.split_first() {
        let name = command.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(command);
        return Ok(vec![(name.to_string(), Program::new(command).args(rest))]);
    }
    let wanted = Wanted { file: &args.procfile, only: &args.only, amounts: args.amounts(), port: args.port };
    let programs = procfile::programs(&wanted)?;
    if programs.is_empty() {
        return Err("no program is left to run: see -m and --only".into());
    }
    Ok(programs)
}

async fn listen(overseer: &Overseer, address: &str) -> std::io::Result<()> {
    let list = pm::global();
    list.set_cols(pm_overseer::COLS);
    let server = list.server().commands(overseer.commands());
    if address.contains('/') {
        let server = server.bind_unix(address).await?;
        tokio::spawn(server.serve());
    } else {
        server.spawn(address)?;
    }
    Ok(())
}

/// Runs them all until nothing is left to be done. The outcome of the first one that ended, if that ends all.
async fn supervise(
    overseer: &Overseer,
    names: &[String],
    exit_on_any: bool,
    signals: &mut Signals,
    notes: &Notes,
) -> Option<Outcome> {
    let mut first = None;
    let mut ended: futures_util::stream::FuturesUnordered<_> = match exit_on_any {
        true => names.iter().map(|name| overseer.supervise(name)).collect(),
        false => Default::default(),
    };
    let mut all = std::pin::pin!(async {
        match exit_on_any {
            true => std::future::pending().await,
            false => overseer.supervise_all().signals(false).await,
        }
    });
    let mut is_stopping = false;
    let mut pace = tokio::time::interval(STILL_STOPPING);
    loop {
        tokio::select! {
            () = &mut all => return None,
            outcome = ended.next(), if exit_on_any => match outcome {
                None => return first,
                Some(outcome) => {
                    first = first.or(outcome.ok());
                    if !std::mem::replace(&mut is_stopping, true) {
                        pace.reset();
                        drop(overseer.stop_all());
                    }
                }
            },
            () = signals.next() => {
                let asked = if is_stopping { overseer.kill_all() } else { overseer.stop_all() };
                // Whoever supervises waits already.
                drop(asked);
                if !std::mem::replace(&mut is_stopping, true) {
                    pace.reset();
                }
            }
            _ = pace.tick(), if is_stopping => {
                let left: Vec<String> = names.iter().filter_map(|name| pm::global().get(name)).map(|row| format!("{} ({})", row.id, row.status)).collect();
                notes.say(&format!("still stopping: {}", left.join(", ")));
            }
        }
    }
}

/// Says what becomes of the programs.
async fn tell(overseer: Overseer, mut changes: StateChanges, notes: Notes) {
    while let Some(change) = changes.next().await {
        let Some(status) = overseer.status(&change.id) else { continue };
        if status.generation != change.generation && change.state != State::Running {
            continue;
        }
        let ended = || match (&status.error, status.exit_code, status.signal) {
            (Some(error), ..) => error.clone(),
            (None, Some(code), _) => format!("exit code {code}"),
            (None, None, Some(signal)) => pm_overseer::Signal::from_raw(signal)
                .map_or_else(|| format!("signal {signal}"), |signal| signal.to_string()),
            (None, None, None) => "not running".to_string(),
        };
        match change.state {
            State::Running => {
                if let Some(pid) = status.pid {
                    notes.say(&format!("{} runs: pid {pid}", change.id));
                }
            }
            State::Finished | State::Interrupted | State::Fatal => notes.say(&format!("{}: {}", change.id, ended())),
            State::Waiting => {
                if let Some(next) = status.next_start {
                    notes.say(&format!("{}: {}: starts again in {:.1}s", change.id, ended(), next.as_secs_f64()));
                }
            }
            _ => {}
        }
    }
}

/// The code of a shell for how a program ended.
fn code(outcome: &Outcome) -> u8 {
    match (&outcome.error, outcome.exit_code, outcome.signal) {
        (_, Some(code), _) => u8::try_from(code).unwrap_or(1),
        (_, None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(1),
        (Some(error), None, None) if error.ends_with("is not on PATH") || error.ends_with("is not there") => 127,
        (Some(_), None, None) => 126,
        (None, None, None) => 0,
    }
}

/// What asks for the end. A SIGHUP that was ignored stays so: that is what nohup is for.
struct Signals {
    int: Signal,
    term: Signal,
    quit: Signal,
    hup: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        let hup = (ignored & 1 == 0).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Signals {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hup,
        })
    }

    async fn next(&mut self) {
        let hup = async {
            match &mut self.hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { _ = self.int.recv() => {} _ = self.term.recv() => {} _ = self.quit.recv() => {} _ = hup => {} }
    }
}
