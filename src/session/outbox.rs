//! Outbox: what one client is still to be sent. Bounded, and never a line inside a frame.

use std::fmt::{Display, Write};
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{self, Instant};

/// With more replies than this unsent, nothing is asked that has an answer.
const ROOM: usize = 64 * 1024;

/// A client that takes no byte for this long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is still to be sent: the rest of a frame or of some replies, and the
/// replies that came up meanwhile.
pub(crate) struct Outbox<W> {
    writer: W,
    /// Sent to its end before anything else.
    sending: Bytes,
    /// `sending` is replies, and not a frame.
    sends_replies: bool,
    replies: BytesMut,
    /// When the client last took something, or was last owed nothing.
    progress: Instant,
    last_reply: Option<Instant>,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub(crate) fn new(writer: W) -> Self {
        Outbox {
            writer,
            sending: Bytes::new(),
            sends_replies: false,
            replies: BytesMut::new(),
            progress: Instant::now(),
            last_reply: None,
        }
    }

    pub(crate) fn into_inner(self) -> W {
        self.writer
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.replies.is_empty()
    }

    pub(crate) fn has_room(&self) -> bool {
        let sending = if self.sends_replies { self.sending.len() } else { 0 };
        self.replies.len() + sending < ROOM
    }

    /// When the last reply was given.
    pub(crate) fn last_reply(&self) -> Option<Instant> {
        self.last_reply
    }

    /// A frame, for when nothing else is to be sent.
    pub(crate) fn frame(&mut self, frame: Bytes) {
        debug_assert!(self.is_empty(), "a client is owed one frame at a time");
        self.owe();
        self.sending = frame;
        self.sends_replies = false;
    }

    /// A whole line, or several.
    pub(crate) fn reply(&mut self, line: impl Display) {
        self.owe();
        let written = writeln!(self.replies, "{line}");
        debug_assert!(written.is_ok(), "a buffer takes whatever is written to it");
        self.last_reply = Some(Instant::now());
    }

    /// A reply that is drawn and not a line.
    pub(crate) fn draw(&mut self, drawn: &str) {
        self.owe();
        self.replies.extend_from_slice(drawn.as_bytes());
        self.last_reply = Some(Instant::now());
    }

    fn owe(&mut self) {
        if self.is_empty() {
            self.progress = Instant::now();
        }
    }

    /// Sends some of it.
    ///
    /// # Errors
    ///
    /// The connection failed, or the client took nothing for too long.
    ///
    /// # Cancel safety
    ///
    /// What has been sent has left the outbox, and nothing else.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        if self.sending.is_empty() {
            // The buffer goes along, so that what was large is given back when it has been sent.
            self.sending = std::mem::take(&mut self.replies).freeze();
            self.sends_replies = true;
        }
        let sent = time::timeout_at(self.progress + PATIENCE, self.writer.write(&self.sending)).await??;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sending.advance(sent);
        if self.sending.is_empty() {
            self.sending = Bytes::new();
        }
        self.progress = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_memory_of_a_large_answer_is_given_back() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut out = Outbox::new(near);
        out.reply("x".repeat(1 << 20));
        let reading = tokio::spawn(async move {
            let mut answer = vec![0; (1 << 20) + 1];
            far.read_exact(&mut answer).await.expect("all of it");
            far
        });
        while !out.is_empty() {
            out.send().await.expect("it is read");
        }
        let _far = reading.await.expect("no panic");
        // Nothing is left of the buffer, here or behind what was sent.
        assert!(out.replies.capacity() == 0 && out.sending.is_unique() == Bytes::new().is_unique());
    }
}
