//! The body of a response: the work of the task goes on in it, until it has been sent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::answer;
use super::client::{Asked, give_up};
use super::settings::Settings;
use super::{AnswerBody, BoxError};
use crate::killed::Killed;
use crate::run::{Look, Stopped, Work, drop_killed, in_scope};
use crate::task::Task;
use crate::unwinding::catch;

/// The status of a task whose response body is being sent.
const STREAMING: &str = "streaming";

/// A body of no more bytes is mostly one frame, which is handed over as soon as the head is there: it takes no
/// time that its status could tell of, and it is not worth a broken connection.
const SHORT: u64 = 16 * 1024;

pin_project! {
    /// The body of a response of [`ProcListService`](super::ProcListService).
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut kind = this.project().kind;
            if let KindProj::Sent { sending, .. } = kind.as_mut().project()
                && let Some(sending) = sending.take()
            {
                sending.drop_early(|| kind.set(Kind::Over));
            }
        }
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        /// What the service has made.
        Sent { #[pin] body: B, sending: Option<Sending> },
        /// What we have made, of a request that was killed.
        Answer { body: AnswerBody },
        /// It was killed, or dropped.
        Over,
    }
}

/// What the head of a response says of its body.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) length: Option<u64>,
    pub(super) is_grpc: bool,
}

/// What is known of a body that is being sent.
struct Sending {
    task: Task,
    work: Work,
    /// How many bytes are left, if that is known.
    left: Option<u64>,
    /// It is handed over whole, also when its task is killed meanwhile.
    is_short: bool,
    /// The connection has had time to send the head, and what it has of the body.
    is_flushed: bool,
    /// Whether the client wants it to its end.
    is_wanted: bool,
    is_grpc: bool,
    settings: Option<Arc<Settings>>,
}

impl Sending {
    /// Counts what is handed over.
    fn hand_over(&mut self, frame: &Frame<impl Buf>) {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.remaining() as u64);
        }
    }

    /// Ends the task of a body that `drop` drops before its end.
    fn drop_early(self, drop: impl FnOnce()) {
        // No kill leaves a destructor.
        let _caught = catch(|| in_scope(&self.task.entry, drop));
        // Trailers may be left: HTTP/1 does not ask for them.
        let is_wanted = self.is_wanted && self.left != Some(0);
        let task = self.end();
        if is_wanted {
            give_up(task);
        }
    }

    #[inline]
    fn end(mut self) -> Task {
        self.work.end(&self.task.entry);
        self.task
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn unlisted(body: B) -> Self {
        ResponseBody { kind: Kind::Sent { body, sending: None } }
    }

    pub(super) fn answer(body: AnswerBody) -> Self {
        ResponseBody { kind: Kind::Answer { body } }
    }
}

impl<B: Body> ResponseBody<B> {
    /// The body of a response with this head.
    pub(super) fn listed(body: B, head: Head, task: Task, asked: &Asked) -> Self {
        if body.is_end_stream() {
            return ResponseBody::unlisted(body);
        }
        let Head { status, length, is_grpc } = head;
        let is_upgrade = asked.is_connect && status.is_success();
        let has_none = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_wanted = !asked.is_head && !is_upgrade && !has_none;
        let is_short = length.is_some_and(|bytes| bytes <= SHORT);
        if is_wanted && !is_short {
            task.entry.set_status(STREAMING.into(), Some(asked.location));
        }
        let sending = Sending {
            work: Work::new(&task.entry, asked.location),
            task,
            left: length,
            is_short,
            is_flushed: false,
            is_wanted,
            is_grpc,
            settings: asked.settings.clone(),
        };
        ResponseBody { kind: Kind::Sent { body, sending: Some(sending) } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (mut body, being_sent) = match self.as_mut().project().kind.project() {
            KindProj::Sent { body, sending } => (body, sending),
            KindProj::Answer { body } => return Pin::new(body).poll_frame(cx),
            KindProj::Over => return Poll::Ready(None),
        };
        let Some(sending) = being_sent else {
            return Poll::Ready(ready!(body.poll_frame(cx)).map(|frame| frame.map_err(Into::into)));
        };
        let look = if sending.is_short { Look::IfPending } else { Look::First };
        let mut frame = None;
        let polled = sending.work.poll(&sending.task.entry, cx, look, |cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(ready) => {
                frame = ready;
                true
            }
            Poll::Pending => false,
        });
        match polled {
            Ok(Poll::Ready(())) => {}
            Ok(Poll::Pending) => return Poll::Pending,
            Err(stopped) => return self.end_stopped(stopped, cx),
        }
        let is_over = match &frame {
            Some(Ok(frame)) => {
                sending.hand_over(frame);
                body.is_end_stream()
            }
            Some(Err(_)) | None => true,
        };
        if is_over {
            being_sent.take().into_iter().for_each(|sending| drop(sending.end()));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Sent { body, .. } => body.is_end_stream(),
            Kind::Answer { body } => body.is_end_stream(),
            Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Sent { body, .. } => body.size_hint(),
            Kind::Answer { body } => body.size_hint(),
            Kind::Over => SizeHint::with_exact(0),
        }
    }
}

impl<B> ResponseBody<B> {
    /// What a body that was stopped returns.
    #[cold]
    fn end_stopped(
        mut self: Pin<&mut Self>,
        stopped: Stopped,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let KindProj::Sent { sending, .. } = self.as_mut().project().kind.project() else { return Poll::Ready(None) };
        match (stopped, sending) {
            // hyper forgets what it has not sent yet when a body fails, the head too.
            (Stopped::Killed(_), Some(sending)) if !sending.is_flushed => {
                sending.is_flushed = true;
                // What has unwound is not polled again.
                sending.is_short = false;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (Stopped::Killed(killed), _) => Poll::Ready(self.end_killed(&killed)),
            // Who polls may catch it, and drop this only then.
            (Stopped::Unwinds(unwound), sending) => {
                sending.take().into_iter().for_each(|sending| sending.end().unwound(&unwound));
                unwound.resume()
            }
        }
    }

    /// The last frame of a body that was killed.
    fn end_killed(self: Pin<&mut Self>, killed: &Killed) -> Option<Result<Frame<Bytes>, BoxError>> {
        let mut kind = self.project().kind;
        let sending = match kind.as_mut().project() {
            KindProj::Sent { sending, .. } => sending.take()?,
            KindProj::Answer { .. } | KindProj::Over => return None,
        };
        let _caught = drop_killed(&sending.task.entry, killed, || kind.set(Kind::Over));
        let (is_grpc, settings) = (sending.is_grpc, sending.settings.clone());
        let task = sending.end();
        answer::tell(killed, &task, settings.as_deref());
        // A stream of gRPC has a way to say it.
        match is_grpc {
            true => Some(Ok(Frame::trailers(answer::trailers(killed, settings.as_deref())))),
            false => Some(Err(killed.clone().into())),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
