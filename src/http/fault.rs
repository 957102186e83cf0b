//! Fault: a request that is not answered as it was meant, in a line that says why.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// A status and a line of text.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    text: String,
    allow: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Fault { status, text: text.into(), allow: None }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Fault::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Fault::new(StatusCode::NOT_FOUND, text)
    }

    /// The path takes other methods.
    pub(super) fn method(allow: &'static str) -> Self {
        Fault { allow: Some(allow), ..Fault::method_of_path() }
    }

    /// The same, where the router knows which.
    pub(super) fn method_of_path() -> Self {
        Fault::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method: see Allow")
    }

    /// The worker that renders is gone, or has panicked.
    pub(super) fn not_made() -> Self {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the answer could not be made: try again")
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text + "\n").into_response();
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
