//! Frame: one printout of the table, rendered once for all who want it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task;
use tokio::time::{self, Instant};

use crate::list::ProcList;
use crate::table;

/// Up to this many tasks a table takes less time than handing it to another thread.
const INLINE: usize = 200;

/// A frame that took a while to render is followed by a pause of this many
/// times as long: no number of clients makes rendering take more than about
/// a tenth of a core.
const REST: u32 = 10;

/// The frames of one server. All of its clients see the same table, so the
/// last frame serves whoever finds it fresh enough.
pub(crate) struct Frames {
    list: ProcList,
    limit: usize,
    /// Held while a frame is made: those who come meanwhile wait for that one.
    last: Mutex<Option<Frame>>,
}

/// One printout of the table.
#[derive(Clone)]
pub(crate) struct Frame {
    text: Bytes,
    /// When its rendering began: it shows nothing older.
    pub(crate) began: Instant,
    took: Duration,
}

impl Frame {
    /// The bytes to send: an empty line before every frame but the first.
    pub(crate) fn bytes(&self, first: bool) -> Bytes {
        self.text.slice(usize::from(first)..)
    }

    /// When the next one may follow, at a pace of one every `delay`.
    pub(crate) fn next(&self, delay: Duration) -> Instant {
        self.began + delay.max(self.rest())
    }

    fn rest(&self) -> Duration {
        self.took * REST
    }
}

impl Frames {
    pub(crate) fn new(list: ProcList, limit: usize) -> Self {
        Frames { list, limit, last: Mutex::new(None) }
    }

    pub(crate) fn list(&self) -> &ProcList {
        &self.list
    }

    /// A frame that is at most `age` old now, and newer than `after`.
    pub(crate) async fn get(&self, age: Duration, after: Option<Instant>) -> Frame {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(frame) = &*last {
            let is_fresh = frame.began + age >= asked;
            let is_news = after.is_none_or(|after| frame.began > after);
            if is_fresh && is_news {
                return frame.clone();
            }
            time::sleep_until(frame.began + frame.rest()).await;
        }
        let frame = self.render().await;
        *last = Some(frame.clone());
        frame
    }

    /// Lets go of the last frame: a table of many tasks is large.
    pub(crate) async fn forget(&self) {
        *self.last.lock().await = None;
    }

    async fn render(&self) -> Frame {
        let began = Instant::now();
        let text = if self.list.len() <= INLINE {
            text(&self.list, self.limit)
        } else {
            let (list, limit) = (self.list.clone(), self.limit);
            let rendering = task::spawn_blocking(move || text(&list, limit));
            match rendering.await {
                Ok(text) => text,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime shuts down, and the session with it.
                Err(_cancelled) => std::future::pending().await,
            }
        };
        Frame { text, began, took: began.elapsed() }
    }
}

/// The table after an empty line.
fn text(list: &ProcList, limit: usize) -> Bytes {
    let mut text = String::from("\n");
    text.push_str(&table::render(list, limit));
    text.into()
}
