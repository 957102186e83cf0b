//! Events: the list as it changes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, header};
use tokio::time::timeout;

use crate::duration;
use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::feed::Wish;
use crate::http::query::Params;
use crate::http::shared::Http;

/// How often a reader hears something, so that both sides notice when the other one is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How much of an event is handed over at a time.
const PIECE: usize = 64 * 1024;

/// `GET /events?where=..&delay=..`
///
/// The events are written here and not by axum, which would copy each of them for each reader.
pub(super) async fn events(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Response, Fault> {
    let [filter, delay] = params.take(["where", "delay"])?;
    let delay = delay.map(|text| duration::delay(text.trim())).transpose().map_err(Fault::bad_request)?;
    let filter = filter.unwrap_or_default().trim().to_string();
    let wish = Wish { clearance: caller.clearance(), filter, delay: delay.unwrap_or(http.service.delay) };
    let runtime = http.runtime().map_err(|_| Fault::not_made())?;
    let reader = http.feeds.read(&http.service, &runtime, caller.client, wish).await?;
    let pieces = stream::unfold((reader, Bytes::new()), async |(mut reader, mut unsent)| {
        if unsent.is_empty() {
            // A comment keeps the connection: both sides notice when the other one is gone.
            let next = timeout(KEEP_ALIVE, reader.next()).await;
            unsent = next.unwrap_or(Some(Bytes::from_static(b":\n\n")))?;
        }
        let piece = unsent.split_to(unsent.len().min(PIECE));
        Some((Ok::<_, Infallible>(piece), (reader, unsent)))
    });
    let pieces = pieces.take_until(Box::pin(caller.revoked(Arc::clone(&http.service))));
    let kind = HeaderValue::from_static("text/event-stream");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
}
