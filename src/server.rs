//! Server: who may connect, and how many. Adds `ProcList::{serve, listen_and_serve, server, spawn}`.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time;

use crate::access::Role;
use crate::list::ProcList;
use crate::session::{self, Service, command};
use crate::view;

/// How often a client gets a frame unless it says otherwise.
const DELAY: Duration = Duration::from_secs(3);

/// How many clients are served at a time unless told otherwise.
const CONNECTIONS: usize = 64;

/// How many clients are being told at a time that they are too many.
const REFUSALS: usize = 64;

/// How long to wait for file descriptors or memory to come back. There is
/// nothing to wait on, and to try again at once would only burn the processor.
const SCARCE: Duration = Duration::from_secs(1);

/// Where to listen: a `&str`, a `String` or a [`SocketAddr`]. Without a host,
/// as in `":8081"`, it is 127.0.0.1.
///
/// Only loopback addresses are served.
#[derive(Debug, Clone)]
pub struct Address(Place);

#[derive(Debug, Clone)]
enum Place {
    Named(String),
    Socket(SocketAddr),
}

impl From<&str> for Address {
    fn from(addr: &str) -> Self {
        Address(Place::Named(addr.to_string()))
    }
}

impl From<String> for Address {
    fn from(addr: String) -> Self {
        Address(Place::Named(addr))
    }
}

impl From<&String> for Address {
    fn from(addr: &String) -> Self {
        addr.as_str().into()
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Address(Place::Socket(addr))
    }
}

impl Address {
    async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        let addrs: Vec<_> = match self.0 {
            Place::Socket(addr) => vec![addr],
            Place::Named(name) => {
                let full = if name.starts_with(':') { format!("127.0.0.1{name}") } else { name.clone() };
                let hint = |error: io::Error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot use the address '{name}': {error}; use host:port, or :port"),
                    )
                };
                lookup_host(full).await.map_err(hint)?.collect()
            }
        };
        addrs.iter().copied().try_for_each(loopback_only)?;
        Ok(addrs)
    }
}

fn loopback_only(addr: SocketAddr) -> io::Result<()> {
    // An IPv4 address may come dressed as IPv6.
    if addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "{addr} is not a loopback address, and whoever reaches this port can kill: \
             listen on 127.0.0.1:{port} and come through a tunnel (ssh -L {port}:127.0.0.1:{port} this-machine)",
            port = addr.port(),
        ),
    ))
}

/// How a list is served: made by [`ProcList::server`], set up, then bound.
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
    max_connections: usize,
}

/// A [`Server`] that has its port. Clients that connect wait until it serves.
#[derive(Debug)]
#[must_use = "clients wait until the server serves"]
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    addr: SocketAddr,
}

impl ProcList {
    /// A server of this list, to be set up and bound.
    pub fn server(&self) -> Server {
        Server { list: self.clone(), delay: DELAY, limit: view::LIMIT, max_connections: CONNECTIONS }
    }

    /// Serves this list on a listener of yours, in the runtime that awaits it.
    ///
    /// It runs until it is dropped, which ends its sessions. It owns what it
    /// needs, so `tokio::spawn(list.serve(listener))` works.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the listener's address is not a loopback one. It
    /// does not return for want of file descriptors: it waits for them.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener and all its connections.
    pub fn serve(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = io::Result<Infallible>> + Send + 'static + use<> {
        let server = self.server();
        async move { server.serve(listener).await }
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
    /// answers while every thread of the program's own runtime is blocked.
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
        Server { delay: command::clamp_delay(delay), ..self }
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

    /// Takes the port.
    ///
    /// # Errors
    ///
    /// The address does not resolve, is not a loopback one
    /// (`PermissionDenied`), or is in use.
    pub async fn bind(self, addr: impl Into<Address>) -> io::Result<BoundServer> {
        let addrs = addr.into().resolve().await?;
        let listener = TcpListener::bind(addrs.as_slice()).await.map_err(|error| {
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", addrs.join(" or ")))
        })?;
        let addr = listener.local_addr()?;
        Ok(BoundServer { server: self, listener, addr })
    }

    /// Binds and serves from a thread of its own: [`ProcList::spawn`] with these settings.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn spawn(self, addr: impl Into<Address>) -> io::Result<SocketAddr> {
        let addr = addr.into();
        let (tell, told) = mpsc::sync_channel(1);
        thread::Builder::new().name("pm".to_string()).spawn(move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            runtime.block_on(async {
                match self.bind(addr).await {
                    Ok(bound) => {
                        drop(tell.send(Ok(bound.local_addr())));
                        drop(bound.serve().await);
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        })?;
        told.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that was to serve the processlist died")))
    }

    async fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        loopback_only(listener.local_addr()?)?;
        let service = Arc::new(Service::new(self.list, self.delay, self.limit));
        let mut sessions = JoinSet::new();
        let mut refusals = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_ended) = sessions.join_next() => {}
                Some(_ended) = refusals.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) if sessions.len() < self.max_connections => {
                        // Replies are small and somebody waits for them.
                        let _ = stream.set_nodelay(true);
                        sessions.spawn(session::run(stream, Arc::clone(&service), Role::Kill, peer.to_string().into()));
                    }
                    Ok((stream, _)) if refusals.len() < REFUSALS => drop(refusals.spawn(refuse(stream))),
                    Ok(_one_too_many_to_tell) => {}
                    Err(error) if is_about_one_connection(&error) => {}
                    // As hyper and axum do after EMFILE: the connection stays in the backlog.
                    Err(_scarce) => time::sleep(SCARCE).await,
                },
            }
        }
    }
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
    /// None that it does not wait to go away.
    pub fn serve(self) -> impl Future<Output = io::Result<Infallible>> + Send + 'static {
        self.server.serve(self.listener)
    }
}

/// The connection was gone before it was accepted; the listener is well.
fn is_about_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn refuse(stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    writer.write_all(b"too many connections\n").await?;
    session::close(reader, writer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served_and_the_refusal_says_what_to_do() {
        for addr in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(loopback_only(addr.parse().expect("an address")).is_ok(), "{addr}");
        }
        for addr in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
            let error = loopback_only(addr.parse().expect("an address")).expect_err(addr);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("ssh -L 1:127.0.0.1:1"), "{error}");
        }
    }

    #[test]
    fn unless_told_otherwise_it_is_3_s_1000_rows_and_64_clients() {
        let server = ProcList::new().server();
        assert_eq!((server.delay.as_secs(), server.limit, server.max_connections), (3, 1000, 64));
        assert_eq!(server.delay(Duration::MAX).delay.as_secs(), 3600);
    }
}
