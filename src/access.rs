//! Access: what a client may do.

#[cfg(target_os = "linux")]
mod peer;
mod tokens;
#[cfg(unix)]
mod user;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::columns::Clearance;
use crate::peer::Peer;
#[cfg(unix)]
use crate::peer::User;
use tokens::Tokens;
pub(crate) use tokens::{AuthResult, TokenSource};

/// What a client of a server may do. `None` where there is no role yet: it must show a token first.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at everything but [secrets](crate::Task::secret_col).
    See,
    /// Kill too, and see secrets.
    Kill,
}

impl Role {
    /// Whether it may see secrets.
    pub(crate) fn clearance(role: Option<Role>) -> Clearance {
        if role == Some(Role::Kill) { Clearance::Secret } else { Clearance::Public }
    }
}

/// The rules of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    /// Names or numbers of users that may see, besides its own and root.
    pub(crate) see_users: Vec<String>,
    pub(crate) kill_users: Vec<String>,
    /// No client may kill.
    pub(crate) read_only: bool,
}

/// The two ends of a connection, as the kernel tells them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Connection {
    Tcp {
        peer: SocketAddr,
        local: SocketAddr,
    },
    #[cfg(unix)]
    Unix {
        uid: u32,
    },
}

/// A client that has been let in.
pub(crate) struct Admitted {
    pub(crate) role: Option<Role>,
    pub(crate) peer: Arc<Peer>,
}

/// Looks up the users at the other ends of the connections of one server.
#[derive(Debug)]
pub(crate) struct PeerLookup {
    #[cfg(target_os = "linux")]
    peers: peer::Peers,
    #[cfg(unix)]
    names: user::Names,
    /// The number that stands for all users that have none in this namespace.
    #[cfg(unix)]
    overflow: Option<u32>,
}

impl PeerLookup {
    pub(crate) fn open() -> Self {
        PeerLookup {
            #[cfg(target_os = "linux")]
            peers: peer::Peers::open(),
            #[cfg(unix)]
            names: user::Names::default(),
            #[cfg(unix)]
            overflow: user::overflow(),
        }
    }
}

impl Access {
    /// Decides about a client that has just connected.
    ///
    /// # Errors
    ///
    /// The line that explains to the client why it is turned away.
    pub(crate) async fn admit(&self, lookup: &PeerLookup, connection: Connection) -> Result<Admitted, String> {
        let admitted = match connection {
            #[cfg(unix)]
            Connection::Unix { uid } => self.admit_user(lookup, uid, None).await,
            // Whatever address it comes from: the kernel also knows a client that connects to a
            // loopback address from another address of this machine.
            #[cfg(target_os = "linux")]
            Connection::Tcp { peer, local } if local.ip().to_canonical().is_loopback() => {
                match lookup.peers.user(peer, local).await {
                    Ok(Some(uid)) => self.admit_user(lookup, uid, Some(peer)).await,
                    Ok(None) => Err(format!("forbidden: the user at {peer} could not be looked up: it has left")),
                    Err(error) => Err(format!(
                        "forbidden: the user at {peer} could not be looked up ({error}): \
                         the program may serve a Unix socket, or set a token"
                    )),
                }
                // Behind a token it does not matter who it is; the audit notes it all the same.
                .or_else(|refusal| if self.tokens.are_set() { Ok(anonymous(None, peer)) } else { Err(refusal) })
            }
            Connection::Tcp { peer, .. } if self.tokens.are_set() => Ok(anonymous(None, peer)),
            // Not reached: such an address is not listened on without a token.
            #[cfg(target_os = "linux")]
            Connection::Tcp { peer, .. } => Err(format!("forbidden: {peer} did not come by a loopback address")),
            // Where there is no table of connections to look into.
            #[cfg(not(target_os = "linux"))]
            Connection::Tcp { peer, .. } => Ok(anonymous(Some(Role::Kill), peer)),
        }?;
        let is_tcp = matches!(connection, Connection::Tcp { .. });
        let role = if is_tcp && self.tokens.are_set() { None } else { admitted.role };
        Ok(Admitted { role: self.cap(role), ..admitted })
    }

    /// Decides about a user.
    #[cfg(unix)]
    async fn admit_user(&self, lookup: &PeerLookup, uid: u32, address: Option<SocketAddr>) -> Result<Admitted, String> {
        let admitted = |role, name| {
            let peer = Arc::new(Peer { user: Some(User { uid, name }), address });
            Ok(Admitted { role, peer })
        };
        if lookup.overflow == Some(uid) {
            return match self.tokens.are_set() {
                true => admitted(None, None),
                false => Err(format!(
                    "forbidden: your user has no number in this program's user namespace, where {uid} stands for all \
                     of those: the program may set a token, or connect from inside the namespace (nsenter -U)"
                )),
            };
        }
        let role = |name: Option<&str>| user::role(uid, user::own(), &self.see_users, &self.kill_users, name);
        // A user that may kill by its number needs no name, and does not wait for it.
        let name = match role(None) {
            Some(Role::Kill) => lookup.names.get_soon(uid).await,
            _ => lookup.names.get(uid).await,
        };
        match role(name.as_deref()) {
            None if !self.tokens.are_set() => Err(format!(
                "forbidden: {} may not see this processlist; the program's own user and root may, and users that the \
                 program names",
                User { uid, name }
            )),
            role => admitted(role, name),
        }
    }

    /// What a client may do that has shown `token`.
    pub(crate) async fn auth(&self, token: String) -> AuthResult {
        match self.tokens.try_one(token).await {
            AuthResult::Right(role) => AuthResult::Right(self.cap(Some(role)).unwrap_or(role)),
            wrong => wrong,
        }
    }

    fn cap(&self, role: Option<Role>) -> Option<Role> {
        if self.read_only { role.min(Some(Role::See)) } else { role }
    }
}

/// A client whose user is not known.
fn anonymous(role: Option<Role>, address: SocketAddr) -> Admitted {
    Admitted { role, peer: Arc::new(Peer { user: None, address: Some(address) }) }
}
