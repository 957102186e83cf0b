//! Bind: the list over HTTP at a port of its own. Adds `Server::{bind_http, spawn_http}`, `ProcList::spawn_http`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::access::PeerLookup;
use crate::global::global;
use crate::http::connection::Connections;
use crate::http::page::Page;
use crate::http::service::HttpService;
use crate::http::strangers::Strangers;
use crate::list::ProcList;
use crate::server::{Address, Server, accept, has_timers, on_a_thread};

/// A [`Server`] that has its port for HTTP. Clients that connect wait until it serves.
#[derive(Debug)]
#[must_use = "clients wait until the server serves"]
pub struct BoundHttpServer {
    http: HttpService,
    max_connections: usize,
    listener: TcpListener,
    addr: SocketAddr,
}

/// Serves the process-wide list over HTTP: [`ProcList::spawn_http`].
///
/// # Errors
///
/// Those of [`Server::bind_http`], or the thread cannot be made.
pub fn spawn_http(addr: impl Into<Address>) -> io::Result<SocketAddr> {
    global().spawn_http(addr)
}

impl ProcList {
    /// Serves this list over HTTP from a thread of its own, as [`spawn`](Self::spawn) does over the line protocol.
    /// The same users are let in. Open `http://` and the address in a browser.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`], or the thread cannot be made.
    pub fn spawn_http(&self, addr: impl Into<Address>) -> io::Result<SocketAddr> {
        self.server().spawn_http(addr)
    }
}

impl Server {
    /// Takes a port for HTTP. The same clients are let in as by [`bind`](Self::bind); where a token is set,
    /// each request brings it as `Authorization: Bearer <token>`. It has
    /// [`max_connections`](Self::max_connections) of its own.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); also `InvalidInput` if a [host](Self::allow_host), an
    /// [origin](Self::allow_origin) or a [peer](Self::peers) is none.
    pub async fn bind_http(self, addr: impl Into<Address>) -> io::Result<BoundHttpServer> {
        self.check_http()?;
        let (listener, addr) = self.listen(addr.into()).await?;
        let max_connections = self.max_connections;
        let http = HttpService::new(self, PeerLookup::open(), None);
        Ok(BoundHttpServer { http, max_connections, listener, addr })
    }

    /// Binds and serves over HTTP from a thread of its own: [`ProcList::spawn_http`] with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`bind_http`](Self::bind_http), or the thread cannot be made.
    pub fn spawn_http(self, addr: impl Into<Address>) -> io::Result<SocketAddr> {
        let addr = addr.into();
        let bind = async move {
            let bound = self.bind_http(addr).await?;
            let addr = bound.local_addr();
            Ok((bound, addr))
        };
        on_a_thread(bind, BoundHttpServer::serve)
    }

    /// # Errors
    ///
    /// What is set cannot be served.
    pub(super) fn check_http(&self) -> io::Result<()> {
        self.check()?;
        Strangers::new(&self.web)?;
        Page::new(&self.web).map(drop)
    }
}

impl BoundHttpServer {
    /// The address it listens on, with the port that the system chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves in the runtime that awaits it, until it is dropped.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the runtime has no timers (`enable_time`); nothing else.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and all its connections.
    pub async fn serve(self) -> io::Result<Infallible> {
        has_timers()?;
        let service = Arc::clone(&self.http.http.service);
        accept::serve(self.listener, Connections { http: self.http, service }, self.max_connections).await
    }
}
