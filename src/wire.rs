//! Wire: the objects that the HTTP server sends and the client reads.
//!
//! Their names and shapes are those of the Go package VividCortex/pm; what it does not have is added, and absent
//! when it does not apply.

mod attrs;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "http")]
mod json;
#[cfg(feature = "http")]
mod server;
mod time;

use std::time::SystemTime;

use serde::Serialize;

#[cfg(feature = "client")]
pub(crate) use client::{List, kill_message};
#[cfg(feature = "http")]
pub(crate) use json::{JsonList, to_json};
#[cfg(feature = "http")]
pub(crate) use server::{Command, Commands, Counts, Done, Ended, RUNNING, steps, time_of_start};

/// A running task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) id: String,
    #[serde(with = "attrs", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attrs: Vec<(String, String)>,
    /// When it started.
    #[serde(with = "time")]
    pub(crate) proc_time: SystemTime,
    /// When its status was set.
    #[serde(with = "time")]
    pub(crate) status_time: SystemTime,
    pub(crate) status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Parts>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancelling: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) killing: Option<KillRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parked: Option<Places>,
}

/// Where a task was parked when somebody looked last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct Places {
    #[serde(with = "time")]
    pub(crate) ts: SystemTime,
    pub(crate) places: Vec<String>,
}

/// How far a task has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct Parts {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// A kill that is under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct KillRequest {
    /// When it was requested.
    #[serde(with = "time")]
    pub(crate) ts: SystemTime,
    pub(crate) message: String,
    /// By whom, in words; absent if by the program itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// `GET /procs/<id>`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Whole {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// Seconds since the start, and in the status.
    pub(crate) time: f64,
    #[serde(rename = "in_status")]
    pub(crate) in_status: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<Place>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) children: Vec<String>,
    pub(crate) history: Vec<Step>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) folded: u64,
    pub(crate) profile: Vec<Spent>,
    #[serde(with = "time")]
    pub(crate) server_time: SystemTime,
}

/// [`Site`].
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// A status and when it was entered.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct Step {
    #[serde(with = "time")]
    pub(crate) ts: SystemTime,
    pub(crate) status: String,
}

/// The time spent in all, in one status.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct Spent {
    pub(crate) status: String,
    pub(crate) seconds: f64,
}

/// `GET /procs/<id>/history`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct History {
    pub(crate) history: Vec<Step>,
    /// How many there were before these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) folded: u64,
    #[serde(with = "time")]
    pub(crate) server_time: SystemTime,
}

/// What `DELETE /procs/<id>?wait=5s` answers.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "client", derive(serde::Deserialize))]
pub(crate) struct KillResult {
    /// That of the task; `running` if it has none yet.
    pub(crate) outcome: String,
    /// From the kill to the end, or up to now.
    pub(crate) seconds: f64,
    pub(crate) status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// Of a task that is still running: whether one of its kill points has seen the kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<bool>,
    /// Of one that has not seen it: whether it has passed a kill point so far.
    #[serde(default, rename = "killPoint", skip_serializing_if = "Option::is_none")]
    pub(crate) kill_point: Option<bool>,
    /// How many tasks below it have taken the kill as well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) below: u64,
}

/// The `Server` header of each answer: a client that knows it may send what the Go package would misunderstand.
pub(crate) const SERVER: &str = "pm";

fn is_zero(n: &u64) -> bool {
    *n == 0
}
