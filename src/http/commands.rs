//! Commands: the program's own, over HTTP.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::access::Role;
use crate::call::{Call, Called, Followed, STILL_RUNNING};
use crate::escape;
use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::shared::Http;
use crate::http::{body, reply};
use crate::killed::KillError;
use crate::port_command::PortCommand;
use crate::wire;

/// `GET /commands`.
pub(super) async fn list(State(http): State<Arc<Http>>, Extension(_): Extension<Caller>) -> Response {
    let command = |command: &PortCommand| wire::Command {
        name: command.name.clone(),
        usage: command.usage.clone(),
        help: command.help.clone(),
        role: if command.role == Role::Kill { "kill" } else { "see" },
        on_rows: command.is_on_rows,
    };
    reply::json(&wire::Commands { commands: http.service.commands.iter().map(command).collect() })
}

/// `POST /commands/<name>`: the body is what follows the name at the port.
pub(super) async fn call(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Fault> {
    let unknown = || Fault::not_found(format!("no such command '{}': see /commands", escape::echo(&name)));
    let command = http.service.command(&name).ok_or_else(unknown)?.clone();
    if command.role == Role::Kill {
        caller.may_kill()?;
    }
    let body = body::read(body).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Fault::bad_request("invalid body: not text"))?.trim();
    if text.contains(char::is_control) {
        return Err(Fault::bad_request("invalid body: one line, without control characters"));
    }
    let (mut args, mut tasks) = (text, None);
    if command.is_on_rows {
        let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        if name.is_empty() || name.eq_ignore_ascii_case("where") || name.starts_with('@') {
            let usage = escape::plain(&command.usage).to_string();
            return Err(Fault::bad_request(format!("the body begins with the id of one task here ({usage})")));
        }
        match escape::parse_id(name).and_then(|id| http.service.list.find(&id)) {
            Some(task) => {
                tasks = Some(vec![task]);
                args = rest.trim();
            }
            None if command.is_row_optional => {}
            None => {
                return Err(Fault::not_found(KillError::NoSuchProcess { id: name.to_string() }.to_string()));
            }
        }
    }
    let verb = command.name.clone();
    let call = Call {
        command,
        args: args.to_string(),
        peer: Arc::clone(&caller.peer),
        role: caller.role,
        tasks,
        list: http.service.list.clone(),
    };
    let revoked = caller.revoked(Arc::clone(&http.service)).boxed();
    answer(call, &verb, revoked).await
}

/// The answer, with the status that it deserves if it comes in time; else with its head now, and the answer
/// behind a line that says that the command is still running.
async fn answer(call: Call, verb: &str, revoked: BoxFuture<'static, ()>) -> Result<Response, Fault> {
    let mut running = call.run().boxed();
    match timeout_at(Instant::now() + STILL_RUNNING, &mut running).await {
        Ok((Called::Text(text), _)) => Ok(harmless(&text).into_response()),
        Ok((Called::Lines, lines)) => Ok(stream(lines_of(lines).take_until(revoked).boxed())),
        Ok((Called::Error(error), _)) => Err(Fault::bad_request(escape::plain(&error).to_string())),
        Ok((Called::Panicked, _)) => {
            Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{} panicked", escape::echo(verb))))
        }
        Err(_late) => {
            let news = format!("{} is still running after {}s\n", escape::echo(verb), STILL_RUNNING.as_secs());
            let panicked = format!("{} panicked\n", escape::echo(verb));
            let rest = running.map(move |(called, lines)| match called {
                Called::Text(text) => stream::iter([harmless(&text)]).boxed(),
                Called::Lines => lines_of(lines),
                Called::Error(error) => stream::iter([format!("{}\n", escape::plain(&error))]).boxed(),
                Called::Panicked => stream::iter([panicked]).boxed(),
            });
            Ok(stream(stream::iter([news]).chain(rest.flatten_stream()).take_until(revoked).boxed()))
        }
    }
}

fn lines_of(lines: Option<Followed>) -> BoxStream<'static, String> {
    let line = |line: String| harmless(&line);
    lines.map_or_else(|| stream::empty().boxed(), |lines| lines.map(line).boxed())
}

/// Text, as it comes.
fn stream(lines: BoxStream<'static, String>) -> Response {
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    let mut response = String::new().into_response();
    *response.body_mut() = body;
    response
}

/// Whole lines that cannot act on a terminal.
fn harmless(text: &str) -> String {
    let lines = text.lines().map(|line| escape::plain(line).to_string() + "\n");
    lines.collect()
}
