//! Body: what a request brings, bounded in bytes and in time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use crate::http::fault::Fault;

/// The most bytes of a body.
const LONGEST: usize = 64 * 1024;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(10);

/// All of a body.
///
/// # Errors
///
/// It is too long, takes too long, or breaks off.
pub(super) async fn read(body: Body) -> Result<Bytes, Fault> {
    match timeout(WITHIN, to_bytes(body, LONGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // All that axum tells of a body that is too long is its source.
        Ok(Err(error)) if is_too_long(&error) => {
            let why = format!("the body is too long: {LONGEST} bytes at most");
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        Ok(Err(_)) => Err(Fault::bad_request("the body broke off")),
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10s")),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
