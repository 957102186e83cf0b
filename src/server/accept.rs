//! Accept: the clients of one server, whatever protocol they speak: who is let in, how many at a time.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

use crate::access::{Admitted, Connection};
use crate::service::Service;

/// How many clients are being looked up at a time; the others wait to be accepted.
const ARRIVALS: usize = 64;

/// How many clients are being told at a time why they are turned away.
const REFUSALS: usize = 64;

/// How long to wait for file descriptors or memory to come back. There is
/// nothing to wait on, and to try again at once would only burn the processor.
const SCARCE: Duration = Duration::from_secs(1);

/// What is spoken at a port.
pub(crate) trait Protocol: Send + Sync {
    fn service(&self) -> &Arc<Service>;

    /// Serves a client until it leaves.
    fn serve(&self, stream: impl Stream, admitted: Admitted) -> impl Future<Output = ()> + Send + 'static;

    /// Tells a client why it is turned away.
    fn refuse(&self, stream: impl Stream, refusal: Refusal) -> impl Future<Output = ()> + Send + 'static;
}

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Stream for S {}

/// Why a client is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooMany,
    /// It may not see this list, in a line that explains it.
    Forbidden(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooMany => f.write_str("too many connections"),
            Refusal::Forbidden(why) => f.write_str(why),
        }
    }
}

/// Where clients come from.
pub(crate) trait Listener: Send + 'static {
    type Stream: Stream;

    /// The next client.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Connection)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Connection)> {
        let (stream, peer) = self.accept().await?;
        // Replies are small and somebody waits for them.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr()?;
        Ok((stream, Connection::Tcp { peer, local }))
    }
}

/// Serves so many clients at a time, until it is dropped.
pub(crate) async fn serve(
    listener: impl Listener,
    protocol: impl Protocol,
    max_connections: usize,
) -> io::Result<Infallible> {
    let mut arrivals = JoinSet::new();
    let mut clients = JoinSet::new();
    let mut refusals = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_ended) = clients.join_next() => {}
            Some(_ended) = refusals.join_next() => {}
            // A client that is turned away takes no place of one that is let in.
            Some(arrived) = arrivals.join_next() => {
                let Ok((stream, admitted)) = arrived else { continue };
                let refusal = match admitted {
                    Ok(admitted) if clients.len() < max_connections => {
                        clients.spawn(protocol.serve(stream, admitted));
                        continue;
                    }
                    Ok(_one_too_many) => Refusal::TooMany,
                    Err(why) => Refusal::Forbidden(why),
                };
                if refusals.len() < REFUSALS {
                    refusals.spawn(protocol.refuse(stream, refusal));
                }
            }
            accepted = listener.accept(), if arrivals.len() < ARRIVALS => match accepted {
                Ok((stream, peer)) => {
                    let service = Arc::clone(protocol.service());
                    arrivals.spawn(async move { (stream, service.access.admit(&service.lookup, peer).await) });
                }
                Err(error) if is_about_one_connection(&error) => {}
                // As hyper and axum do after EMFILE: the connection stays in the backlog.
                Err(_scarce) => time::sleep(SCARCE).await,
            },
        }
    }
}

/// The connection was gone before it was accepted; the listener is well.
fn is_about_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
