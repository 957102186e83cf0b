//! Peer: which user is at the other end of a loopback connection.
//!
//! The kernel is asked for the one connection, which takes some microseconds, and
//! however often. Where it does not answer, its table of all connections is read.

mod diag;
mod table;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use tokio::time;

use crate::own_thread::on_own_thread;
use diag::Diag;
use table::Snapshot;

/// How long to wait for descriptors or memory to come back, as for `accept`.
const SCARCE: Duration = Duration::from_secs(1);

/// The table is read piece by piece while it changes, so a row can be missed.
const LOOKS: usize = 3;

/// After the table was read, it is left alone for so many times as long. Else a client that connects in
/// a loop could keep a processor busy.
const REST: u32 = 3;

/// What looks up the peers of one server.
#[derive(Default)]
pub(crate) struct Peers {
    /// Kept open, so that a look-up needs no descriptor.
    diag: Mutex<Option<Diag>>,
    /// Locked while the table is read: what is read then serves all who came before.
    table: tokio::sync::Mutex<Snapshot>,
}

/// Two ends of a connection, the looked up one first.
type Ends = [(IpAddr, u16); 2];

impl Peers {
    /// Opens what it takes. What cannot be had now is tried again at each look-up.
    pub(crate) fn open() -> Self {
        Peers { diag: Mutex::new(Diag::open().ok()), table: tokio::sync::Mutex::default() }
    }

    /// The user at `peer`, who has connected to `local`. `None` if no such connection is open any
    /// more. Want of descriptors and of memory is waited out.
    ///
    /// # Errors
    ///
    /// There is no way to know.
    pub(crate) async fn user(&self, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
        let ends = [peer, local].map(canonical);
        loop {
            let found = match self.ask(ends) {
                Ok(user) => Ok(user),
                Err(error) if is_scarce(&error) => Err(error),
                Err(_no_answer) => self.look(ends).await,
            };
            match found {
                Err(error) if is_scarce(&error) => time::sleep(SCARCE).await,
                found => return found,
            }
        }
    }

    /// Asks the kernel.
    fn ask(&self, ends: Ends) -> io::Result<Option<u32>> {
        let mut diag = self.diag.lock().unwrap_or_else(PoisonError::into_inner);
        if diag.is_none() {
            *diag = Some(Diag::open()?);
        }
        let asked = diag.as_ref().map_or(Ok(None), |diag| diag.user(ends));
        if asked.is_err() {
            *diag = None;
        }
        asked
    }

    /// Looks into the table, as it was after the call.
    async fn look(&self, ends: Ends) -> io::Result<Option<u32>> {
        for _ in 0..LOOKS {
            let asked = time::Instant::now();
            let mut snapshot = self.table.lock().await;
            if !snapshot.is_after(asked) {
                time::sleep_until(snapshot.rest_until()).await;
                let (began, port) = (time::Instant::now(), ends[1].1);
                let rows = on_own_thread(move || table::read(port))
                    .await
                    .unwrap_or_else(|| Err(io::Error::other("no answer")))?;
                *snapshot = Snapshot::new(began, began.elapsed() * REST, rows);
            }
            if let Some(user) = snapshot.user(ends) {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}

/// IPv4-mapped addresses are IPv4.
fn canonical(end: SocketAddr) -> (IpAddr, u16) {
    (end.ip().to_canonical(), end.port())
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

/// Whether descriptors or memory were short: nothing that tells who somebody is.
pub(crate) fn is_scarce(error: &io::Error) -> bool {
    let scarce = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| scarce.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::access::user;

    fn by_kernel(peers: &Peers, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        peers.ask([peer, local].map(canonical)).expect("the kernel answers")
    }

    async fn by_table(peers: &Peers, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
        peers.look([peer, local].map(canonical)).await.expect("a table")
    }

    #[tokio::test]
    async fn the_user_at_the_other_end_is_found_both_ways() {
        let peers = Peers::open();
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.1:0", "::ffff:127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let Ok(listener) = TcpListener::bind(listen) else { continue }; // no IPv6 here
            let port = listener.local_addr().expect("is bound").port();
            let ip: IpAddr = connect.parse().expect("an address");
            let client = TcpStream::connect((ip, port)).expect("listens");
            let (server, peer) = listener.accept().expect("has connected");
            let local = server.local_addr().expect("is connected");
            let own = Some(user::own());
            let found = (by_kernel(&peers, peer, local), by_table(&peers, peer, local).await);
            assert_eq!(found, (own, own), "{connect}");
            assert_eq!(peers.user(peer, local).await.expect("is known"), own);
            // Another connection to the same port is another one.
            let other = SocketAddr::new(peer.ip(), 1);
            assert_eq!(by_table(&peers, other, local).await, None);
            // The kernel is believed only if it knows our own end, which is not there.
            assert!(peers.ask([canonical(other), canonical(local)]).is_err());
            drop(client);
            // It may linger for a while, as nobody's.
            let found = (by_kernel(&peers, peer, local), by_table(&peers, peer, local).await);
            assert_eq!(found, (None, None), "{connect}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_reading_of_the_table_serves_all_who_wait_and_is_followed_by_a_rest() {
        let peers = Arc::new(Peers::open());
        let ends = [(IpAddr::from([127, 0, 0, 1]), 1), (IpAddr::from([127, 0, 0, 1]), 2)];
        *peers.table.lock().await = Snapshot::new(time::Instant::now(), Duration::from_secs(3), Vec::new());
        let began = time::Instant::now();
        time::advance(Duration::from_millis(1)).await;
        let looks: Vec<_> = (0..20)
            .map(|_| {
                let peers = Arc::clone(&peers);
                tokio::spawn(async move { peers.look(ends).await })
            })
            .collect();
        for look in looks {
            assert_eq!(look.await.expect("no panic").expect("a table"), None);
        }
        assert!(began.elapsed() >= Duration::from_secs(3));
        // Three looks each, of which the first is shared by all.
        assert!(table::readings() < 3 * 20, "{}", table::readings());
    }

    #[test]
    fn want_is_told_from_refusal() {
        for code in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS] {
            assert!(is_scarce(&io::Error::from_raw_os_error(code as i32)));
        }
        for code in [Errno::EACCES, Errno::ENOENT, Errno::EPROTONOSUPPORT] {
            assert!(!is_scarce(&io::Error::from_raw_os_error(code as i32)));
        }
    }
}
