//! Commands: what an operator can do to the programs, at the port of the list.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use pm::{Invocation, PortCommand, Reply, Role};

use crate::actor::Event;
use crate::error::Error;
use crate::future::{Restarted, Stopped};
use crate::overseer::Overseer;
use crate::shared::{Core, Shared};
use crate::signal::Signal;
use crate::status::{LogLine, Reason};
use crate::world::Id;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// So many programs are named to who has mistyped one.
const SOME: usize = 10;

/// So many lines `logs` shows, unless it is told a number.
const LINES: usize = 20;

/// Commands for [`Server::commands`](pm::Server::commands), for the programs of all these overseers: `restart`, `stop`,
/// `start`, `signal` and `logs`. They do not keep an overseer alive.
///
/// | command | does |
/// |---|---|
/// | `restart <id>`, `restart where <expression>` | [`Overseer::restart`], told when it runs again |
/// | `stop <id>`, `stop where <expression>` | [`Overseer::stop`], told when it is gone |
/// | `start <id>` | [`Overseer::start`]; alone it lists what is idle, which has no row |
/// | `signal <id> <name>`, `signal where <expression>` | [`Overseer::signal`] |
/// | `logs <id> [n]`, `logs -f <id>` | the last lines that it has printed; with `-f` also what comes, until Enter |
///
/// All but `logs` need the role to kill. Over HTTP they are at the rows of the page as well.
///
/// ```no_run
/// let overseer = pm_overseer::Overseer::new();
/// pm::set_cols(pm_overseer::COLS);
/// pm::global().server().commands(overseer.commands()).spawn(":8081")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn commands<'a>(overseers: impl IntoIterator<Item = &'a Overseer>) -> Vec<PortCommand> {
    let all: Programs = overseers.into_iter().map(|overseer| Arc::clone(overseer.shared())).collect();
    let command = |name: &str, usage: &str, help: &str| {
        let role = if name == "logs" { Role::See } else { Role::Kill };
        let (all, name) = (Arc::clone(&all), name.to_string());
        let run = name.clone();
        PortCommand::new(name, move |call| dispatch(run.clone(), Arc::clone(&all), call))
            .usage(usage)
            .help(help)
            .role(role)
    };
    vec![
        command("restart", "restart <id>", "stop a program and start it again; also where ..").on_rows().optional_row(),
        command("stop", "stop <id>", "end a program and its supervision; also where ..").on_rows().optional_row(),
        command("start", "start [id]", "supervise a program again; alone: what is idle"),
        command("signal", "signal <id> <name>", "send HUP, USR1, ..; where .., then signal @.. <name>")
            .on_rows()
            .optional_row(),
        command("logs", "logs [-f] <id> [n]", "the last lines that it printed; -f follows").on_rows().optional_row(),
    ]
}

impl Overseer {
    /// The [`commands`](crate::commands()) of this overseer.
    pub fn commands(&self) -> Vec<PortCommand> {
        commands([self])
    }
}

type Programs = Arc<[Arc<Shared>]>;

async fn dispatch(name: String, all: Programs, call: Invocation) -> Result<Reply, Fault> {
    match name.as_str() {
        "restart" => restart(&all, &call).await.map(Into::into),
        "stop" => stop(&all, &call).await.map(Into::into),
        "start" => start(&all, &call.args).map(Into::into),
        "signal" => signal(&all, &call).map(Into::into),
        _ => logs(&all, &call),
    }
}

async fn restart(all: &Programs, call: &Invocation) -> Result<String, Fault> {
    let (shared, id) = alone(all, call, "restart")?;
    let since = Instant::now();
    let status = Restarted::ask(&shared, &id).await?;
    let after = format!("after {:.1}s", since.elapsed().as_secs_f64());
    match (status.ready, status.pid) {
        (true, Some(pid)) => Ok(format!("restarted {id} {after}: pid {pid}")),
        _ => Err(format!("{id} did not come up {after}: {}", shared.look(|core| ended(core, &id))).into()),
    }
}

async fn stop(all: &Programs, call: &Invocation) -> Result<String, Fault> {
    let (shared, id) = alone(all, call, "stop")?;
    let since = Instant::now();
    let stopped = Stopped::ask(&shared, &id, Event::Stop(Reason::Stopped));
    if stopped.is_of_idle() {
        return Ok(format!("{id} is idle ({}): start {id} brings it back", shared.look(|core| ended(core, &id))));
    }
    let outcome = stopped.await?;
    let after = format!("after {:.1}s", since.elapsed().as_secs_f64());
    if outcome.left.is_empty() {
        return Ok(format!("stopped {id} {after}: {outcome}"));
    }
    let left: Vec<String> = outcome.left.iter().map(ToString::to_string).collect();
    Err(format!("{id} cannot be killed {after}: {}", left.join(", ")).into())
}

fn start(all: &Programs, args: &str) -> Result<String, Fault> {
    if args.is_empty() {
        return Ok(idle(all));
    }
    let (shared, id) = named(all, args).ok_or_else(|| unknown(all, args))?;
    Ok(shared.with(|core| {
        let was = core.world.node(&id).is_ok_and(|node| node.actor.is_supervised());
        core.step(&id, Event::Start);
        let Ok(node) = core.world.node(&id) else { return format!("started {id}") };
        match &node.parent {
            Some(parent) if node.actor.waits_for_parent() => {
                format!("{id} waits for {parent}: start {parent}, if that is idle")
            }
            _ if node.actor.is_to_begin_again() => format!("{id} is being stopped, and starts when that is done"),
            parent if was => format!("{id} is supervised already: {}", node.actor.describe(parent.as_deref())),
            _ => format!("started {id}"),
        }
    }))
}

fn signal(all: &Programs, call: &Invocation) -> Result<String, Fault> {
    let (id, name) = match &call.task {
        Some(_) => ("", call.args.as_str()),
        None => call.args.split_once([' ', '\t']).unwrap_or((&call.args, "")),
    };
    let (shared, id) = chosen(all, call, id)?;
    if name.trim().is_empty() {
        return Err("invalid command 'signal': signal <id> <name>: HUP, USR1, ..".into());
    }
    let signal: Signal = name.trim().parse()?;
    let pid = shared.with(|core| {
        core.step(&id, Event::Signal(signal));
        core.world.node(&id).ok().and_then(|node| node.actor.run().pid)
    });
    Ok(match pid {
        Some(pid) => format!("sent {signal} to {id}: group {pid}"),
        None => format!("{id} has no process now: nothing was sent"),
    })
}

fn logs(all: &Programs, call: &Invocation) -> Result<Reply, Fault> {
    let usage = || -> Fault { "invalid command 'logs': logs [-f] <id> [n]".into() };
    let mut words: Vec<&str> = call.args.split_whitespace().collect();
    let follow = words.iter().position(|word| *word == "-f").map(|at| words.remove(at)).is_some();
    let name = match &call.task {
        Some(_) => "",
        None if words.first().is_none_or(|word| word.starts_with('-')) => return Err(usage()),
        None => words.remove(0),
    };
    let (shared, id) = chosen(all, call, name)?;
    let lines = match words[..] {
        [] => LINES,
        [n] => n.parse().ok().filter(|n| *n > 0).ok_or_else(usage)?,
        _ => return Err(usage()),
    };
    let logs = shared.look(|core| core.logs_of(&id)).ok_or_else(|| gone(&id))?;
    if !follow {
        let last = logs.last(lines);
        return Ok(if last.is_empty() {
            format!("{id} has printed nothing that is kept").into()
        } else {
            last.join("\n").into()
        });
    }
    let (last, coming) = logs.follow(lines, &shared.logs);
    let mut missed = 0;
    let coming = stream::unfold(coming, |mut coming| async {
        let line = coming.next().await?;
        Some(((line, coming.missed()), coming))
    });
    let coming = coming.flat_map(move |(line, all_missed)| {
        let lost = std::mem::replace(&mut missed, all_missed);
        let lost = (all_missed > lost).then(|| format!("... {} lines missed", all_missed - lost));
        let text = |line: LogLine| String::from_utf8_lossy(&line.text).into_owned();
        let own = (line.id == id).then(|| text(line));
        stream::iter(lost.into_iter().chain(own))
    });
    Ok(Reply::lines(stream::iter(last).chain(coming)))
}

/// The programs that have no row, a line each.
fn idle(all: &Programs) -> String {
    let mut lines = Vec::new();
    for shared in all.iter() {
        shared.look(|core| {
            let idle = core.world.nodes().filter(|(_, node)| !node.actor.is_supervised());
            lines.extend(idle.map(|(id, _)| format!("{id}  {}", ended(core, id))));
        });
    }
    if lines.is_empty() { "nothing is idle".to_string() } else { lines.join("\n") }
}

fn ended(core: &Core, id: &str) -> String {
    // A supervision may have been ended in its backoff: what one wants to know is how the run before that ended.
    let last = core.world.node(id).ok().and_then(|node| node.actor.last_run());
    let how = last.unwrap_or("it did not run");
    match core.last(id).map(|outcome| outcome.reason) {
        None | Some(Reason::Finished) => how.to_string(),
        Some(Reason::Stopped) => format!("{how}, stopped"),
        Some(Reason::Killed(message)) if message.is_empty() => format!("{how}, killed"),
        Some(Reason::Killed(message)) => format!("{how}, killed: {message}"),
        Some(Reason::GaveUp) => format!("{how}, given up"),
    }
}

/// The program that this command is about, which takes nothing else.
fn alone(all: &Programs, call: &Invocation, command: &str) -> Result<(Arc<Shared>, Id), Fault> {
    if call.task.is_some() && !call.args.trim().is_empty() {
        return Err(format!("invalid command '{command}': {command} <id>, and nothing after it").into());
    }
    chosen(all, call, &call.args)
}

/// The program of the row, or the one that is named in its place.
fn chosen(all: &Programs, call: &Invocation, name: &str) -> Result<(Arc<Shared>, Id), Fault> {
    match &call.task {
        Some(task) => of_row(all, &task.id).ok_or_else(|| no_program(&task.id)),
        None => named(all, name).ok_or_else(|| unknown(all, name)),
    }
}

fn of_row(all: &Programs, row: &str) -> Option<(Arc<Shared>, Id)> {
    all.iter().find_map(|shared| Some((Arc::clone(shared), shared.look(|core| core.of_row(row))?)))
}

fn named(all: &Programs, name: &str) -> Option<(Arc<Shared>, Id)> {
    let printed = Invocation::parse_id(name);
    let known = |shared: &Arc<Shared>| {
        shared.look(|core| printed.as_deref().and_then(|id| core.world.key(id)).or_else(|| core.world.key(name)))
    };
    all.iter().find_map(|shared| Some((Arc::clone(shared), known(shared)?)))
}

fn no_program(id: &str) -> Fault {
    format!("{id} is no child process").into()
}

fn unknown(all: &Programs, id: &str) -> Fault {
    let mut names = Vec::new();
    for shared in all.iter() {
        shared.look(|core| names.extend(core.world.nodes().map(|(id, _)| id.to_string())));
    }
    let more = if names.len() > SOME { ", .." } else { "" };
    names.truncate(SOME);
    format!("no such program '{}': there is {}{more}", id.escape_debug(), names.join(", ")).into()
}

fn gone(id: &str) -> Fault {
    Error::Closed { id: id.to_string() }.into()
}
