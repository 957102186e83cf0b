//! Guard: what every request passes on its way in, and every answer on its way out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::runtime::Handle;

use crate::http::caller::{Caller, Connected};
use crate::http::fault::Fault;
use crate::http::shared::Http;
use crate::wire::SERVER;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Turns strangers away, and answers what a browser asks before it lets a page send a request.
pub(super) async fn strangers(State(http): State<Arc<Http>>, request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let origin = http.strangers.allowed_origin(headers);
    let checked = ready(&http).and_then(|()| http.strangers.check_host(uri, headers).map_err(Fault::forbidden));
    let is_preflight = request.method() == Method::OPTIONS;
    let checked = match (&origin, is_preflight) {
        (None, false) => {
            checked.and_then(|()| http.strangers.check_origin(request.method(), uri, headers).map_err(Fault::forbidden))
        }
        _ => checked,
    };
    let mut response = match checked.and_then(|()| connected(&http, request)) {
        Ok(_) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    harden(response.headers_mut());
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin, is_preflight);
    }
    response
}

/// Whether anything can be served.
fn ready(http: &Http) -> Result<(), Fault> {
    let fault = |text: String| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    if let Some(why) = &http.fault {
        return Err(fault(format!("the processlist cannot be served as it was set up: {why}")));
    }
    Handle::try_current().map_err(|error| fault(format!("the processlist wants a tokio runtime: {error}")))?;
    http.runtime().map(drop).map_err(|error| fault(error.to_string()))
}

/// The request, with the one who sent it.
fn connected(http: &Http, mut request: Request) -> Result<Request, Fault> {
    if request.method() != Method::OPTIONS && request.extensions().get::<Connected>().is_none() {
        let connected = Connected::nested(&http.service, request.extensions())?;
        request.extensions_mut().insert(connected);
    }
    Ok(request)
}

/// Wants a token, where one is set.
pub(super) async fn token(State(http): State<Arc<Http>>, mut request: Request, next: Next) -> Response {
    let Some(connected) = request.extensions_mut().remove::<Connected>() else {
        return Fault::forbidden("forbidden").into_response();
    };
    match connected.authenticate(&http.service, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert::<Caller>(caller);
            next.run(request).await
        }
        Err(fault) => fault.into_response(),
    }
}

/// What stands on every answer: no other site may embed it, and a browser does not guess what it is.
pub(super) fn harden(headers: &mut HeaderMap) {
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Lets a page of this origin read the answer.
fn allow(headers: &mut HeaderMap, origin: HeaderValue, is_preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if is_preflight {
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
}
