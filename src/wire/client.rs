//! What the client reads, and what it makes of it.

use std::time::{Duration, SystemTime};

use super::{Parts, Row, Step, Whole, time};
use crate::proc::{self, Killing, Proc, Site};
use crate::progress::Progress;

/// `GET /procs/`. The server writes it piece by piece.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List {
    pub(crate) procs: Vec<Row>,
    #[serde(with = "time")]
    pub(crate) server_time: SystemTime,
}

/// The body of `DELETE /procs/<id>`.
pub(crate) fn kill_message(message: &str) -> Vec<u8> {
    serde_json::json!({ "message": message }).to_string().into_bytes()
}

impl Row {
    /// What it was made of, as far as it tells. `now` is the time of the server.
    pub(crate) fn into_proc(self, now: SystemTime) -> Proc {
        let since = |then: SystemTime| now.duration_since(then).unwrap_or_default();
        let killing =
            self.killing.map(|killing| Killing { since: since(killing.ts), message: killing.message, by: None });
        // The list of the Go package has the kill in the status.
        let told = || Killing {
            message: cancel_message(&self.status).unwrap_or_default().to_string(),
            by: None,
            since: since(self.status_time),
        };
        let killing = killing.or_else(|| self.cancelling.then(told));
        Proc {
            id: self.id,
            status: self.status,
            site: None,
            cols: self.attrs,
            started: self.proc_time,
            elapsed: since(self.proc_time),
            in_status: since(self.status_time),
            progress: self.progress.filter(|parts| parts.total > 0).map(|Parts { done, total }| Progress {
                done,
                total,
                made: 0,
                since: Duration::ZERO,
            }),
            history: Vec::new(),
            profile: Vec::new(),
            killing,
            outcome: None,
            note: self.note,
            parent: self.parent,
            children: Vec::new(),
        }
    }
}

impl Whole {
    /// What it was made of.
    pub(crate) fn into_proc(self) -> Proc {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let started = self.row.proc_time;
        let step =
            |step: Step| proc::Step { at: step.ts.duration_since(started).unwrap_or_default(), status: step.status };
        Proc {
            elapsed: seconds(self.time),
            in_status: seconds(self.in_status),
            site: self.site.map(|place| Site { file: place.file.into(), line: place.line }),
            history: self.history.into_iter().map(step).collect(),
            children: self.children,
            profile: self.profile.into_iter().map(|spent| (spent.status, seconds(spent.seconds))).collect(),
            ..self.row.into_proc(self.server_time)
        }
    }
}

/// The message in a status that tells of a kill.
fn cancel_message(status: &str) -> Option<&str> {
    status.strip_prefix("[cancel request: ")?.strip_suffix(']')
}
