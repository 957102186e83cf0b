//! Frame: one printout of the table, rendered once for all clients that want it.
//!
//! Each view has a slot: its last frame, and the clients that wait for the next one. A client may
//! take the last one while it is young. A frame that is only due comes no sooner than ten times as
//! long after the last one of its view as that one took; one that a client has asked for does not
//! wait for that.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::{ClientId, Lane};
use crate::view::View;

/// From the beginning of a frame to that of the next one of its view, in times of what it took.
const PAUSE: u32 = 10;

/// The longest such pause. A frame that takes a second is one of millions of tasks, or of a process that
/// was stopped meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A frame is used again while it is younger than this part of the delay ..
const REUSE: u32 = 10;

/// .. and than this.
const REUSE_AT_MOST: Duration = Duration::from_millis(100);

/// One printout of the table.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Behind a lone empty line.
    text: Bytes,
    /// When its rendering began: it shows nothing older.
    pub(crate) began: Instant,
    took: Duration,
}

impl Frame {
    pub(crate) fn new(table: &str, began: Instant, took: Duration) -> Self {
        let mut text = BytesMut::with_capacity(table.len() + 1);
        text.put_u8(b'\n');
        text.put(table.as_bytes());
        Frame { text: text.freeze(), began, took }
    }

    /// The bytes to send: an empty line before every frame but the first.
    pub(crate) fn bytes(&self, is_first: bool) -> Bytes {
        self.text.slice(usize::from(is_first)..)
    }

    /// The table by itself.
    pub(crate) fn table(&self) -> &str {
        // It was made of a whole string.
        std::str::from_utf8(&self.text[1..]).unwrap_or_default()
    }

    /// When the next one may follow, at a pace of one every `delay`.
    pub(crate) fn next(&self, delay: Duration) -> Instant {
        self.began + delay.max(self.pause())
    }

    fn pause(&self) -> Duration {
        (self.took * PAUSE).min(LONGEST_PAUSE)
    }
}

/// Which frames will do for a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// It waits for one that began after this: the time of its last reply.
    pub(crate) newer_than: Option<Instant>,
    /// It gets a frame so often.
    pub(crate) delay: Duration,
    /// It has asked for it, and does not wait out the pause.
    pub(crate) is_asked: bool,
}

pub(crate) type SlotId = u64;

/// The frames of all views that clients have.
#[derive(Default)]
pub(super) struct Frames {
    slots: Vec<Slot>,
    last_id: SlotId,
}

struct Slot {
    id: SlotId,
    view: View,
    last: Option<Frame>,
    waiting: Vec<Waiting>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Idle,
    /// In the queue.
    Queued,
    /// Being rendered, for the first so many of those that wait.
    Rendering(usize),
}

struct Waiting {
    client: ClientId,
    is_asked: bool,
    reply: oneshot::Sender<Frame>,
}

impl Frames {
    /// Takes in what a client wants. If the last frame will do, it has it.
    pub(super) fn wish(&mut self, client: ClientId, view: View, wish: Wish, reply: oneshot::Sender<Frame>) {
        let known = self.slots.iter().position(|slot| slot.view == view);
        let at = known.unwrap_or_else(|| {
            self.last_id += 1;
            self.slots.push(Slot { id: self.last_id, view, last: None, waiting: Vec::new(), state: State::Idle });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[at];
        let max_age = (wish.delay / REUSE).min(REUSE_AT_MOST);
        match &slot.last {
            Some(frame)
                if frame.began + max_age >= Instant::now() && wish.newer_than.is_none_or(|at| frame.began > at) =>
            {
                _ = reply.send(frame.clone());
            }
            _ => slot.waiting.push(Waiting { client, is_asked: wish.is_asked, reply }),
        }
    }

    /// The slots of which a frame is to be rendered now, for the queue: with the client that is charged
    /// for it, and the lane.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(ClientId, Lane, SlotId, View)> {
        let mut due = Vec::new();
        for slot in &mut self.slots {
            slot.waiting.retain(|waiting| !waiting.reply.is_closed() || slot.state != State::Idle);
            if slot.state == State::Idle
                && slot.due_at(now).is_some_and(|at| at <= now)
                && let Some(first) = slot.waiting.iter().min_by_key(|waiting| waiting.is_asked)
            {
                let lane = if first.is_asked { Lane::Asked } else { Lane::Due };
                slot.state = State::Queued;
                due.push((first.client, lane, slot.id, slot.view.clone()));
            }
        }
        self.slots.retain(|slot| slot.keep_until(now).is_none_or(|until| until > now));
        due
    }

    /// When to look again, if nothing comes meanwhile.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let idle = self.slots.iter().filter(|slot| slot.state == State::Idle);
        idle.filter_map(|slot| slot.due_at(now).or(slot.keep_until(now))).min()
    }

    /// Begins to render, unless no client waits any more.
    pub(super) fn begin(&mut self, id: SlotId) -> bool {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return false };
        slot.waiting.retain(|waiting| !waiting.reply.is_closed());
        slot.state = if slot.waiting.is_empty() { State::Idle } else { State::Rendering(slot.waiting.len()) };
        slot.state != State::Idle
    }

    /// Sends the frame to all that waited for it when it was begun. If there is none, they are told so.
    pub(super) fn finish(&mut self, id: SlotId, frame: Option<Frame>) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let State::Rendering(waited) = std::mem::replace(&mut slot.state, State::Idle) else { return };
        for waiting in slot.waiting.drain(..waited) {
            if let Some(frame) = &frame {
                _ = waiting.reply.send(frame.clone());
            }
        }
        slot.last = frame;
    }
}

impl Slot {
    /// When its next frame is to be rendered; `None` if no client waits for one.
    fn due_at(&self, now: Instant) -> Option<Instant> {
        let last = self.last.as_ref().filter(|_| !self.waiting.iter().any(|waiting| waiting.is_asked));
        let pause_ends = last.map(|frame| frame.began + frame.pause());
        (!self.waiting.is_empty()).then(|| pause_ends.unwrap_or(now))
    }

    /// Until when its last frame matters, if no client waits; `None` as long as one does.
    fn keep_until(&self, now: Instant) -> Option<Instant> {
        let until =
            self.last.as_ref().map(|frame| frame.began + frame.pause().max(REUSE_AT_MOST) + Duration::from_millis(1));
        (self.waiting.is_empty() && self.state == State::Idle).then(|| until.unwrap_or(now))
    }
}
