//! Feed: what changes in the list, found by comparing snapshots that all readers of one view share.
//!
//! Nothing is published on a task's way. While somebody reads, one snapshot a pace is made and compared with the
//! last one; what a reader may not see is in neither, so a change of it is none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OnceCell, broadcast};
use tokio::task::AbortHandle;
use tokio::time::{self, Instant};

use crate::clock::{Moment, Tick};
use crate::columns::Clearance;
use crate::entry::Depth;
use crate::http::fault::Fault;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::render::{Client, Lane};
use crate::service::Service;
use crate::view::{Selection, View};
use crate::wire::{self, JsonList, to_json};

/// How many different views are followed at a time: each keeps a copy of the rows that it shows.
const FEEDS: usize = 16;

/// How many changes a reader may be behind: then it gets a full list.
const BEHIND: usize = 4;

/// The next snapshot comes no sooner than so many times after what one took ..
const PAUSE: u32 = 10;

/// .. or than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What readers want to see. Those that want the same share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) clearance: Clearance,
    /// An expression; empty for all tasks.
    pub(super) filter: String,
    pub(super) delay: Duration,
}

/// The feeds that are read now.
#[derive(Default)]
pub(super) struct Feeds(Mutex<HashMap<Wish, Weak<OnceCell<Feed>>>>);

/// One view of the list, followed as long as somebody reads it.
pub(super) struct Feed {
    shared: Arc<Shared>,
    publisher: AbortHandle,
}

type Shared = Mutex<Current>;

/// The last snapshot.
struct Current {
    columns: Vec<String>,
    /// Each row as JSON, in the order of the list.
    rows: Vec<Bytes>,
    server_time: SystemTime,
    /// All of it as JSON, once somebody has asked for it.
    list: Option<Arc<str>>,
    /// To the readers; `None` if there will be no more.
    changes: Option<broadcast::Sender<Arc<str>>>,
}

/// One reader of a feed.
pub(super) struct Reader {
    /// A feed lives as long as it has readers.
    feed: Arc<OnceCell<Feed>>,
    changes: Option<broadcast::Receiver<Arc<str>>>,
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// All rows.
    List(Arc<str>),
    /// The rows that are new or have changed, and the ids of those that are gone.
    Change(Arc<str>),
}

impl Feeds {
    /// A reader of what `wish` names.
    ///
    /// # Errors
    ///
    /// The expression is wrong, no snapshot could be made, or there are too many feeds.
    pub(super) async fn read(&self, service: &Arc<Service>, client: Client, wish: Wish) -> Result<Reader, Fault> {
        let feed = {
            let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.retain(|_, feed| feed.strong_count() > 0);
            match feeds.get(&wish).and_then(Weak::upgrade) {
                Some(feed) => feed,
                None if feeds.len() >= FEEDS => {
                    let why = format!("too many different views are followed: {FEEDS} at most, try again later");
                    return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, why));
                }
                None => {
                    let feed = Arc::new(OnceCell::new());
                    feeds.insert(wish.clone(), Arc::downgrade(&feed));
                    feed
                }
            }
        };
        feed.get_or_try_init(|| Feed::start(service, client, wish)).await?;
        Ok(Reader { feed, changes: None })
    }
}

impl Feed {
    async fn start(service: &Arc<Service>, client: Client, wish: Wish) -> Result<Self, Fault> {
        let list = service.list.clone();
        let Wish { clearance, filter, delay } = wish;
        let first = async move {
            let mut view = View::new(usize::MAX, clearance);
            view.filter_by(&filter, &list)?;
            Ok::<_, String>((snapshot(&list, &view, Known::default()).await, view))
        };
        let began = Instant::now();
        let made = service.renderer.make(client, Lane::Asked, service.list.len(), first).await;
        let (snapshot, view) = made.ok_or_else(Fault::not_made)?.map_err(Fault::bad_request)?;
        let shared = Arc::new(Mutex::new(Current { changes: Some(broadcast::channel(BEHIND).0), ..snapshot.current }));
        let publishing = publish(Arc::clone(service), Arc::clone(&shared), view, delay, snapshot.known, began);
        Ok(Feed { shared, publisher: tokio::spawn(publishing).abort_handle() })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.publisher.abort();
    }
}

/// Follows the list until it is aborted.
async fn publish(
    service: Arc<Service>,
    shared: Arc<Shared>,
    view: View,
    delay: Duration,
    mut known: Known,
    mut began: Instant,
) {
    let client = service.renderer.client();
    loop {
        let pause = (began.elapsed() * PAUSE).min(LONGEST_PAUSE);
        time::sleep_until(began + delay.max(pause)).await;
        began = Instant::now();
        let (list, view) = (service.list.clone(), view.clone());
        let next = async move { snapshot(&list, &view, known).await };
        let next = service.renderer.make(client, Lane::Due, service.list.len(), next).await;
        let mut current = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = next else {
            current.changes = None;
            return;
        };
        let change = next.change(&current.columns);
        let changes = current.changes.take();
        if let (Some(changes), Some(change)) = (&changes, change) {
            // There may be no reader at this moment.
            _ = changes.send(change);
        }
        *current = Current { changes, ..next.current };
        known = next.known;
    }
}

/// The rows that readers know, by id.
type Known = HashMap<String, Row>;

/// A row that readers know.
struct Row {
    /// Which task this is, and which of its statuses: an id may be used again.
    started: SystemTime,
    entered: Option<Tick>,
    status_time: SystemTime,
    json: Bytes,
}

/// A snapshot, and how it differs from the one before.
struct Snapshot {
    current: Current,
    known: Known,
    changed: Vec<Bytes>,
    ended: Vec<String>,
}

async fn snapshot(list: &ProcList, view: &View, mut last: Known) -> Snapshot {
    let (now, mut pace) = (Moment::now(), Pace::in_pieces());
    let Selection { tasks, .. } = view.select(list, now);
    let mut known = Known::with_capacity(tasks.len());
    let (mut rows, mut changed) = (Vec::with_capacity(tasks.len()), Vec::new());
    for task in tasks {
        pace.breathe().await;
        let snapshot = task.snapshot(view.clearance, Depth::Row, now);
        if snapshot.end.is_some() {
            continue;
        }
        let entered = snapshot.entered;
        let mut row = wire::Row::new(snapshot.without_secrets());
        let before = last.remove(&row.id);
        // The wall-clock time of a status is computed, and may differ by some nanoseconds each time.
        if let Some(before) = &before
            && (before.started, before.entered) == (row.proc_time, entered)
        {
            row.status_time = before.status_time;
        }
        let (id, started, status_time) = (row.id.clone(), row.proc_time, row.status_time);
        let mut json = Bytes::from(to_json(&row));
        match before {
            Some(before) if before.json == json => json = before.json,
            _ => changed.push(json.clone()),
        }
        rows.push(json.clone());
        known.insert(id, Row { started, entered, status_time, json });
    }
    let columns = view.fields(list).columns().iter().map(|field| field.name().to_string()).collect();
    let current = Current { columns, rows, server_time: SystemTime::now(), list: None, changes: None };
    Snapshot { current, known, changed, ended: last.into_keys().collect() }
}

impl Snapshot {
    /// How it differs from the one before, in which there were these columns; `None` if it does not.
    fn change(&self, columns: &[String]) -> Option<Arc<str>> {
        let are_new = columns != self.current.columns;
        if self.changed.is_empty() && self.ended.is_empty() && !are_new {
            return None;
        }
        let mut json = JsonList::begin("procs", self.changed.iter().map(|row| row.len() + 1).sum());
        self.changed.iter().for_each(|row| json.push_json(row));
        json.field("ended", &self.ended);
        if are_new {
            json.field("columns", &self.current.columns);
        }
        Some(text(json.end(self.current.server_time)))
    }
}

impl Current {
    /// All rows.
    fn list(&mut self) -> Arc<str> {
        let made = self.list.take().unwrap_or_else(|| {
            let mut json = JsonList::begin("procs", self.rows.iter().map(|row| row.len() + 1).sum());
            self.rows.iter().for_each(|row| json.push_json(row));
            json.field("columns", &self.columns);
            text(json.end(self.server_time))
        });
        self.list = Some(Arc::clone(&made));
        made
    }
}

/// JSON is text.
fn text(json: Vec<u8>) -> Arc<str> {
    String::from_utf8(json).unwrap_or_default().into()
}

impl Reader {
    /// What there is to tell next; `None` if there will be nothing more.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub(super) async fn next(&mut self) -> Option<News> {
        loop {
            let Some(changes) = &mut self.changes else {
                let mut current = self.feed.get()?.shared.lock().unwrap_or_else(PoisonError::into_inner);
                self.changes = Some(current.changes.as_ref()?.subscribe());
                return Some(News::List(current.list()));
            };
            match changes.recv().await {
                Ok(change) => return Some(News::Change(change)),
                Err(RecvError::Lagged(_)) => self.changes = None,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
