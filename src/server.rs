//! Server: a list at a port or a socket. Adds `ProcList::{serve, listen_and_serve, server, spawn}`.

pub(crate) mod accept;
mod address;
#[cfg(unix)]
mod unix;
mod web;

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time;

use crate::access::{Access, Admitted, PeerLookup, TokenSource};
use crate::duration;
use crate::list::ProcList;
use crate::port_command::PortCommand;
use crate::render::Worker;
use crate::service::Service;
use crate::session::{self, command};
use crate::view;
use accept::{Listener, Protocol, Refusal, Stream};
pub use address::Address;
use address::loopback_only;
#[cfg(unix)]
pub use unix::BoundUnixServer;
pub(crate) use web::Web;

/// How often a client gets a frame unless it says otherwise.
const DELAY: Duration = Duration::from_secs(3);

/// How many clients are served at a time unless told otherwise.
const CONNECTIONS: usize = 64;

/// How a list is served: made by [`ProcList::server`], set up, then bound.
///
/// | setting | unless set |
/// |---|---|
/// | [`delay`](Self::delay) | a frame every 3 s |
/// | [`limit`](Self::limit) | 1,000 rows a frame |
/// | [`max_connections`](Self::max_connections) | 64 clients |
/// | [`see_users`](Self::see_users), [`kill_users`](Self::kill_users) | only the program's own user and root, who may kill |
/// | [`see_token`](Self::see_token), [`kill_token`](Self::kill_token), or `_file` | no token, and so only loopback addresses |
/// | [`read_only`](Self::read_only) | kills are allowed |
/// | [`command`](Self::command) | no commands of the program's own |
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// let list = pm::ProcList::new();
/// let server = list.server().delay(Duration::from_secs(1)).limit(200).bind(":0").await?;
/// println!("nc 127.0.0.1 {}", server.local_addr().port());
/// server.serve().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a server does nothing until it is bound and served"]
pub struct Server {
    list: ProcList,
    delay: Duration,
    limit: usize,
    pub(crate) max_connections: usize,
    access: Access,
    commands: Vec<PortCommand>,
    /// What a browser may do; of the feature `http`.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) web: Web,
}

/// A [`Server`] that has its port. Clients that connect wait until it serves.
#[derive(Debug)]
#[must_use = "clients wait until the server serves"]
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    addr: SocketAddr,
    /// Opened before the program may have run out of descriptors.
    lookup: PeerLookup,
}

impl ProcList {
    /// A server of this list, to be set up and bound.
    pub fn server(&self) -> Server {
        let (delay, limit, max_connections) = (DELAY, view::LIMIT, CONNECTIONS);
        Server {
            list: self.clone(),
            delay,
            limit,
            max_connections,
            access: Access::default(),
            commands: Vec::new(),
            web: Web::default(),
        }
    }

    /// Serves this list on a listener of yours, in the runtime that awaits it.
    ///
    /// On Linux the program's own user and root are let in, and may kill; all
    /// other users of the machine are turned away. [`server`](Self::server) names others, or sets
    /// a token. On other systems everybody on the machine may kill.
    ///
    /// It runs until it is dropped, which ends its sessions. It owns what it
    /// needs, so `tokio::spawn(list.serve(listener))` works.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the listener's address is not a loopback one; `Unsupported` if the runtime
    /// has no timers (`enable_time`). When file descriptors are short, it waits for them.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and all its connections.
    pub fn serve(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = io::Result<Infallible>> + Send + 'static + use<> {
        let server = self.server();
        async move {
            loopback_only(listener.local_addr()?)?;
            server.serve_sessions(listener, PeerLookup::open()).await
        }
    }

    /// Binds `addr` and serves this list in the runtime that awaits it.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and all its connections.
    pub async fn listen_and_serve(&self, addr: impl Into<Address>) -> io::Result<Infallible> {
        self.server().bind(addr).await?.serve().await
    }

    /// Serves this list from an operating-system thread of its own, with a
    /// runtime of its own: for programs without tokio, and so that the list
    /// answers while every thread of the program's own runtime is blocked, as in the example `blocked`.
    /// The same clients are let in as by [`serve`](Self::serve).
    ///
    /// Returns the address as soon as it is bound; the port is chosen by the
    /// system if it was 0. The thread runs as long as the program.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`], or the thread cannot be made.
    ///
    /// ```
    /// let addr = pm::ProcList::new().spawn(":0")?;
    /// assert!(addr.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn(&self, addr: impl Into<Address>) -> io::Result<SocketAddr> {
        self.server().spawn(addr)
    }
}

impl Server {
    /// How often a client gets a frame, until it says `delay`: 3 s unless
    /// changed, and kept within what a client may ask for, 100 ms to 1 h.
    pub fn delay(self, delay: Duration) -> Self {
        Server { delay: duration::clamp_delay(delay), ..self }
    }

    /// How many rows a frame has at most: 1,000 unless changed. The oldest are
    /// shown, the rest is counted.
    pub fn limit(self, rows: usize) -> Self {
        Server { limit: rows, ..self }
    }

    /// How many clients are served at a time: 64 unless changed. One more is
    /// told `too many connections`.
    pub fn max_connections(self, n: usize) -> Self {
        Server { max_connections: n, ..self }
    }

    /// Users of this machine who may see the list: names, or numbers.
    ///
    /// Its own user and root may see and kill; all others are turned away with
    /// one line of explanation. Linux only, over TCP: elsewhere everybody on the
    /// machine counts as an operator, unless there is a token.
    pub fn see_users(mut self, users: impl IntoIterator<Item: Into<String>>) -> Self {
        self.access.see_users = users.into_iter().map(Into::into).collect();
        self
    }

    /// Users of this machine who may kill, besides its own and root. See
    /// [`see_users`](Self::see_users).
    pub fn kill_users(mut self, users: impl IntoIterator<Item: Into<String>>) -> Self {
        self.access.kill_users = users.into_iter().map(Into::into).collect();
        self
    }

    /// A token for clients that may see: one line of at most 1,024 bytes.
    ///
    /// Where a token is set, `auth <token>` is wanted at the port within 10 s,
    /// from every client; three tries a connection, and a wrong one is answered
    /// after a second. Only then addresses other than loopback are served.
    /// The connection is not encrypted: on other addresses than loopback the token can be sniffed.
    pub fn see_token(mut self, token: impl Into<String>) -> Self {
        self.access.tokens.see = Some(TokenSource::Text(token.into()));
        self
    }

    /// A token for clients that may see and kill. See [`see_token`](Self::see_token).
    pub fn kill_token(mut self, token: impl Into<String>) -> Self {
        self.access.tokens.kill = Some(TokenSource::Text(token.into()));
        self
    }

    /// A token for clients that may see, in a file that is read anew at each try. Blanks and
    /// the line's end behind it do not count; an empty or missing file lets no client in.
    pub fn see_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.access.tokens.see = Some(TokenSource::File(path.into()));
        self
    }

    /// A token for clients that may see and kill, in a file. See [`see_token_file`](Self::see_token_file).
    pub fn kill_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.access.tokens.kill = Some(TokenSource::File(path.into()));
        self
    }

    /// No client of this server may kill or see secrets.
    pub fn read_only(mut self) -> Self {
        self.access.read_only = true;
        self
    }

    /// Adds a command of the program's own. See [`PortCommand`].
    pub fn command(self, command: PortCommand) -> Self {
        self.commands([command])
    }

    /// [`command`](Self::command), for several: what a part of a program brings along.
    pub fn commands(mut self, commands: impl IntoIterator<Item = PortCommand>) -> Self {
        self.commands.extend(commands);
        self
    }

    /// # Errors
    ///
    /// What is set cannot be served.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.access.tokens.check()?;
        self.commands.iter().enumerate().try_for_each(|(at, command)| {
            let is_same = |other: &PortCommand| other.name.eq_ignore_ascii_case(&command.name);
            command.check(command::is_taken(&command.name) || self.commands[..at].iter().any(is_same))
        })
    }

    /// Takes the port.
    ///
    /// # Errors
    ///
    /// The address does not resolve, is not a loopback one and there is no
    /// token (`PermissionDenied`), or is in use; or `InvalidInput`: a token is one that cannot be typed, or the name of a command is
    /// taken.
    pub async fn bind(self, addr: impl Into<Address>) -> io::Result<BoundServer> {
        self.check()?;
        let (listener, addr) = self.listen(addr.into()).await?;
        Ok(BoundServer { server: self, listener, addr, lookup: PeerLookup::open() })
    }

    /// A listener at an address that this server may listen on.
    pub(crate) async fn listen(&self, addr: Address) -> io::Result<(TcpListener, SocketAddr)> {
        let addrs = addr.resolve().await?;
        addrs.iter().copied().try_for_each(|addr| self.may_listen(addr))?;
        let listener = TcpListener::bind(addrs.as_slice()).await.map_err(|error| {
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", addrs.join(" or ")))
        })?;
        let addr = listener.local_addr()?;
        Ok((listener, addr))
    }

    /// Binds and serves from a thread of its own: [`ProcList::spawn`] with these settings.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind), or the thread cannot be made.
    pub fn spawn(self, addr: impl Into<Address>) -> io::Result<SocketAddr> {
        let addr = addr.into();
        let bind = async move {
            let bound = self.bind(addr).await?;
            let addr = bound.local_addr();
            Ok((bound, addr))
        };
        on_a_thread(bind, BoundServer::serve)
    }

    fn may_listen(&self, addr: SocketAddr) -> io::Result<()> {
        if self.access.tokens.are_set() { Ok(()) } else { loopback_only(addr) }
    }

    /// What all clients of this server share, and the worker that renders for them.
    pub(crate) fn service(self, lookup: PeerLookup) -> (Arc<Service>, Worker) {
        Service::new(self.list, self.access, lookup, self.delay, self.limit, self.commands)
    }

    async fn serve_sessions(self, listener: impl Listener, lookup: PeerLookup) -> io::Result<Infallible> {
        has_timers()?;
        let max_connections = self.max_connections;
        let (service, worker) = self.service(lookup);
        let mut rendering = JoinSet::new();
        rendering.spawn(worker.run());
        accept::serve(listener, Sessions(service), max_connections).await
    }
}

/// The line protocol.
struct Sessions(Arc<Service>);

impl Protocol for Sessions {
    fn service(&self) -> &Arc<Service> {
        &self.0
    }

    fn serve(&self, stream: impl Stream, admitted: Admitted) -> impl Future<Output = ()> + Send + 'static {
        session::run(stream, Arc::clone(&self.0), admitted).map(drop)
    }

    fn refuse(&self, stream: impl Stream, refusal: Refusal) -> impl Future<Output = ()> + Send + 'static {
        turn_away(stream, refusal).map(drop)
    }
}

async fn turn_away(stream: impl Stream, refusal: Refusal) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    writer.write_all(format!("{refusal}\n").as_bytes()).await?;
    session::close(reader, writer).await
}

/// Binds and serves on a thread of its own; returns what it is known by.
pub(crate) fn on_a_thread<B: 'static, N: Send + 'static, S: Future<Output = io::Result<Infallible>>>(
    bind: impl Future<Output = io::Result<(B, N)>> + Send + 'static,
    serve: impl FnOnce(B) -> S + Send + 'static,
) -> io::Result<N> {
    let (tell, told) = mpsc::sync_channel(1);
    thread::Builder::new().name("pm".to_string()).spawn(move || {
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error))),
        };
        runtime.block_on(async {
            match bind.await {
                Ok((bound, name)) => {
                    drop(tell.send(Ok(name)));
                    drop(serve(bound).await);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    })?;
    told.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that was to serve the processlist died")))
}

impl BoundServer {
    /// The address it listens on, with the port that the system chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves in the runtime that awaits it; see [`ProcList::serve`].
    ///
    /// # Errors
    ///
    /// `Unsupported` if the runtime has no timers (`enable_time`); nothing else.
    pub fn serve(self) -> impl Future<Output = io::Result<Infallible>> + Send + 'static {
        self.server.serve_sessions(self.listener, self.lookup)
    }
}

/// Whether this runtime has timers. tokio has no check for that, so one is tried, and the panic caught,
/// which the panic hook reports too. With `panic = "abort"` it is not tried.
pub(crate) fn has_timers() -> io::Result<()> {
    let tried = || drop(time::sleep(Duration::ZERO));
    if cfg!(panic = "unwind") && panic::catch_unwind(tried).is_err() {
        let why = "the processlist needs a runtime with timers: call enable_time() or enable_all() on its builder";
        return Err(io::Error::new(ErrorKind::Unsupported, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_told_otherwise_it_is_3_s_1000_rows_and_64_clients() {
        let server = ProcList::new().server();
        assert_eq!((server.delay.as_secs(), server.limit, server.max_connections), (3, 1000, 64));
        assert_eq!(server.delay(Duration::MAX).delay.as_secs(), 3600);
    }
}
