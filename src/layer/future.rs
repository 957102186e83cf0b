//! The future of a response: the work of the task, until its head is there.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;

use super::answer;
use super::body::{Head, ResponseBody};
use super::client::{Asked, give_up};
use crate::killed::Killed;
use crate::run::{Look, Stopped, Work, drop_killed, in_scope, poll_into};
use crate::task::Task;
use crate::unwinding::catch;

pin_project! {
    /// The future of [`ProcListService`](super::ProcListService).
    #[must_use = "futures do nothing unless they are polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let KindProj::Listed { mut future, request } = this.project().kind.project()
                && future.is_some()
                && let Some(task) = &request.task
            {
                // No kill leaves a destructor.
                let _caught = catch(|| in_scope(&task.entry, || future.set(None)));
            }
        }
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        /// The guard is dropped after the work.
        Listed { #[pin] future: Option<F>, request: Request },
        /// Before there was a future.
        Killed { killed: Option<Killed>, request: Request },
        Unlisted { #[pin] future: F },
    }
}

/// A request that has no response yet.
struct Request {
    /// The guard. None when it has been answered.
    task: Option<Task>,
    work: Work,
    asked: Asked,
}

impl Request {
    fn new(task: Task, asked: Asked) -> Self {
        let work = Work::new(&task.entry, asked.location);
        Request { task: Some(task), work, asked }
    }

    #[inline]
    fn respond<B: Body>(&mut self, response: Response<B>) -> Response<ResponseBody<B>> {
        let head = Head {
            status: response.status(),
            // A body of unknown length may have been given one.
            length: response.body().size_hint().exact().or_else(|| content_length(response.headers())),
            is_grpc: self.asked.is_grpc && answer::is_grpc(response.headers()),
        };
        response.map(|body| match self.take() {
            Some(task) => ResponseBody::listed(body, head, task, &self.asked),
            None => ResponseBody::unlisted(body),
        })
    }

    /// The task ends here: what it has spawned is not its response.
    #[cold]
    fn answer<B>(&mut self, killed: &Killed) -> Response<ResponseBody<B>> {
        let Some(task) = self.take() else { panic!("a response polled after it was there") };
        let settings = self.asked.settings.as_deref();
        answer::response(killed, &task, self.asked.is_grpc, settings).map(ResponseBody::answer)
    }

    /// Calls `drop`, which drops what was stopped.
    #[cold]
    fn stopped<B>(&mut self, stopped: Stopped, drop: impl FnOnce()) -> Response<ResponseBody<B>> {
        match (stopped, &self.task) {
            (Stopped::Killed(killed), Some(task)) => {
                let _caught = drop_killed(&task.entry, &killed, drop);
                self.answer(&killed)
            }
            (Stopped::Killed(killed), None) => self.answer(&killed),
            // Who polls may catch it, and drop the future only then.
            (Stopped::Unwinds(unwound), _) => {
                self.take().into_iter().for_each(|task| task.unwound(&unwound));
                unwound.resume()
            }
        }
    }

    #[inline]
    fn take(&mut self) -> Option<Task> {
        let task = self.task.take()?;
        self.work.end(&task.entry);
        Some(task)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(task) = self.take() {
            give_up(task);
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(super) fn listed(future: Option<F>, task: Task, asked: Asked) -> Self {
        ResponseFuture { kind: Kind::Listed { future, request: Request::new(task, asked) } }
    }

    /// The service was stopped when it was called.
    #[cold]
    pub(super) fn stopped(stopped: Stopped, task: Task, asked: Asked) -> Self {
        match stopped {
            Stopped::Killed(killed) => {
                ResponseFuture { kind: Kind::Killed { killed: Some(killed), request: Request::new(task, asked) } }
            }
            Stopped::Unwinds(unwound) => {
                task.unwound(&unwound);
                unwound.resume()
            }
        }
    }

    pub(super) fn unlisted(future: F) -> Self {
        ResponseFuture { kind: Kind::Unlisted { future } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut future, request) = match self.project().kind.project() {
            KindProj::Listed { future, request } => (future, request),
            KindProj::Killed { killed, request } => match killed.take() {
                Some(killed) => return Poll::Ready(Ok(request.answer(&killed))),
                None => panic!("a response polled after it was there"),
            },
            KindProj::Unlisted { future } => {
                return Poll::Ready(Ok(ready!(future.poll(cx))?.map(ResponseBody::unlisted)));
            }
        };
        let Some(task) = &request.task else { panic!("a response polled after it was there") };
        let mut output = None;
        let polled = request.work.poll(&task.entry, cx, Look::First, |cx| poll_into(future.as_mut(), &mut output, cx));
        match (polled, output) {
            (Ok(_), Some(Ok(response))) => Poll::Ready(Ok(request.respond(response))),
            (Ok(_), Some(Err(error))) => {
                drop(request.take());
                Poll::Ready(Err(error))
            }
            (Ok(_), None) => Poll::Pending,
            (Err(stopped), output) => {
                let drop = || {
                    future.set(None);
                    drop(output);
                };
                Poll::Ready(Ok(request.stopped(stopped, drop)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
