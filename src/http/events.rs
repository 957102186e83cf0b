//! Events: the list as it changes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::access::AuthResult;
use crate::duration;
use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::feed::{News, Reader, Wish};
use crate::http::shared::Http;

/// How often a reader hears something, so that both sides notice when the other one is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How often a token is tried again, in a file that may have changed.
const RECHECK: Duration = Duration::from_secs(1);

/// `?where=..&delay=..`
#[derive(Debug, Deserialize)]
pub(super) struct Followed {
    r#where: Option<String>,
    delay: Option<String>,
}

/// `GET /events`.
pub(super) async fn events(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
    Query(Followed { r#where, delay }): Query<Followed>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let delay = delay.map(|text| duration::delay(text.trim())).transpose().map_err(Fault::bad_request)?;
    let filter = r#where.unwrap_or_default().trim().to_string();
    let wish = Wish { clearance: caller.clearance(), filter, delay: delay.unwrap_or(http.service.delay) };
    let reader = http.feeds.read(&http.service, caller.client, wish).await?;
    let recheck = (caller.token.is_some() && http.service.access.tokens.may_change()).then(|| {
        let mut recheck = interval(RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        recheck
    });
    let following = Following { http, caller, reader, recheck };
    let events = stream::unfold(following, async |mut following| {
        let news = following.next().await?;
        let event = match &news {
            News::List(json) => Event::default().event("list").data(json),
            News::Change(json) => Event::default().event("change").data(json),
        };
        Some((Ok(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client that follows the list.
struct Following {
    http: Arc<Http>,
    caller: Caller,
    reader: Reader,
    recheck: Option<Interval>,
}

impl Following {
    /// What there is to tell next; `None` if it may not see it any more, or there will be nothing more.
    async fn next(&mut self) -> Option<News> {
        loop {
            let Some(recheck) = &mut self.recheck else { return self.reader.next().await };
            tokio::select! {
                biased;
                _ = recheck.tick() => {
                    let token = self.caller.token.clone().unwrap_or_default();
                    if self.http.service.access.auth(token).await != AuthResult::Right(self.caller.role) {
                        return None;
                    }
                }
                news = self.reader.next() => return news,
            }
        }
    }
}
