//! Procs: the list, one task, and its kill.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration;
use crate::entry::{Depth, Entry, KillReply, Reach};
use crate::escape;
use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::query::Params;
use crate::http::shared::Http;
use crate::http::target::{self, Part, Target};
use crate::http::{body, reply};
use crate::kill::Kill;
use crate::killed::KillError;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::pending_kill::WaitOutcome;
use crate::probe::Parked;
use crate::proc::Proc;
use crate::render::Lane;
use crate::stack::{self, Known};
use crate::view::{Selection, View};
use crate::wire;

/// How long a kill may be waited for.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// `GET /procs/?where=..&sort=..&limit=..`
pub(super) async fn list(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Fault> {
    let [filter, sort, limit] = params.take(["where", "sort", "limit"])?;
    let list = http.service.list.clone();
    let limit = reply::limit(limit.as_deref())?.unwrap_or(usize::MAX);
    let clearance = caller.clearance();
    let rendering = async move {
        let mut view = View::new(limit, clearance);
        view.filter_by(filter.as_deref().unwrap_or_default().trim(), &list)?;
        view.sort_by(sort.as_deref().unwrap_or_default().trim(), &list)?;
        Ok::<_, String>(rows(&list, &view).await)
    };
    let size = http.service.list.len();
    let made = http.service.renderer.make(caller.client, Lane::Asked, size, rendering).await;
    made.ok_or_else(Fault::not_made)?.map(reply::json_bytes).map_err(Fault::bad_request)
}

async fn rows(list: &ProcList, view: &View) -> Vec<u8> {
    let (now, mut pace) = (Moment::now(), Pace::in_pieces());
    let known = Known::now();
    let Selection { tasks, .. } = view.select(list, now);
    let mut json = wire::JsonList::begin("procs", 256 * tasks.len());
    for task in tasks {
        pace.breathe().await;
        let proc = task.snapshot(view.clearance, Depth::Row, now).without_secrets();
        if proc.outcome.is_none() {
            json.push(&wire::Row::in_list(proc).with_parked(known.of(&task)));
        }
    }
    json.end(SystemTime::now())
}

/// `GET /procs/<id>` and what is below it.
pub(super) async fn task(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Fault> {
    let Target { id, part } = target::parse(uri.path()).map_err(Fault::bad_request)?;
    if part == Part::Stack {
        let entry = http.service.list.find(&id).ok_or_else(|| no_such_process(&id))?;
        let text = stack::of_task(entry).await.ok_or_else(|| no_such_process(&id))?;
        return Ok((text + "\n").into_response());
    }
    let (proc, parked, folded) = find(&http.service.list, &id, caller.clearance())?;
    let server_time = SystemTime::now();
    match part {
        Part::Task | Part::Stack => Ok(reply::json(&wire::Whole::new(proc, parked.as_ref(), folded, server_time))),
        Part::History => Ok(reply::json(&wire::History { history: wire::steps(&proc), folded, server_time })),
    }
}

/// The running task of that name, where it was parked, and how many statuses came before those of its history.
fn find(list: &ProcList, id: &str, clearance: Clearance) -> Result<(Proc, Option<Parked>, u64), Fault> {
    let entry = list.find(id).ok_or_else(|| no_such_process(id))?;
    let snapshot = entry.snapshot(clearance, Depth::All, Moment::now());
    if snapshot.end.is_some() {
        return Err(no_such_process(id));
    }
    let folded = snapshot.folded;
    Ok((snapshot.without_secrets(), Known::now().of(&entry).cloned(), folded))
}

/// `DELETE /procs/<id>?wait=5s&started=2026-11-26T10:12:39.204911604Z`. The second one is the `procTime` of the task that is
/// meant: another one may have its id by now.
pub(super) async fn kill(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    params: Params,
    body: Body,
) -> Result<Response, Fault> {
    let Target { id, part } = target::parse(uri.path()).map_err(Fault::bad_request)?;
    if part != Part::Task {
        return Err(Fault::method("GET,HEAD"));
    }
    caller.may_kill()?;
    let [wait, started] = params.take(["wait", "started"])?;
    let wait = wait.map(|text| wait_time(&text)).transpose().map_err(Fault::bad_request)?;
    let message = message(&body::read(body).await?)?;
    let list = &http.service.list;
    let entry = list.find(&id).ok_or_else(|| no_such_process(&id))?;
    if started.is_some_and(|started| started != wire::time_of_start(&entry)) {
        let other = format!("no such process '{}': another task has this id now", escape::echo(&id));
        return Err(Fault::not_found(other));
    }
    let kill = match list.request(&entry, message, Some(Arc::clone(&caller.peer))) {
        // The first message stays.
        KillReply::Accepted(kill) | KillReply::Already(kill) => kill,
        KillReply::Forbidden => return Err(Fault::forbidden(KillError::Forbidden { id }.to_string())),
        KillReply::Independent | KillReply::Ended => return Err(no_such_process(&id)),
    };
    match wait {
        None => Ok(StatusCode::OK.into_response()),
        Some(wait) => {
            // It is asked below what came of it.
            _ = timeout(wait, WaitOutcome::new(&kill)).await;
            Ok(reply::json(&result(&entry, &kill)))
        }
    }
}

fn wait_time(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).ok().filter(|wait| *wait <= WAIT_AT_MOST);
    wait.ok_or_else(|| format!("invalid duration '{}': use 60s at most", escape::echo(text)))
}

/// The message in the body of a kill. It is read as JSON whatever the type: the Go package's page sends it as text.
fn message(body: &[u8]) -> Result<String, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    match serde_json::from_slice::<Map<String, Value>>(body).map(|mut object| object.remove("message")) {
        Ok(None) => Ok(String::new()),
        Ok(Some(Value::String(message))) => Ok(message),
        _ => Err(Fault::bad_request(r#"invalid body: send {"message":".."}, or nothing; nothing was killed"#)),
    }
}

/// What came of a kill so far.
fn result(entry: &Entry, kill: &Kill) -> wire::KillResult {
    let below = kill.below() as u64;
    match kill.ending() {
        Some(ending) => wire::KillResult {
            outcome: ending.outcome.to_string(),
            seconds: ending.after.as_secs_f64(),
            status: ending.status.clone(),
            note: ending.note.clone(),
            seen: None,
            kill_point: None,
            below,
        },
        None => {
            let (status, reach) = entry.status_and_reach();
            let is_seen = matches!(reach, Reach::Seen | Reach::SeenInPart);
            wire::KillResult {
                outcome: wire::RUNNING.to_string(),
                seconds: kill.at.elapsed().as_secs_f64(),
                status: status.into_owned(),
                note: None,
                seen: Some(is_seen),
                kill_point: (!is_seen).then_some(reach != Reach::NoKillPoint),
                below,
            }
        }
    }
}

fn no_such_process(id: &str) -> Fault {
    Fault::not_found(KillError::NoSuchProcess { id: id.to_string() }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_brings_an_object_or_nothing() {
        let read = |body: &str| message(body.as_bytes()).ok();
        assert_eq!(read(r#"{"message":"too slow"}"#).as_deref(), Some("too slow"));
        for none in ["", " \n", "{}", r#"{"other":1}"#] {
            assert_eq!(read(none).as_deref(), Some(""), "{none}");
        }
        for fault in [
            "x",
            "null",
            "[]",
            r#"["a"]"#,
            r#""a""#,
            r#"{"message":5}"#,
            r#"{"message":null}"#,
            "{",
            "{} {}",
            "message=x",
        ] {
            assert_eq!(read(fault), None, "{fault}");
        }
        assert!(message(b"{\"message\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_kill_is_waited_for_60_s_at_most() {
        assert_eq!(wait_time("5"), Ok(Duration::from_secs(5)));
        assert_eq!(wait_time("1m"), Ok(WAIT_AT_MOST));
        assert!(wait_time("61s").is_err() && wait_time("").is_err() && wait_time("-1s").is_err());
    }
}
