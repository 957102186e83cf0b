//! Watch: streams of what happens. A reader that is slow loses the oldest, is told how many, and delays nobody.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::status::{LogLine, StateChange};

/// What one reader may have before it: so many items, of so many bytes.
const ITEMS: usize = 8192;
const BYTES: usize = 1 << 20;

/// Something that is sent to all who watch.
pub(crate) trait News: Clone {
    fn bytes(&self) -> usize;
}

impl News for StateChange {
    fn bytes(&self) -> usize {
        64
    }
}

impl News for LogLine {
    fn bytes(&self) -> usize {
        64 + self.text.len()
    }
}

/// All who watch.
pub(crate) struct Board<T> {
    boxes: Mutex<Vec<Weak<Mailbox<T>>>>,
    /// Somebody watches, or did when it was last looked.
    is_watched: AtomicBool,
}

struct Mailbox<T>(Mutex<Content<T>>);

struct Content<T> {
    items: VecDeque<T>,
    bytes: usize,
    missed: u64,
    waker: Option<Waker>,
    is_closed: bool,
}

impl<T: News> Board<T> {
    pub(crate) fn new() -> Self {
        Board { boxes: Mutex::default(), is_watched: AtomicBool::new(false) }
    }

    fn subscribe(&self) -> Arc<Mailbox<T>> {
        let content = Content { items: VecDeque::new(), bytes: 0, missed: 0, waker: None, is_closed: false };
        let mailbox = Arc::new(Mailbox(Mutex::new(content)));
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&mailbox));
        self.is_watched.store(true, Ordering::SeqCst);
        mailbox
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::SeqCst)
    }

    pub(crate) fn send(&self, news: &T) {
        self.each(|content| content.push(news.clone()));
    }

    /// No more comes.
    pub(crate) fn close(&self) {
        self.each(|content| content.is_closed = true);
    }

    fn each(&self, mut change: impl FnMut(&mut Content<T>)) {
        let mut wakers = Vec::new();
        {
            let mut boxes = self.boxes.lock().unwrap_or_else(PoisonError::into_inner);
            boxes.retain(|mailbox| {
                let Some(mailbox) = mailbox.upgrade() else { return false };
                let mut content = mailbox.0.lock().unwrap_or_else(PoisonError::into_inner);
                change(&mut content);
                wakers.extend(content.waker.take());
                true
            });
            self.is_watched.store(!boxes.is_empty(), Ordering::SeqCst);
        }
        // A waker is code of somebody else's: under no lock.
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T: News> Content<T> {
    fn push(&mut self, news: T) {
        self.bytes += news.bytes();
        self.items.push_back(news);
        while self.items.len() > ITEMS || (self.bytes > BYTES && self.items.len() > 1) {
            if let Some(oldest) = self.items.pop_front() {
                self.bytes -= oldest.bytes();
                self.missed += 1;
            }
        }
    }
}

impl<T: News> Mailbox<T> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = content.items.pop_front() {
            content.bytes -= news.bytes();
            return Poll::Ready(Some(news));
        }
        if content.is_closed {
            return Poll::Ready(None);
        }
        content.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn missed(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).missed
    }
}

macro_rules! streams {
    ($($(#[$doc:meta])* $name:ident of $item:ty;)*) => {$(
        $(#[$doc])*
        #[must_use = "a stream does nothing unless it is read"]
        pub struct $name(Arc<Mailbox<$item>>);

        impl $name {
            pub(crate) fn of(board: &Board<$item>) -> Self {
                $name(board.subscribe())
            }

            /// How many this reader has lost so far, because it was slow.
            pub fn missed(&self) -> u64 {
                self.0.missed()
            }
        }

        impl Stream for $name {
            type Item = $item;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                self.0.poll(cx)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("missed", &self.missed()).finish_non_exhaustive()
            }
        }
    )*};
}

streams! {
    /// Every change of a state, in order: [`Overseer::watch_state`](crate::Overseer::watch_state).
    ///
    /// A reader that does not read loses the oldest beyond 8,192. The stream ends with its Overseer.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future that waits for the next item.
    StateChanges of StateChange;

    /// Every line that is printed, those of one output in order: [`Overseer::watch_logs`](crate::Overseer::watch_logs).
    ///
    /// A reader that does not read loses the oldest beyond 8,192 lines or 1 MiB. The stream ends with its Overseer.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future that waits for the next item.
    LogLines of LogLine;
}
