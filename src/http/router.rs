//! Router: which path is answered by which file.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Path, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};

use crate::http::fault::Fault;
use crate::http::shared::Http;
use crate::http::{commands, done, events, guard, metrics, page, procs};

pub(super) fn new(http: Arc<Http>) -> Router {
    let for_callers = Router::new()
        .route("/procs/", get(procs::list))
        .route("/procs/{*target}", get(procs::task).delete(procs::kill))
        .route("/done", get(done::done))
        .route("/stats", get(metrics::stats))
        .route("/metrics", get(metrics::metrics))
        .route("/events", get(events::events))
        .route("/commands", get(commands::list))
        .route("/commands/{name}", post(commands::call))
        .route_layer(from_fn_with_state(Arc::clone(&http), guard::token));
    // The page holds nothing of the list, and asks for the token.
    let for_all =
        Router::new().route("/", get(index)).route("/page/{file}", get(file)).route("/procs", get(with_slash));
    Router::new()
        .merge(for_callers)
        .merge(for_all)
        .method_not_allowed_fallback(async || Fault::method_of_path())
        .fallback(async || {
            Fault::not_found("not found: see /procs/, /events, /done, /stats, /metrics, /commands and /")
        })
        .layer(from_fn_with_state(Arc::clone(&http), guard::strangers))
        .with_state(http)
}

/// `GET /`. The page asks by relative addresses, which begin at the last slash of its own.
async fn index(State(http): State<Arc<Http>>, original: OriginalUri) -> Response {
    if original.0.path().ends_with('/') { http.page.index() } else { with_slash(original).await }
}

/// `GET /page/<file>`.
async fn file(Path(name): Path<String>) -> Response {
    page::file(&name).unwrap_or_else(|| Fault::not_found("not found").into_response())
}

/// Where the Go package redirects, too; below whatever path this is nested.
async fn with_slash(OriginalUri(uri): OriginalUri) -> Response {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    match HeaderValue::try_from(format!("{}/{query}", uri.path())) {
        Ok(location) => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response(),
        Err(_) => Fault::not_found("not found").into_response(),
    }
}
