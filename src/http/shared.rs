//! Shared: what all requests to one list over HTTP share.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::runtime::{self, Handle};

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

/// Who renders, and follows the list for readers. It starts with the first request, on a thread of its own: the runtime of
/// that request may be gone before this.
enum Rendering {
    No(Box<Worker>),
    Started(Handle),
    /// There is no thread to be had.
    Failed,
}

impl Http {
    pub(super) fn new(server: Server, lookup: PeerLookup, fault: Option<String>) -> Self {
        let strangers = Strangers::new(&server.web).unwrap_or_default();
        let page = Page::new(&server.web).unwrap_or_default();
        let (service, worker) = server.service(lookup);
        let (feeds, rendering) = (Feeds::default(), Mutex::new(Rendering::No(Box::new(worker))));
        Http { service, strangers, feeds, page, fault, rendering }
    }

    /// The runtime that renders. It ends when the last request and the last clone of the service are gone.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn runtime(&self) -> io::Result<Handle> {
        let mut rendering = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*rendering, Rendering::No(_))
            && let Rendering::No(worker) = std::mem::replace(&mut *rendering, Rendering::Failed)
        {
            let (tell, told) = mpsc::sync_channel(1);
            thread::Builder::new().name("pm-http".to_string()).spawn(move || {
                let built = runtime::Builder::new_current_thread().enable_time().build();
                let told = tell.send(
                    built
                        .as_ref()
                        .map(|runtime| runtime.handle().clone())
                        .map_err(|error| io::Error::other(error.to_string())),
                );
                if let (Ok(runtime), Ok(())) = (built, told) {
                    runtime.block_on(worker.run());
                }
            })?;
            *rendering = Rendering::Started(told.recv().map_err(io::Error::other)??);
        }
        match &*rendering {
            Rendering::Started(runtime) => Ok(runtime.clone()),
            _ => Err(io::Error::other("the thread that renders could not be made")),
        }
    }
}
