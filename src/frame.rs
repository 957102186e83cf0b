//! Frame: one printout of the table, rendered once for all who want it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{self, Instant};

use crate::list::ProcList;
use crate::table;

/// A table of up to this many tasks is made too quickly to hold up a session.
const INLINE: usize = 200;

/// A frame that took a while to render is followed by a pause of this many
/// times as long: no number of clients makes rendering take more than about
/// a tenth of a core.
const REST: u32 = 10;

/// The longest such pause. Who needs it has a million tasks, or a process that
/// was stopped while it rendered.
const REST_AT_MOST: Duration = Duration::from_secs(10);

/// The frames of one server. All of its clients see the same table, so the
/// last frame serves whoever finds it fresh enough.
pub(crate) struct Frames {
    list: ProcList,
    limit: usize,
    /// Locked while a frame is made, and during the pause after one: those who
    /// come meanwhile wait for that frame.
    last: Arc<Mutex<Last>>,
}

#[derive(Default)]
struct Last {
    frame: Option<Frame>,
    /// Nothing is rendered before this.
    rest_until: Option<Instant>,
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
        self.began + delay.max((self.took * REST).min(self.took + REST_AT_MOST))
    }
}

impl Frames {
    pub(crate) fn new(list: ProcList, limit: usize) -> Self {
        Frames { list, limit, last: Arc::default() }
    }

    pub(crate) fn list(&self) -> &ProcList {
        &self.list
    }

    /// A frame that is at most `age` old now, and newer than `after`.
    pub(crate) async fn get(&self, age: Duration, after: Option<Instant>) -> Frame {
        let asked = Instant::now();
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(frame) = &last.frame
            && frame.began + age >= asked
            && after.is_none_or(|after| frame.began > after)
        {
            return frame.clone();
        }
        if let Some(rest_until) = last.rest_until {
            time::sleep_until(rest_until).await;
        }
        let (list, limit) = (self.list.clone(), self.limit);
        if list.len() <= INLINE {
            return last.render(&list, limit);
        }
        // A thread of our own, because the runtime's may all be busy with what
        // somebody wants to kill. The lock goes along: a client that loses
        // interest, or leaves, cannot have the next frame begun before this
        // one is done.
        let (tell, told) = oneshot::channel();
        let renderer = thread::Builder::new().name("pm-frame".to_string());
        let rendering = renderer.spawn(move || drop(tell.send(last.render(&list, limit))));
        match (rendering, told.await) {
            (_, Ok(frame)) => frame,
            // No more threads: this is when it matters.
            (Err(_), Err(_)) => Arc::clone(&self.last).lock_owned().await.render(&self.list, limit),
            (Ok(_), Err(_)) => panic!("rendering the table panicked"),
        }
    }

    /// Lets go of the last frame, because a table of many tasks is large. The
    /// pause after it stays. Does not wait: if somebody is at it, one frame is kept.
    pub(crate) fn forget(&self) {
        if let Ok(mut last) = self.last.try_lock() {
            last.frame = None;
        }
    }
}

impl Last {
    fn render(&mut self, list: &ProcList, limit: usize) -> Frame {
        let began = Instant::now();
        let text = text(list, limit);
        let frame = Frame { text, began, took: began.elapsed() };
        self.rest_until = Some(frame.next(Duration::ZERO));
        self.frame = Some(frame.clone());
        frame
    }
}

/// The table after an empty line.
fn text(list: &ProcList, limit: usize) -> Bytes {
    let mut text = String::from("\n");
    text.push_str(&table::render(list, limit));
    text.into()
}

#[cfg(test)]
impl Frames {
    /// As long as this is held, a frame is being made.
    pub(crate) async fn hold(&self) -> impl Drop + use<> {
        Arc::clone(&self.last).lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Frames of which the last took a second.
    async fn slow_frames() -> Frames {
        let frames = Frames::new(ProcList::new(), 1000);
        let began = Instant::now();
        let frame = Frame { text: Bytes::new(), began, took: SECOND };
        *frames.last.lock().await = Last { rest_until: Some(frame.next(Duration::ZERO)), frame: Some(frame) };
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_took_long_is_followed_by_a_pause_of_ten_times_as_long() {
        let began = Instant::now();
        let slow = Frame { text: Bytes::new(), began, took: SECOND };
        assert_eq!(slow.next(3 * SECOND), began + 10 * SECOND);
        assert_eq!(slow.next(30 * SECOND), began + 30 * SECOND);
        let stopped = Frame { text: Bytes::new(), began, took: 60 * SECOND };
        assert_eq!(stopped.next(3 * SECOND), began + 70 * SECOND);

        let frames = slow_frames().await;
        frames.get(Duration::ZERO, Some(Instant::now())).await;
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_outlives_the_clients_and_the_text_does_not() {
        let frames = slow_frames().await;
        let began = Instant::now();
        frames.forget();
        assert!(frames.last.lock().await.frame.is_none());
        frames.get(SECOND, None).await;
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_frame_that_nobody_waits_for_any_more_is_finished_all_the_same() {
        let list = ProcList::new();
        let _tasks: Vec<_> = (0..=INLINE).map(|n| list.start(format!("t{n}"))).collect();
        let frames = Frames::new(list, 1000);
        let mut asking = Box::pin(frames.get(Duration::ZERO, None));
        // Pending, but for a thread that was quicker than this one.
        let _ = futures_util::poll!(&mut asking);
        drop(asking);
        // The rendering has the lock until it is done.
        let last = frames.last.lock().await;
        assert!(last.frame.is_some() && last.rest_until.is_some());
    }
}
