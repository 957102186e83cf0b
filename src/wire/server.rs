//! What the server sends, made of what the list knows.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{KillRequest, Parts, Place, Places, Row, Spent, Step, Whole, time};
use crate::clock::Moment;
use crate::columns::Clearance;
use crate::entry::{Depth, Entry};
use crate::peer::Peer;
use crate::probe::Parked;
use crate::proc::{self, Outcome, Proc, Site};
use crate::rates::Rates;
use crate::stats::Stats;

/// The outcome of a kill that has none yet.
pub(crate) const RUNNING: &str = "running";

/// `GET /done`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    pub(crate) done: Vec<Ended>,
    #[serde(with = "time")]
    pub(crate) server_time: SystemTime,
}

/// A task that has ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// Seconds from the start to the end.
    pub(crate) time: f64,
    #[serde(with = "time")]
    pub(crate) end_time: SystemTime,
    pub(crate) outcome: &'static str,
}

/// `GET /stats`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    running: u64,
    being_killed: u64,
    started: u64,
    ended: u64,
    killed: u64,
    panicked: u64,
    clients: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<Oldest>,
    /// Bytes.
    memory: usize,
    #[serde(rename = "last10s")]
    last_10_seconds: Window,
    last_minute: Window,
    cut_short: CutShort,
    columns_left_out: u64,
}

/// What started and ended in some seconds; each count, and the times in seconds.
#[derive(Debug, Serialize)]
struct Window {
    seconds: f64,
    started: u64,
    ended: u64,
    killed: u64,
    panicked: u64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Window {
    fn new(rates: &Rates) -> Self {
        Window {
            seconds: rates.span.as_secs_f64(),
            started: rates.started,
            ended: rates.ended,
            killed: rates.killed,
            panicked: rates.panicked,
            p50: rates.p50.as_secs_f64(),
            p99: rates.p99.as_secs_f64(),
            max: rates.max.as_secs_f64(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Oldest {
    id: String,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct CutShort {
    ids: u64,
    statuses: u64,
    values: u64,
    messages: u64,
}

impl Counts {
    pub(crate) fn new(stats: &Stats, clients: usize) -> Self {
        let oldest = stats.oldest.as_ref().map(|(id, age)| Oldest { id: id.clone(), seconds: age.as_secs_f64() });
        let cut = &stats.truncations;
        Counts {
            running: stats.running,
            being_killed: stats.being_killed,
            started: stats.started,
            ended: stats.ended,
            killed: stats.killed,
            panicked: stats.panicked,
            clients,
            oldest,
            memory: stats.memory,
            last_10_seconds: Window::new(&stats.last_10_seconds),
            last_minute: Window::new(&stats.last_minute),
            cut_short: CutShort { ids: cut.ids, statuses: cut.statuses, values: cut.values, messages: cut.messages },
            columns_left_out: cut.columns,
        }
    }
}

/// `GET /commands`.
#[derive(Debug, Serialize)]
pub(crate) struct Commands {
    pub(crate) commands: Vec<Command>,
}

/// A command of the program's own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) usage: String,
    pub(crate) help: String,
    /// The one that it needs.
    pub(crate) role: &'static str,
    pub(crate) on_rows: bool,
}

impl Row {
    /// The task as it is.
    pub(crate) fn new(proc: Proc) -> Self {
        let status_time = proc.status_time();
        let ts = proc.killing.as_ref().map(|killing| proc.time_of(killing));
        let killing = proc.killing.zip(ts).map(|(killing, ts)| KillRequest {
            ts,
            message: killing.message,
            by: killing.by.as_ref().map(Peer::to_string),
        });
        Row {
            id: proc.id,
            attrs: proc.cols,
            proc_time: proc.started,
            status_time,
            status: proc.status,
            progress: proc.progress.map(|progress| Parts { done: progress.done, total: progress.total }),
            cancelling: killing.is_some(),
            killing,
            note: proc.note,
            parent: proc.parent,
            parked: None,
        }
    }

    /// With where it was parked, if somebody has looked.
    pub(crate) fn with_parked(mut self, parked: Option<&Parked>) -> Self {
        self.parked =
            parked.map(|Parked { ago, places }| Places { ts: SystemTime::now() - *ago, places: places.clone() });
        self
    }

    /// The task as the clients of the Go package know it: a kill is a status.
    pub(crate) fn in_list(proc: Proc) -> Self {
        let mut row = Row { note: None, ..Row::new(proc) };
        if let Some(killing) = row.killing.take()
            && row.status_time <= killing.ts
        {
            (row.status, row.status_time) = (cancel_request(&killing.message), killing.ts);
        }
        row
    }
}

/// The start of a task as its `procTime` says it.
pub(crate) fn time_of_start(entry: &Entry) -> String {
    let snapshot = entry.snapshot(Clearance::Public, Depth::Row, Moment::now());
    humantime::format_rfc3339_nanos(snapshot.proc.started).to_string()
}

/// The history of a task, with the request of its kill where it came.
pub(crate) fn steps(proc: &Proc) -> Vec<Step> {
    let step = |step: &proc::Step| Step { ts: proc.started + step.at, status: step.status.clone() };
    let mut steps: Vec<Step> = proc.history.iter().map(step).collect();
    if let Some(killing) = &proc.killing {
        let ts = proc.time_of(killing);
        let at = steps.partition_point(|step| step.ts <= ts);
        steps.insert(at, Step { ts, status: cancel_request(&killing.message) });
    }
    steps
}

impl Whole {
    pub(crate) fn new(proc: Proc, parked: Option<&Parked>, folded: u64, server_time: SystemTime) -> Self {
        let step = |step: &proc::Step| Step { ts: proc.started + step.at, status: step.status.clone() };
        let spent = |(status, time): &(String, Duration)| Spent { status: status.clone(), seconds: time.as_secs_f64() };
        Whole {
            time: proc.elapsed.as_secs_f64(),
            in_status: proc.in_status.as_secs_f64(),
            site: proc.site.as_ref().map(|Site { file, line }| Place { file: file.to_string(), line: *line }),
            history: proc.history.iter().map(step).collect(),
            folded,
            children: proc.children.clone(),
            profile: proc.profile.iter().map(spent).collect(),
            row: Row::new(proc).with_parked(parked),
            server_time,
        }
    }
}

impl Ended {
    pub(crate) fn new(proc: Proc) -> Self {
        Ended {
            time: proc.elapsed.as_secs_f64(),
            end_time: proc.started + proc.elapsed,
            outcome: proc.outcome.unwrap_or(Outcome::Ended).as_str(),
            row: Row { cancelling: false, ..Row::new(proc) },
        }
    }
}

fn cancel_request(message: &str) -> String {
    if message.is_empty() { "[cancel request]".to_string() } else { format!("[cancel request: {message}]") }
}
