//! Render: everything that is made of the whole list for the clients of one server, in turn.
//!
//! One [`Worker`] does it, a piece at a time, so no number of clients makes rendering take more than
//! half a processor. A [`Queue`] says whose turn it is. Sessions hold a [`Renderer`] and wait.

mod frame;
mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tokio::time::{self, Instant};

use crate::list::ProcList;
use crate::own_thread::on_own_thread;
use crate::pace::Pace;
use crate::view::{View, table};
pub(crate) use frame::{Frame, Wish};
use frame::{Frames, SlotId};
pub(crate) use queue::Lane;
use queue::{ClientId, Next, Queue, Turn};

/// What looks at up to this many tasks is made too quickly to hold up a session.
const INLINE: usize = 200;

/// What a session holds, to have something rendered.
pub(crate) struct Renderer {
    requests: mpsc::UnboundedSender<Request>,
    clients: AtomicU64,
}

/// A client, to which rendering is charged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(ClientId);

/// What one client wants. A session waits for it before it wants something else, so there are few.
enum Request {
    Frame { client: ClientId, view: View, wish: Wish, reply: oneshot::Sender<Frame> },
    Other { client: ClientId, lane: Lane, task: Task },
}

/// What waits for its turn. A rendering is polled once for each piece.
enum Task {
    Frame { slot: SlotId, rendering: BoxFuture<'static, String>, timing: Timing },
    Other { rendering: BoxFuture<'static, ()>, size: usize, wanted: Weak<()> },
}

/// When a frame was begun, and what it took so far.
#[derive(Default)]
struct Timing {
    began: Option<Instant>,
    took: Duration,
}

/// Renders what is asked for. Runs as long as its server.
pub(crate) struct Worker {
    list: ProcList,
    requests: mpsc::UnboundedReceiver<Request>,
    queue: Queue<Task>,
    frames: Frames,
}

/// A renderer of `list` and its worker.
pub(crate) fn new(list: ProcList) -> (Renderer, Worker) {
    let (sender, requests) = mpsc::unbounded_channel();
    let renderer = Renderer { requests: sender, clients: AtomicU64::new(0) };
    (renderer, Worker { list, requests, queue: Queue::default(), frames: Frames::default() })
}

impl Renderer {
    pub(crate) fn client(&self) -> Client {
        Client(self.clients.fetch_add(1, Ordering::Relaxed))
    }

    /// A frame of `view`. `None` if it could not be made.
    ///
    /// # Cancel safety
    ///
    /// A frame that was begun is finished for the others that want it.
    pub(crate) fn frame(&self, client: Client, view: View, wish: Wish) -> BoxFuture<'static, Option<Frame>> {
        let (reply, told) = oneshot::channel();
        let _ = self.requests.send(Request::Frame { client: client.0, view, wish, reply });
        Box::pin(async move { told.await.ok() })
    }

    /// What `rendering` makes, which looks at `size` tasks. `None` if it could not be made.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the rendering goes no further than to the end of its piece.
    pub(crate) fn make<T: Send + 'static>(
        &self,
        client: Client,
        lane: Lane,
        size: usize,
        rendering: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let (reply, told) = oneshot::channel();
        let waits = Arc::new(());
        let rendering = Box::pin(async move { _ = reply.send(rendering.await) });
        let task = Task::Other { rendering, size, wanted: Arc::downgrade(&waits) };
        let _ = self.requests.send(Request::Other { client: client.0, lane, task });
        Box::pin(async move {
            let made = told.await.ok();
            drop(waits);
            made
        })
    }
}

impl Worker {
    /// Serves until the [`Renderer`] is gone.
    pub(crate) async fn run(mut self) {
        loop {
            while let Ok(request) = self.requests.try_recv() {
                self.take(request);
            }
            let now = Instant::now();
            for (client, lane, slot, view) in self.frames.due(now) {
                let list = self.list.clone();
                let rendering = Box::pin(async move { table::render(&list, &view, &mut Pace::in_pieces()).await });
                self.queue.push(client, lane, Task::Frame { slot, rendering, timing: Timing::default() });
            }
            let turn_at = match self.queue.pop(now) {
                Next::Now(turn) => {
                    self.serve(turn).await;
                    // Sessions run on the same thread.
                    task::yield_now().await;
                    continue;
                }
                Next::At(at) => Some(at),
                Next::Nothing => None,
            };
            let wake_at = turn_at.into_iter().chain(self.frames.wake_at(now)).min();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some(()) = OptionFuture::from(wake_at.map(time::sleep_until)) => {}
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Frame { client, view, wish, reply } => self.frames.wish(client, view, wish, reply),
            Request::Other { client, lane, task } => self.queue.push(client, lane, task),
        }
    }

    /// Renders one piece of what has its turn.
    async fn serve(&mut self, turn: Turn<Task>) {
        let Turn { client, lane, item } = turn;
        let began = Instant::now();
        let rest = match item {
            Task::Frame { slot, rendering, mut timing } => {
                if timing.began.is_none() && !self.frames.begin(slot) {
                    return;
                }
                let frame_began = *timing.began.get_or_insert(began);
                let polled = piece(self.list.len(), rendering).await;
                timing.took += began.elapsed();
                match polled {
                    Some((Poll::Pending, rendering)) => Some(Task::Frame { slot, rendering, timing }),
                    Some((Poll::Ready(table), _)) => {
                        self.frames.finish(slot, Some(Frame::new(&table, frame_began, timing.took)));
                        None
                    }
                    None => {
                        self.frames.finish(slot, None);
                        None
                    }
                }
            }
            Task::Other { wanted, .. } if wanted.strong_count() == 0 => return,
            Task::Other { rendering, size, wanted } => match piece(size, rendering).await {
                Some((Poll::Pending, rendering)) => Some(Task::Other { rendering, size, wanted }),
                _ => None,
            },
        };
        self.queue.charge(client, lane, began, began.elapsed());
        if let Some(task) = rest {
            self.queue.push(client, lane, task);
        }
    }
}

/// Polls `rendering` once, on a thread of its own if it looks at many tasks. `None` if it panicked.
async fn piece<T: Send + 'static>(
    size: usize,
    mut rendering: BoxFuture<'static, T>,
) -> Option<(Poll<T>, BoxFuture<'static, T>)> {
    let poll = move || {
        let polled = rendering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (polled, rendering)
    };
    match size <= INLINE {
        true => catch_unwind(AssertUnwindSafe(poll)).ok(),
        false => on_own_thread(poll).await,
    }
}

#[cfg(test)]
mod tests;
