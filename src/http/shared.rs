//! Shared: what all requests to one list over HTTP share.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime;
use tokio::task::AbortHandle;

use crate::access::PeerLookup;
use crate::http::feed::Feeds;
use crate::http::page::Page;
use crate::http::strangers::Strangers;
use crate::render::Worker;
use crate::server::Server;
use crate::service::Service;

/// What all requests share.
pub(super) struct Http {
    pub(super) service: Arc<Service>,
    pub(super) strangers: Strangers,
    pub(super) feeds: Feeds,
    pub(super) page: Page,
    /// Why nothing can be served, if what was set cannot be.
    pub(super) fault: Option<String>,
    rendering: Mutex<Rendering>,
}

/// Who renders. It starts with the first request, because there may be no runtime before.
enum Rendering {
    No(Box<Worker>),
    Started(AbortHandle),
    Starting,
}

impl Http {
    pub(super) fn new(server: Server, lookup: PeerLookup, fault: Option<String>) -> Self {
        let strangers = Strangers::new(&server.web).unwrap_or_default();
        let page = Page::new(&server.web).unwrap_or_default();
        let (service, worker) = server.service(lookup);
        let (feeds, rendering) = (Feeds::default(), Mutex::new(Rendering::No(Box::new(worker))));
        Http { service, strangers, feeds, page, fault, rendering }
    }

    /// Starts the worker that renders, if it does not run.
    ///
    /// # Errors
    ///
    /// There is no runtime.
    pub(super) fn start(&self) -> Result<(), runtime::TryCurrentError> {
        let mut rendering = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*rendering, Rendering::Started(_)) {
            let runtime = runtime::Handle::try_current()?;
            if let Rendering::No(worker) = std::mem::replace(&mut *rendering, Rendering::Starting) {
                *rendering = Rendering::Started(runtime.spawn(worker.run()).abort_handle());
            }
        }
        Ok(())
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Rendering::Started(worker) = self.rendering.get_mut().unwrap_or_else(PoisonError::into_inner) {
            worker.abort();
        }
    }
}
