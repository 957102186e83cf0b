//! overseer: runs a command or a Procfile, and leaves nothing behind.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod printer;
mod procfile;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pm_overseer::future::AllStopped;
use pm_overseer::{Outcome, Output, Overseer, Program, Reason, Restart, State, StateChange, StateChanges};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Args, When};
use crate::printer::Notes;
use crate::procfile::Wanted;

/// How often it is told what holds up the end.
const STILL_STOPPING: Duration = Duration::from_secs(5);
/// How far apart two signals are.
const APART: Duration = Duration::from_millis(50);
/// How often it is told that lines were lost.
const LOST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(shell) = args.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "overseer", &mut script);
        return code_of(std::io::stdout().write_all(&script).map(|()| 0));
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
            let _ = writeln!(std::io::stderr(), "overseer: {error}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

async fn run(args: &Args) -> Result<u8, Fault> {
    let programs = programs(args)?;
    let names: Vec<String> = programs.iter().map(|(name, _)| name.clone()).collect();
    let prefixes = match args.no_prefix {
        true => vec![String::new(); names.len()],
        false => printer::prefixes(&names, args.color),
    };
    // Before the first child: an ignored SIGCHLD would lose every status.
    pm_overseer::adopt_orphans()?;
    let overseer = Overseer::new();
    let restart = match args.restart {
        _ if args.exit_on_any => Restart::Never,
        When::Never => Restart::Never,
        When::OnFailure => Restart::OnFailure,
        When::Always => Restart::Always,
    };
    for ((name, program), prefix) in programs.into_iter().zip(prefixes) {
        let program = program.stdout(Output::Stdout(prefix.clone())).stderr(Output::Stderr(prefix));
        overseer.add(name, program.restart(restart).grace(args.grace).die_with_parent(true))?;
    }
    let (notes, saying) = Notes::spawn()?;
    if let Some(address) = &args.listen {
        let how = listen(&overseer, address).await.map_err(|error| format!("--listen {address}: {error}"))?;
        notes.say(&format!("the list is at {how}"));
    }
    let mut signals = Signals::new()?;
    let telling = tokio::spawn(tell(overseer.watch_state(), notes.clone()));

    let first = supervise(&overseer, args, &mut signals, &notes).await;
    let outcomes: Vec<Outcome> = names.iter().filter_map(|name| overseer.last_outcome(name)).collect();
    // To who reads slowly, too; but a signal is not held up by that.
    let patience = if signals.has_come { Duration::from_secs(1) } else { Duration::MAX };
    tokio::select! {
        _ = tokio::time::timeout(patience, pm_overseer::copied()) => {}
        () = signals.next() => {}
    }
    drop(overseer);
    let last = tokio::time::timeout(Duration::from_secs(1), telling).await.ok().and_then(Result::ok).flatten();
    drop(notes);
    saying.finish();
    Ok(match (first, &outcomes[..]) {
        (Some(first), _) => code(&first.error, first.exit_code, first.signal),
        // It may have been stopped while it waited for its next start.
        (None, [_]) => last.map_or(0, |last| code(&last.error, last.exit_code, last.signal)),
        (None, all) => u8::from(all.iter().any(has_failed)),
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

/// Shows the list there. How to look at it.
async fn listen(overseer: &Overseer, address: &str) -> std::io::Result<String> {
    let list = pm::global();
    list.set_cols(pm_overseer::COLS);
    let server = list.server().commands(overseer.commands());
    if address.contains('/') {
        let server = server.bind_unix(address).await?;
        tokio::spawn(server.serve());
        return Ok(format!("nc -U {address}"));
    }
    let address = server.spawn(address)?;
    Ok(format!("nc {} {}", address.ip(), address.port()))
}

/// Runs them all until nothing is left to be done. The outcome of the first one that ended, if that ends all.
async fn supervise(overseer: &Overseer, args: &Args, signals: &mut Signals, notes: &Notes) -> Option<Outcome> {
    let mut first = None;
    let mut ended: FuturesUnordered<_> = match args.exit_on_any {
        true => overseer.list().into_iter().map(|status| overseer.supervise(status.id)).collect(),
        false => FuturesUnordered::default(),
    };
    let mut stopping: Option<AllStopped> = None;
    let is_stopping = Cell::new(false);
    let mut first_signal = None;
    let mut all = std::pin::pin!(async {
        if args.exit_on_any {
            return std::future::pending().await;
        }
        overseer.supervise_all().signals(false).await;
        if args.listen.is_some() && !is_stopping.get() && was_stopped_by_hand(overseer) {
            notes.say("nothing runs any more: start <id>, at the list, brings a program back; ^C ends overseer");
            std::future::pending::<()>().await;
        }
    });
    let mut pace = tokio::time::interval(STILL_STOPPING);
    let mut look = tokio::time::interval(LOST_LINES);
    let mut lost = BTreeMap::new();
    loop {
        tokio::select! {
            () = &mut all => return None,
            () = async {
                match &mut stopping {
                    Some(stopping) => stopping.await,
                    None => std::future::pending().await,
                }
            } => return first,
            outcome = ended.next(), if args.exit_on_any => match outcome {
                None => return first,
                Some(outcome) => {
                    first = first.or(outcome.ok());
                    if !is_stopping.replace(true) {
                        pace.reset();
                        drop(overseer.stop_all());
                    }
                }
            },
            () = signals.next() => {
                // One that comes at once is part of the first: `timeout` signals its child, and then its group.
                let since_first = first_signal.get_or_insert_with(Instant::now).elapsed();
                let is_second = is_stopping.get() && since_first >= APART;
                if is_stopping.replace(true) && !is_second {
                    continue;
                }
                stopping = Some(if is_second { overseer.kill_all() } else { overseer.stop_all() });
                if !is_second {
                    notes.say("stopping: a second signal kills what is left");
                    pace.reset();
                }
            }
            _ = pace.tick(), if is_stopping.get() => notes.say(&format!("still stopping: {}", still_there(overseer))),
            _ = look.tick() => tell_lost(overseer, &mut lost, notes),
        }
    }
}

/// An operator has stopped a program, and may want it back.
fn was_stopped_by_hand(overseer: &Overseer) -> bool {
    let reasons = overseer.list().into_iter().filter_map(|status| overseer.last_outcome(status.id));
    reasons.map(|outcome| outcome.reason).any(|reason| matches!(reason, Reason::Stopped | Reason::Killed(_)))
}

/// What holds up the end, and how long it still may.
fn still_there(overseer: &Overseer) -> String {
    let rows = overseer.list().into_iter().filter_map(|status| Some((pm::global().get(&status.id)?, status)));
    let words = rows.map(|(row, status)| match status.kill_in {
        Some(wait) => format!("{} (KILL in {:.0}s)", row.id, wait.as_secs_f64()),
        None => format!("{} ({})", row.id, row.status),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Says what was lost since it was last looked.
fn tell_lost(overseer: &Overseer, known: &mut BTreeMap<String, u64>, notes: &Notes) {
    for status in overseer.list() {
        let before = known.insert(status.id.clone(), status.lines_dropped).unwrap_or(0);
        if status.lines_dropped > before {
            let lines = status.lines_dropped - before;
            notes.say(&format!("{}: lost {lines} of its lines: what takes them is slow, or full", status.id));
        }
    }
}

/// Says what becomes of the programs. How the last run ended.
async fn tell(mut changes: StateChanges, notes: Notes) -> Option<StateChange> {
    let mut last = None;
    while let Some(change) = changes.next().await {
        let id = &change.id;
        match (change.state, change.pid, change.next_start) {
            (State::Running, Some(pid), _) => notes.say(&format!("{id} runs: pid {pid}")),
            (State::Waiting, _, Some(next)) => notes.say(&format!("{id} starts again in {:.1}s", next.as_secs_f64())),
            (State::Initial, ..) => notes.say(&format!("{id} is not started again{}", why(&change))),
            (state, ..) if state.is_final() => {
                notes.say(&format!("{id}: {}{}", ended(&change), why(&change)));
                last = Some(change);
            }
            _ => {}
        }
    }
    last
}

fn ended(change: &StateChange) -> String {
    match (&change.error, change.exit_code, change.signal) {
        (Some(error), ..) => error.clone(),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => pm_overseer::Signal::from_raw(signal)
            .map_or_else(|| format!("signal {signal}"), |signal| signal.to_string()),
        (None, None, None) => "exit status lost".to_string(),
    }
}

fn why(change: &StateChange) -> String {
    match &change.reason {
        Some(Reason::Killed(message)) if message.is_empty() => ", killed".to_string(),
        Some(Reason::Killed(message)) => format!(", killed: {}", message.escape_debug()),
        Some(Reason::Stopped) => ", stopped".to_string(),
        _ => String::new(),
    }
}

/// By itself, and not because it was stopped; or not even that.
fn has_failed(outcome: &Outcome) -> bool {
    let is_stopped = matches!(outcome.reason, Reason::Stopped | Reason::Killed(_));
    !outcome.left.is_empty() || !(is_stopped || outcome.is_success())
}

/// The code of a shell for how a program ended.
fn code(error: &Option<String>, exit_code: Option<i32>, signal: Option<i32>) -> u8 {
    match (error, exit_code, signal) {
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
    has_come: bool,
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
            has_come: false,
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
        self.has_come = true;
    }
}
