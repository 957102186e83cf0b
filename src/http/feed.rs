//! Feed: what changes in the list, found by comparing snapshots that all readers of one view share.
//!
//! Nothing is published on a task's way. While somebody reads, one snapshot a pace is made and compared with the
//! last one; what a reader may not see is in neither, so a change of it is none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use tokio::runtime::Handle;
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

/// How many different views are followed at a time, by those who may see and by those who may kill: each keeps a
/// copy of the rows that it shows.
const FEEDS: usize = 16;

/// The pace of the page.
const PAGE: Duration = Duration::from_secs(1);

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

/// The last snapshot, and whom to tell of the next.
struct Current {
    version: Arc<Version>,
    /// `None` if there will be no more.
    changes: Option<broadcast::Sender<Bytes>>,
}

/// A snapshot.
struct Version {
    columns: Vec<String>,
    /// Each row as JSON, in the order of the list.
    rows: Vec<Bytes>,
    server_time: SystemTime,
    /// All of it as an event, once somebody has asked for it: made once, and sent to all without a copy.
    list: OnceCell<Bytes>,
}

/// One reader of a feed.
pub(super) struct Reader {
    /// A feed lives as long as it has readers.
    feed: Arc<OnceCell<Feed>>,
    changes: Option<broadcast::Receiver<Bytes>>,
    service: Arc<Service>,
    client: Client,
}

impl Feeds {
    /// A reader of what `wish` names.
    ///
    /// # Errors
    ///
    /// The expression is wrong, no snapshot could be made, or there are too many feeds.
    pub(super) async fn read(
        &self,
        service: &Arc<Service>,
        runtime: &Handle,
        client: Client,
        wish: Wish,
    ) -> Result<Reader, Fault> {
        let feed = {
            let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.retain(|_, feed| feed.strong_count() > 0);
            match feeds.get(&wish).and_then(Weak::upgrade) {
                Some(feed) => feed,
                None if !wish.is_usual(service)
                    && feeds.keys().filter(|other| other.counts_with(&wish)).count() >= FEEDS =>
                {
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
        feed.get_or_try_init(|| Feed::start(service, runtime, client, wish)).await?;
        Ok(Reader { feed, changes: None, service: Arc::clone(service), client })
    }
}

impl Wish {
    /// Whether it is what pages follow: that is never refused, whatever others follow.
    fn is_usual(&self, service: &Service) -> bool {
        self.filter.is_empty() && (self.delay == PAGE || self.delay == service.delay)
    }

    /// Those who may only see take nothing from those who may kill.
    fn counts_with(&self, other: &Wish) -> bool {
        self.clearance == other.clearance
    }
}

impl Feed {
    /// It is followed in this runtime.
    async fn start(service: &Arc<Service>, runtime: &Handle, client: Client, wish: Wish) -> Result<Self, Fault> {
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
        let changes = Some(broadcast::channel(BEHIND).0);
        let shared = Arc::new(Mutex::new(Current { version: Arc::new(snapshot.version), changes }));
        let publishing = publish(Arc::clone(service), Arc::clone(&shared), view, delay, snapshot.known, began);
        Ok(Feed { shared, publisher: runtime.spawn(publishing).abort_handle() })
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
        let change = next.change(&current.version.columns);
        if let (Some(changes), Some(change)) = (&current.changes, change) {
            // There may be no reader at this moment.
            _ = changes.send(change);
        }
        let last = std::mem::replace(&mut current.version, Arc::new(next.version));
        drop(current);
        drop(last);
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
    version: Version,
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
    let version = Version { columns, rows, server_time: SystemTime::now(), list: OnceCell::new() };
    Snapshot { version, known, changed, ended: last.into_keys().collect() }
}

impl Snapshot {
    /// How it differs from the one before, in which there were these columns; `None` if it does not.
    fn change(&self, columns: &[String]) -> Option<Bytes> {
        let are_new = columns != self.version.columns;
        if self.changed.is_empty() && self.ended.is_empty() && !are_new {
            return None;
        }
        let mut json = JsonList::begin("procs", self.changed.iter().map(|row| row.len() + 1).sum());
        self.changed.iter().for_each(|row| json.push_json(row));
        json.field("ended", &self.ended);
        if are_new {
            json.field("columns", &self.version.columns);
        }
        Some(event("change", &json.end(self.version.server_time)))
    }
}

impl Version {
    /// All rows, as an event.
    async fn list(self: &Arc<Self>, service: &Service, client: Client) -> Option<Bytes> {
        let make = async || {
            let version = Arc::clone(self);
            let making = async move {
                let mut json = JsonList::begin("procs", version.rows.iter().map(|row| row.len() + 1).sum());
                version.rows.iter().for_each(|row| json.push_json(row));
                json.field("columns", &version.columns);
                event("list", &json.end(version.server_time))
            };
            service.renderer.make(client, Lane::Asked, self.rows.len(), making).await.ok_or(())
        };
        self.list.get_or_try_init(make).await.ok().cloned()
    }
}

/// A server-sent event. Its data is one line: JSON has no line feeds.
fn event(kind: &str, json: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(json.len() + 32);
    event.put_slice(format!("event: {kind}\ndata: ").as_bytes());
    event.put_slice(json);
    event.put_slice(b"\n\n");
    event.freeze()
}

impl Reader {
    /// The next event; `None` if there will be no more. Four changes behind, it is the whole list again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(changes) = &mut self.changes else {
                let (version, changes) = {
                    let current = self.feed.get()?.shared.lock().unwrap_or_else(PoisonError::into_inner);
                    (Arc::clone(&current.version), current.changes.as_ref()?.subscribe())
                };
                let list = version.list(&self.service, self.client).await?;
                self.changes = Some(changes);
                return Some(list);
            };
            match changes.recv().await {
                Ok(change) => return Some(change),
                Err(RecvError::Lagged(_)) => self.changes = None,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
