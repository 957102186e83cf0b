//! Reply: what is answered, as JSON and as text; and how many rows of it.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::escape;
use crate::http::fault::Fault;
use crate::wire;

pub(super) fn json(value: &impl Serialize) -> Response {
    json_bytes(wire::to_json(value))
}

/// JSON that is written already.
pub(super) fn json_bytes(json: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// `?limit=`: a number, or `all`.
///
/// # Errors
///
/// It is neither.
pub(super) fn limit(text: Option<&str>) -> Result<Option<usize>, Fault> {
    let number = |text: &str| match text.trim() {
        all if all.eq_ignore_ascii_case("all") => Ok(usize::MAX),
        number => number
            .parse()
            .map_err(|_| Fault::bad_request(format!("invalid limit '{}': a number, or all", escape::echo(text)))),
    };
    text.filter(|text| !text.trim().is_empty()).map(number).transpose()
}
