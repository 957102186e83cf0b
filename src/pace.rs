//! Pace: how long a rendering goes on before it lets others have their turn.
//!
//! A long rendering is a future that is polled for a piece of work at a time. It says with
//! [`breathe`](Pace::breathe) where a piece may end.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

/// How long a rendering may take before others have their turn.
const PIECE: Duration = Duration::from_millis(50);

/// The clock of one rendering.
pub(crate) struct Pace {
    /// How long a piece may take; for ever, if there is none.
    piece: Option<Duration>,
    began: Instant,
}

impl Pace {
    /// For a rendering that begins now and is polled for a piece at a time.
    pub(crate) fn in_pieces() -> Self {
        Pace { piece: Some(PIECE), began: Instant::now() }
    }

    /// Ends the piece if it has taken long enough.
    pub(crate) async fn breathe(&mut self) {
        if self.piece.is_some_and(|piece| self.began.elapsed() >= piece) {
            let mut has_ended = false;
            poll_fn(|_| if std::mem::replace(&mut has_ended, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            self.began = Instant::now();
        }
    }

    /// Renders in one piece, on the calling thread.
    pub(crate) fn in_one_piece<T>(render: impl AsyncFnOnce(&mut Pace) -> T) -> T {
        let mut pace = Pace { piece: None, began: Instant::now() };
        match render(&mut pace).now_or_never() {
            Some(rendered) => rendered,
            None => unreachable!("it waits for nothing but the end of a piece"),
        }
    }
}
