//! Futures: what one awaits of an Overseer. They need no runtime, and are named so that a struct can hold them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::actor::Event;
use crate::error::Error;
use crate::interrupts::Interrupts;
use crate::shared::{Core, Shared};
use crate::status::{Outcome, Reason, Status};

/// An answer of the actors, for a future of any runtime.
#[derive(Debug)]
struct Wait<T>(oneshot::Receiver<T>);

impl<T> Wait<T> {
    /// `None` if it will never come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_unpin(cx).map(Result::ok)
    }
}

/// The future of [`Overseer::stop`](crate::Overseer::stop) and [`Overseer::kill`](crate::Overseer::kill).
///
/// # Cancel safety
///
/// Dropping it changes nothing: it only waits.
#[must_use = "the stop has been asked for, but only this future, awaited, tells when it is done"]
#[derive(Debug)]
pub struct Stopped {
    id: String,
    asked: Result<Ending, Error>,
}

#[derive(Debug)]
enum Ending {
    Idle(Outcome),
    Awaited(Wait<Outcome>),
}

impl Stopped {
    /// Asks for the end. Of one that is idle it is the last one.
    pub(crate) fn ask(shared: &Shared, id: &str, event: Event) -> Self {
        let idle = || Outcome {
            exit_code: None,
            signal: None,
            error: None,
            reason: Reason::Stopped,
            left: Vec::new(),
            has_good_code: false,
        };
        let asked = shared.with(|core| {
            core.check(id)?;
            let ended = core.until_ended(id);
            core.step(id, event);
            let last = || Ending::Idle(core.last(id).unwrap_or_else(idle));
            Ok(ended.map_or_else(last, |ended| Ending::Awaited(Wait(ended))))
        });
        Stopped { id: id.to_string(), asked }
    }

    /// Whether there was nothing to end.
    pub(crate) fn is_of_idle(&self) -> bool {
        matches!(self.asked, Ok(Ending::Idle(_)))
    }
}

impl Future for Stopped {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.asked {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(Ending::Idle(outcome)) => Poll::Ready(Ok(outcome.clone())),
            Ok(Ending::Awaited(wait)) => {
                wait.poll(cx).map(|outcome| outcome.ok_or(Error::Closed { id: this.id.clone() }))
            }
        }
    }
}

/// The future of [`Overseer::restart`](crate::Overseer::restart).
///
/// # Cancel safety
///
/// Dropping it changes nothing: it only waits.
#[must_use = "the restart has been asked for, but only this future, awaited, tells what came of it"]
#[derive(Debug)]
pub struct Restarted {
    id: String,
    asked: Result<Option<Wait<Status>>, Error>,
}

impl Restarted {
    pub(crate) fn ask(shared: &Shared, id: &str) -> Self {
        let asked = shared.with(|core| {
            core.check(id)?;
            let settled = core.until_settled(id);
            core.step(id, Event::Restart);
            Ok(settled.map(Wait))
        });
        Restarted { id: id.to_string(), asked }
    }
}

impl Future for Restarted {
    type Output = Result<Status, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let closed = Error::Closed { id: this.id.clone() };
        match &mut this.asked {
            Err(error) => Poll::Ready(Err(error.clone())),
            Ok(None) => Poll::Ready(Err(closed)),
            Ok(Some(wait)) => wait.poll(cx).map(|status| status.ok_or(closed)),
        }
    }
}

/// The future of [`Overseer::stop_all`](crate::Overseer::stop_all) and [`Overseer::kill_all`](crate::Overseer::kill_all).
///
/// # Cancel safety
///
/// Dropping it changes nothing: it only waits.
#[must_use = "the stop has been asked for, but only this future, awaited, tells when it is done"]
#[derive(Debug)]
pub struct AllStopped {
    waiting: Vec<Wait<Outcome>>,
}

impl AllStopped {
    pub(crate) fn new(ended: Vec<oneshot::Receiver<Outcome>>) -> Self {
        AllStopped { waiting: ended.into_iter().map(Wait).collect() }
    }
}

impl Future for AllStopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.retain_mut(|wait| wait.poll(cx).is_pending());
        if self.waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The future of [`Overseer::supervise`](crate::Overseer::supervise). Dropping it stops the program.
#[must_use = "nothing is supervised until this is awaited, and dropping it stops the program"]
pub struct Supervise {
    shared: Arc<Shared>,
    id: String,
    ended: Option<Wait<Outcome>>,
}

impl Supervise {
    pub(crate) fn new(shared: &Arc<Shared>, id: String) -> Self {
        Supervise { shared: Arc::clone(shared), id, ended: None }
    }

    fn begin(&self) -> Result<Wait<Outcome>, Error> {
        let id = &self.id;
        self.shared.with(|core| {
            core.check(id)?;
            if core.world.node(id)?.actor.is_supervised() {
                return Err(Error::AlreadySupervised { id: id.clone() });
            }
            core.step(id, Event::Start);
            core.until_ended(id).map(Wait).ok_or_else(|| Error::Closed { id: id.clone() })
        })
    }
}

impl Future for Supervise {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ended.is_none() {
            match self.begin() {
                Ok(wait) => self.ended = Some(wait),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let Some(wait) = &mut self.ended else { return Poll::Pending };
        let Poll::Ready(outcome) = wait.poll(cx) else { return Poll::Pending };
        self.ended = None;
        Poll::Ready(outcome.ok_or_else(|| Error::Closed { id: self.id.clone() }))
    }
}

impl Drop for Supervise {
    fn drop(&mut self) {
        // One that has been answered, and was not polled since, is over.
        if self.ended.as_mut().is_some_and(|wait| wait.0.try_recv().is_err_and(|error| error == TryRecvError::Empty)) {
            self.shared.step(&self.id, Event::Stop(Reason::Stopped));
        }
    }
}

/// The future of [`Overseer::supervise_all`](crate::Overseer::supervise_all). Dropping it stops them all.
#[must_use = "nothing is supervised until this is awaited, and dropping it stops all programs"]
pub struct SuperviseAll {
    shared: Arc<Shared>,
    takes_signals: bool,
    running: Option<(Wait<()>, Option<Interrupts>)>,
}

impl SuperviseAll {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        SuperviseAll { shared: Arc::clone(shared), takes_signals: true, running: None }
    }

    /// Whether SIGINT and SIGTERM stop all programs: yes unless set.
    pub fn signals(self, yes: bool) -> Self {
        SuperviseAll { takes_signals: yes, running: None, shared: Arc::clone(&self.shared) }
    }
}

impl Future for SuperviseAll {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.running.is_none() {
            let Some(done) = self.shared.with(Core::supervise_all) else { return Poll::Ready(()) };
            let interrupts = self.takes_signals.then(|| Interrupts::take(&self.shared));
            self.running = Some((Wait(done), interrupts));
        }
        let Some((wait, _)) = &mut self.running else { return Poll::Pending };
        let poll = wait.poll(cx).map(|_| ());
        if poll.is_ready() {
            self.running = None;
        }
        poll
    }
}

impl Drop for SuperviseAll {
    fn drop(&mut self) {
        if self.running.take().is_some_and(|(mut wait, _)| wait.0.try_recv() == Err(TryRecvError::Empty)) {
            self.shared.with(|core| {
                core.forget_all();
                core.stop_all();
            });
        }
    }
}

impl fmt::Debug for Supervise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervise").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for SuperviseAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuperviseAll").field("takes_signals", &self.takes_signals).finish_non_exhaustive()
    }
}
