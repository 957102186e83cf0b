//! Outbox: what one client is still to be sent. Bounded, and never a line inside a frame.

use std::collections::VecDeque;
use std::fmt::{Display, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

/// With more replies than this unsent, no command is read.
const ROOM: usize = 64 * 1024;

/// A client that takes no byte for this long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is still to be sent, in this order.
pub(crate) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// The replies behind the chunks.
    replies: BytesMut,
    /// How many bytes of all this are replies.
    unsent_replies: usize,
    /// How many bytes, at the front, are the rest of a frame.
    unsent_frame: usize,
    /// When the client last took something, or was last owed nothing.
    progress: Instant,
    last_reply: Option<Instant>,
}

impl Outbox {
    pub(crate) fn new(now: Instant) -> Self {
        Outbox {
            chunks: VecDeque::new(),
            replies: BytesMut::new(),
            unsent_replies: 0,
            unsent_frame: 0,
            progress: now,
            last_reply: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsent_replies + self.unsent_frame == 0
    }

    pub(crate) fn has_room(&self) -> bool {
        self.unsent_replies < ROOM
    }

    /// When the last reply was given.
    pub(crate) fn last_reply(&self) -> Option<Instant> {
        self.last_reply
    }

    /// A frame that was due, for when nothing else is to be sent.
    pub(crate) fn frame(&mut self, frame: Bytes, now: Instant) {
        debug_assert!(self.is_empty(), "a client is owed one frame at a time");
        self.progress = now;
        self.unsent_frame = frame.len();
        self.chunks.push_back(frame);
    }

    /// A whole line, or several.
    pub(crate) fn reply(&mut self, line: impl Display, now: Instant) {
        self.push(now, |replies| {
            let written = writeln!(replies, "{line}");
            debug_assert!(written.is_ok(), "a buffer takes whatever is written to it");
        });
    }

    /// A reply that is drawn and not a line.
    pub(crate) fn draw(&mut self, drawn: &str, now: Instant) {
        self.push(now, |replies| replies.extend_from_slice(drawn.as_bytes()));
    }

    /// A reply that is there already.
    pub(crate) fn bytes(&mut self, bytes: Bytes, now: Instant) {
        self.push(now, |_| {});
        self.unsent_replies += bytes.len();
        let before = std::mem::take(&mut self.replies).freeze();
        self.chunks.extend([before, bytes].into_iter().filter(|chunk| !chunk.is_empty()));
    }

    fn push(&mut self, now: Instant, push: impl FnOnce(&mut BytesMut)) {
        if self.is_empty() {
            self.progress = now;
        }
        let before = self.replies.len();
        push(&mut self.replies);
        self.unsent_replies += self.replies.len() - before;
        self.last_reply = Some(now);
    }

    /// What is to be sent next, if there is anything.
    pub(crate) fn next(&mut self) -> Option<&Bytes> {
        if self.chunks.is_empty() && !self.replies.is_empty() {
            // The buffer goes along, so that what was large is given back when it has been sent.
            self.chunks.push_back(std::mem::take(&mut self.replies).freeze());
        }
        self.chunks.front()
    }

    /// When the client is given up, if it takes nothing until then.
    pub(crate) fn patience_ends(&self) -> Instant {
        self.progress + PATIENCE
    }

    /// So many bytes of [`next`](Self::next) have been sent.
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        self.progress = now;
        let of_frame = bytes.min(self.unsent_frame);
        self.unsent_frame -= of_frame;
        self.unsent_replies -= bytes - of_frame;
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.advance(bytes);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comes_in_order_and_the_memory_of_a_large_answer_is_given_back() {
        let now = Instant::now();
        let mut out = Outbox::new(now);
        out.frame(Bytes::from_static(b"frame\n"), now);
        out.reply("one", now);
        out.bytes(Bytes::from_static(b"two\n"), now);
        out.reply("x".repeat(1 << 20), now);
        assert!(!out.has_room());
        let mut sent = Vec::new();
        while let Some(chunk) = out.next() {
            let some = chunk.len().min(1000);
            sent.extend_from_slice(&chunk[..some]);
            out.sent(some, now);
        }
        assert!(sent.starts_with(b"frame\none\ntwo\nxxx") && sent.len() == 14 + (1 << 20) + 1);
        assert!(out.is_empty() && out.has_room() && out.replies.capacity() == 0 && out.chunks.is_empty());
    }
}
