//! Service: what all sessions of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::access::{Access, PeerLookup};
use crate::list::ProcList;
use crate::port_command::PortCommand;
use crate::render::{self, Renderer, Worker};

pub(crate) struct Service {
    pub(crate) list: ProcList,
    pub(crate) access: Access,
    pub(crate) lookup: PeerLookup,
    pub(crate) renderer: Renderer,
    /// How often a client gets a frame until it says otherwise.
    pub(crate) delay: Duration,
    /// How many rows a frame has until it says otherwise.
    pub(crate) limit: usize,
    /// Those of the program's own.
    pub(crate) commands: Vec<PortCommand>,
    clients: AtomicUsize,
}

impl Service {
    /// With the worker that renders for it, which somebody must run.
    pub(crate) fn new(
        list: ProcList,
        access: Access,
        lookup: PeerLookup,
        delay: Duration,
        limit: usize,
        commands: Vec<PortCommand>,
    ) -> (Arc<Self>, Worker) {
        let (renderer, worker) = render::new(list.clone());
        let clients = AtomicUsize::new(0);
        (Arc::new(Service { list, access, lookup, renderer, delay, limit, commands, clients }), worker)
    }

    /// The command of the program's own that is called so.
    pub(crate) fn command(&self, verb: &str) -> Option<&PortCommand> {
        self.commands.iter().find(|command| command.name.eq_ignore_ascii_case(verb))
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

/// A client that counts as long as it is there.
pub(crate) struct Present(Arc<Service>);

impl Present {
    pub(crate) fn of(service: &Arc<Service>) -> Self {
        service.clients.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(service))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
