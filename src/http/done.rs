//! Done: the tasks that ended last.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use crate::clock::Moment;
use crate::entry::{Depth, Entry};
use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::query::Params;
use crate::http::reply;
use crate::http::shared::Http;
use crate::render::Lane;
use crate::view::View;
use crate::view::done::{DONE, Which, last};
use crate::wire;

/// `GET /done?limit=20&where=outcome=killed`, the last one first.
pub(super) async fn done(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Fault> {
    let [limit, filter] = params.take(["limit", "where"])?;
    let limit = reply::limit(limit.as_deref())?.unwrap_or(DONE);
    let (list, clearance) = (http.service.list.clone(), caller.clearance());
    let rendering = async move {
        let now = Moment::now();
        let ended = |entry: &Arc<Entry>| wire::Ended::new(entry.snapshot(clearance, Depth::Row, now).without_secrets());
        let which = Which { n: limit, filter: filter.filter(|filter| !filter.trim().is_empty()) };
        let view = which.of(&list, &View::new(limit, clearance))?;
        let done = last(&list, limit, &view).iter().map(ended).collect();
        Ok::<_, String>(wire::to_json(&wire::Done { done, server_time: SystemTime::now() }))
    };
    let size = http.service.list.finished().len();
    let made = http.service.renderer.make(caller.client, Lane::Asked, size, rendering).await;
    made.ok_or_else(Fault::not_made)?.map(reply::json_bytes).map_err(Fault::bad_request)
}
