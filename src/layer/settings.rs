//! Settings: what of a request becomes its task.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response};

use super::AnswerBody;
use super::head::Head;
use crate::entry::Fresh;
use crate::killed::Killed;
use crate::list::ProcList;
use crate::task::{Handle, Task};
use crate::unwinding::catch;

/// The columns that are printed if the program names none.
pub(super) const COLUMNS: [&str; 3] = ["host", "method", "uri"];

/// The longest id that a client may choose, in bytes.
const CHOSEN: usize = 64;

type Filter = dyn Fn(&Parts) -> bool + Send + Sync;
type Peer = dyn Fn(&Parts) -> Option<String> + Send + Sync;
type Columns = dyn Fn(&Parts, &Handle) + Send + Sync;
type OnKill = dyn Fn(&Killed, &Handle) -> Response<AnswerBody> + Send + Sync;

/// What a user has set. Most set nothing: then there are none.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) list: Option<ProcList>,
    pub(super) id: Id,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) columns: Option<Arc<Columns>>,
    pub(super) show_query: bool,
    pub(super) show_message: bool,
    pub(super) on_kill: Option<Arc<OnKill>>,
}

/// Where the id of a request comes from.
#[derive(Clone, Default)]
pub(super) enum Id {
    #[default]
    Numbered,
    Header(HeaderName),
    Made(Arc<dyn Fn(&Parts) -> String + Send + Sync>),
}

/// The task of a request, if nothing is set.
#[inline]
pub(super) fn start<B>(request: &Request<B>) -> Task {
    let head = Head::of(request);
    crate::global().start_request(None, |task| head.describe(task, None, false))
}

impl Settings {
    pub(super) fn list(&self) -> &ProcList {
        self.list.as_ref().unwrap_or_else(|| crate::global())
    }

    /// The task of `request`. `None` if it is not to be listed.
    pub(super) fn start<B>(&self, request: Request<B>) -> (Option<Task>, Request<B>) {
        let (parts, body) = request.into_parts();
        let task = self.filter.as_ref().is_none_or(|filter| filter(&parts)).then(|| self.start_listed(&parts));
        (task, Request::from_parts(parts, body))
    }

    fn start_listed(&self, parts: &Parts) -> Task {
        let id = match &self.id {
            Id::Numbered => None,
            Id::Header(name) => chosen(&parts.headers, name).map(str::to_string),
            Id::Made(make) => Some(make(parts)),
        };
        let (head, peer) = (Head::from(parts), self.peer.as_ref().and_then(|peer| peer(parts)));
        let describe = |task: Fresh<'_>| head.describe(task, peer.as_deref(), self.show_query);
        let task = self.list().start_request(id.as_deref(), describe);
        if let Some(columns) = &self.columns {
            // A kill that unwinds is noticed again before the request is polled.
            let _caught = catch(|| columns(parts, &task));
        }
        task
    }
}

/// The id that the client brings, if it is harmless.
fn chosen<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let id = headers.get(name)?.to_str().ok()?;
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=".contains(&byte);
    (!id.is_empty() && id.len() <= CHOSEN && id.bytes().all(is_harmless)).then_some(id)
}
