//! Answer: what the client of a killed request gets.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{Empty, Full};

use super::settings::Settings;
use super::{AnswerBody, boxed};
use crate::killed::Killed;
use crate::task::Handle;
use crate::unwinding::catch;

/// What begins the content type of gRPC. Its relative for browsers has answers of another form.
const GRPC: &[u8] = b"application/grpc";

/// What a client is told that may not know more.
const PLAIN: &str = "process killed";

/// The status `UNAVAILABLE`.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// Whether a client that has sent these headers wants an answer of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let after = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(GRPC));
    matches!(after, Some([] | [b'+' | b';', ..]))
}

/// Tells the program of the kill of a request whose response is on its way.
pub(super) fn tell(killed: &Killed, task: &Handle, settings: Option<&Settings>) {
    if let Some(on_kill) = settings.and_then(|settings| settings.on_kill.as_ref()) {
        let _caught = catch(|| drop(task.in_scope(|| on_kill(killed, task))));
    }
}

/// The response to a request that was killed before there was one.
pub(super) fn response(
    killed: &Killed,
    task: &Handle,
    is_grpc: bool,
    settings: Option<&Settings>,
) -> Response<AnswerBody> {
    if let Some(on_kill) = settings.and_then(|settings| settings.on_kill.as_ref())
        // It may report on the task, with a kill point.
        && let Ok(response) = catch(|| task.in_scope(|| on_kill(killed, task)))
    {
        return response;
    }
    let text = text(killed, settings);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, kind, body) = match is_grpc {
        true => (StatusCode::OK, HeaderValue::from_static("application/grpc"), boxed(Empty::new())),
        false => (StatusCode::SERVICE_UNAVAILABLE, plain, boxed(Full::from(text.clone()))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if is_grpc {
        response.headers_mut().extend(grpc_status(&text));
    }
    response
}

/// A handler may return a kill as its error: `Result<String, pm::Killed>`.
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Killed {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::SERVICE_UNAVAILABLE, PLAIN).into_response()
    }
}

/// The trailers that end a gRPC stream.
pub(super) fn trailers(killed: &Killed, settings: Option<&Settings>) -> HeaderMap {
    grpc_status(&text(killed, settings))
}

fn text(killed: &Killed, settings: Option<&Settings>) -> String {
    match settings.is_some_and(|settings| settings.show_message) {
        true => killed.to_string(),
        false => PLAIN.to_string(),
    }
}

/// The message is percent-encoded, as gRPC wants it.
fn grpc_status(text: &str) -> HeaderMap {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(byte.into()),
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", UNAVAILABLE);
    if let Ok(message) = HeaderValue::try_from(encoded) {
        headers.insert("grpc-message", message);
    }
    headers
}
