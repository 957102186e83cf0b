//! Frame: one printout of the table, rendered once for all who want it.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{self, Instant};

use crate::aside::aside;
use crate::list::ProcList;
use crate::view::{View, table};

/// A table of up to this many tasks is made too quickly to hold up a session.
const INLINE: usize = 200;

/// A client's frame that took a while is followed by a pause of this many
/// times as long, and so is any rendering of a server whose clients all see
/// the same: no number of them makes rendering take more than about a tenth of
/// a core. Different views share that pause, so that none of them waits for
/// long on account of the others.
const REST: u32 = 10;

/// The longest such pause. Who needs it has a million tasks, or a process that
/// was stopped while it rendered.
const REST_AT_MOST: Duration = Duration::from_secs(10);

/// What is rendered of one list, for all clients of a server.
pub(crate) struct Frames {
    list: ProcList,
    /// Held by the frame that is next, also while it waits out the pause.
    turn: Arc<Mutex<()>>,
    /// Locked while something is rendered. Taken after `turn`.
    gate: Arc<Mutex<Gate>>,
    /// One for each view that some client has.
    shared: std::sync::Mutex<Vec<Weak<Shared>>>,
}

#[derive(Default)]
struct Gate {
    /// No frame is rendered before this.
    rest_until: Option<Instant>,
}

/// The frames of one view: the last one serves every client that has this
/// view and finds it fresh enough.
pub(crate) struct Shared {
    pub(crate) view: View,
    /// Locked while a frame is made: those who come meanwhile wait for it.
    last: Arc<Mutex<Option<Frame>>>,
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

    /// The table by itself.
    pub(crate) fn table(&self) -> &str {
        // It was made of a whole string.
        std::str::from_utf8(&self.text[1..]).unwrap_or_default()
    }

    /// When the next one may follow, at a pace of one every `delay`.
    pub(crate) fn next(&self, delay: Duration) -> Instant {
        self.began + delay.max(rest(self.took))
    }
}

/// The time from the beginning of something that took so long to the next.
fn rest(took: Duration) -> Duration {
    rest_among(took, 1)
}

/// The same, when so many views are rendered in turn.
fn rest_among(took: Duration, views: usize) -> Duration {
    let pause = took * (REST - 1) / u32::try_from(views.max(1)).unwrap_or(u32::MAX);
    took + pause.clamp(took.min(REST_AT_MOST), REST_AT_MOST)
}

impl Frames {
    pub(crate) fn new(list: ProcList) -> Self {
        Frames { list, turn: Arc::default(), gate: Arc::default(), shared: std::sync::Mutex::default() }
    }

    pub(crate) fn list(&self) -> &ProcList {
        &self.list
    }

    /// The frames of `view`, shared with all who have the same.
    pub(crate) fn of(&self, view: View) -> Arc<Shared> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|frames| frames.strong_count() > 0);
        if let Some(frames) = shared.iter().filter_map(Weak::upgrade).find(|frames| frames.view == view) {
            return frames;
        }
        let frames = Arc::new(Shared { view, last: Arc::default() });
        shared.push(Arc::downgrade(&frames));
        frames
    }

    /// A frame that is at most `age` old now, and newer than `after`.
    pub(crate) async fn get(&self, shared: Arc<Shared>, age: Duration, after: Option<Instant>) -> Frame {
        let asked = Instant::now();
        let mut last = Arc::clone(&shared.last).lock_owned().await;
        if let Some(frame) = &*last
            && frame.began + age >= asked
            && after.is_none_or(|after| frame.began > after)
        {
            return frame.clone();
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let gate = self.rested_gate().await;
        // The locks go along: a client that loses interest, or leaves, cannot
        // have the next frame begun before this one is done.
        self.render(gate, 0, move |list| {
            let began = Instant::now();
            let mut text = String::from("\n");
            text.push_str(&table::render(list, &shared.view));
            let frame = Frame { text: text.into(), began, took: began.elapsed() };
            *last = Some(frame.clone());
            drop(turn);
            frame
        })
        .await
    }

    /// Makes something else of the list, for one client who asked for it.
    /// What is `urgent` does not wait out the pause, but for what is being
    /// rendered.
    pub(crate) async fn make<R: Send + 'static>(
        &self,
        urgent: bool,
        make: impl FnOnce(&ProcList) -> R + Send + 'static,
    ) -> R {
        if urgent {
            return self.render(self.gate().await, 0, make).await;
        }
        let finished = self.list.finished().len();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let gate = self.rested_gate().await;
        let make = move |list: &ProcList| {
            let made = make(list);
            drop(turn);
            made
        };
        self.render(gate, finished, make).await
    }

    /// The gate, after the pause.
    async fn rested_gate(&self) -> OwnedMutexGuard<Gate> {
        loop {
            let gate = self.gate().await;
            match gate.rest_until {
                Some(rest_until) if rest_until > Instant::now() => {
                    drop(gate);
                    time::sleep_until(rest_until).await;
                }
                _ => return gate,
            }
        }
    }

    /// How many different views clients have.
    fn views(&self) -> usize {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.iter().filter(|frames| frames.strong_count() > 0).count()
    }

    async fn gate(&self) -> OwnedMutexGuard<Gate> {
        Arc::clone(&self.gate).lock_owned().await
    }

    /// Makes something of the tasks that are running, and of so many `besides`.
    async fn render<R: Send + 'static>(
        &self,
        mut gate: OwnedMutexGuard<Gate>,
        besides: usize,
        make: impl FnOnce(&ProcList) -> R + Send + 'static,
    ) -> R {
        let list = self.list.clone();
        let views = self.views();
        let is_small = list.len() + besides <= INLINE;
        let render = move || {
            let began = Instant::now();
            let made = make(&list);
            gate.rest_until = gate.rest_until.max(Some(began + rest_among(began.elapsed(), views)));
            made
        };
        if is_small { render() } else { aside(render).await }
    }
}

#[cfg(test)]
impl Frames {
    /// As long as this is held, a frame is being made.
    pub(crate) async fn hold(&self) -> impl Drop + use<> {
        self.gate().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn view() -> View {
        View::of_all(1000, true)
    }

    /// Frames of which the last took a second, just now.
    async fn slow_frames() -> Frames {
        let frames = Frames::new(ProcList::new());
        let shared = frames.of(view());
        let began = Instant::now();
        *shared.last.lock().await = Some(Frame { text: Bytes::new(), began, took: SECOND });
        frames.gate.lock().await.rest_until = Some(began + rest(SECOND));
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_took_long_is_followed_by_a_pause_of_ten_times_as_long() {
        let began = Instant::now();
        let slow = Frame { text: Bytes::new(), began, took: SECOND };
        assert_eq!(slow.next(3 * SECOND), began + 10 * SECOND);
        assert_eq!(slow.next(30 * SECOND), began + 30 * SECOND);
        assert_eq!(rest_among(SECOND, 3), 4 * SECOND);
        assert_eq!(rest_among(SECOND, 100), 2 * SECOND);
        let stopped = Frame { text: Bytes::new(), began, took: 60 * SECOND };
        assert_eq!(stopped.next(3 * SECOND), began + 70 * SECOND);

        let frames = slow_frames().await;
        frames.get(frames.of(view()), Duration::ZERO, Some(Instant::now())).await;
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_for_all_views_and_outlives_the_clients_and_the_text_does_not() {
        let frames = slow_frames().await;
        let began = Instant::now();
        let shared = frames.of(view());
        assert!(shared.last.lock().await.is_none(), "nobody had that view any more");
        frames.get(frames.of(View::of_all(7, true)), SECOND, None).await;
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_urgent_does_not_wait_out_the_pause_and_what_is_not_does() {
        let frames = slow_frames().await;
        let began = Instant::now();
        let mut waiting = Box::pin(frames.get(frames.of(view()), Duration::ZERO, Some(began)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(frames.make(true, ProcList::len).await, 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(frames.gate.lock().await.rest_until, Some(began + 10 * SECOND), "the longer pause stands");
        drop(waiting);
        assert_eq!(frames.make(false, ProcList::len).await, 0);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn equal_views_share_a_frame_and_different_ones_do_not() {
        let list = ProcList::new();
        let frames = Frames::new(list.clone());
        let (one, other) = (frames.of(view()), frames.of(view()));
        assert!(Arc::ptr_eq(&one, &other));
        let shown = frames.get(Arc::clone(&one), SECOND, None).await;
        let _task = list.start("a");
        assert_eq!(frames.get(other, SECOND, None).await.text, shown.text);
        let masked = frames.of(View { reveal: false, ..view() });
        assert!(!Arc::ptr_eq(&one, &masked), "frames are shared within a role only");
        assert_ne!(frames.get(masked, SECOND, None).await.text, shown.text);
        drop(one);
        assert_eq!(frames.of(View::of_all(3, true)).view.limit, 3);
        assert_eq!(frames.shared.lock().expect("no panic").len(), 1, "views that nobody has are forgotten");
    }

    #[tokio::test]
    async fn a_large_table_is_made_aside_and_finished_although_nobody_waits_any_more() {
        let list = ProcList::new();
        let _tasks: Vec<_> = (0..=INLINE).map(|n| list.start(format!("t{n}"))).collect();
        let frames = Frames::new(list);
        let shared = frames.of(view());
        let mut asking = Box::pin(frames.get(Arc::clone(&shared), Duration::ZERO, None));
        // Pending, but for a thread that was quicker than this one.
        let _ = futures_util::poll!(&mut asking);
        drop(asking);
        // The rendering has the lock until it is done.
        assert!(shared.last.lock().await.is_some());
        let thread = frames.make(true, |_| std::thread::current().name().map(str::to_string)).await;
        assert_eq!(thread.as_deref(), Some("pm-aside"));
    }
}
