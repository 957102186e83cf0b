//! Access: who may do what.

#[cfg(target_os = "linux")]
mod peer;
mod tokens;
#[cfg(unix)]
mod user;

use std::net::SocketAddr;
use std::sync::Arc;

use tokens::Tokens;
pub(crate) use tokens::{Source, Tried};

/// What a client may do. Decided when it connects, and raised by `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Nothing, until it has shown a token.
    Nothing,
    See,
    Kill,
}

/// The rules of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    /// Names or numbers of users, besides its own and root.
    pub(crate) see_users: Vec<String>,
    pub(crate) kill_users: Vec<String>,
    /// Nobody may kill.
    pub(crate) read_only: bool,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    Tcp {
        peer: SocketAddr,
        local: SocketAddr,
    },
    /// The user, as the kernel says.
    #[cfg(unix)]
    Unix {
        uid: u32,
    },
}

/// A client that has been let in.
pub(crate) struct Admitted {
    pub(crate) role: Role,
    /// Where it comes from and which user that is, for the audit.
    pub(crate) who: Arc<str>,
}

/// What a server that is served needs to know who its clients are.
#[derive(Debug)]
pub(crate) struct Desk {
    #[cfg(target_os = "linux")]
    peers: peer::Peers,
    #[cfg(unix)]
    names: user::Names,
    /// The number of a user that has none.
    #[cfg(unix)]
    nobody: Option<u32>,
}

impl Desk {
    pub(crate) fn open() -> Self {
        Desk {
            #[cfg(target_os = "linux")]
            peers: peer::Peers::open(),
            #[cfg(unix)]
            names: user::Names::default(),
            #[cfg(unix)]
            nobody: user::nobody(),
        }
    }
}

impl Access {
    /// Decides about a client that has just connected.
    ///
    /// # Errors
    ///
    /// The line that explains to it why it is turned away.
    pub(crate) async fn admit(&self, desk: &Desk, peer: Peer) -> Result<Admitted, String> {
        let admitted = match peer {
            #[cfg(unix)]
            Peer::Unix { uid } => self.admit_user(desk, uid, "the socket".to_string()).await,
            // Whatever address it comes from: who connects to a loopback address
            // from another one of this machine is known to the kernel as well.
            #[cfg(target_os = "linux")]
            Peer::Tcp { peer, local } if local.ip().to_canonical().is_loopback() => {
                match desk.peers.user(peer, local).await {
                    Ok(Some(uid)) => self.admit_user(desk, uid, peer.to_string()).await,
                    Ok(None) => Err(format!("forbidden: the user at {peer} could not be found out: it has left")),
                    Err(error) => Err(format!(
                        "forbidden: the user at {peer} could not be found out ({error}): \
                         the program may serve a Unix socket, or set a token"
                    )),
                }
                // Behind a token it does not matter who it is; the audit notes it all the same.
                .or_else(|refusal| if self.tokens.are_set() { Ok(self.stranger(peer)) } else { Err(refusal) })
            }
            Peer::Tcp { peer, .. } if self.tokens.are_set() => Ok(self.stranger(peer)),
            // Not reached: such an address is not listened on without a token.
            #[cfg(target_os = "linux")]
            Peer::Tcp { peer, .. } => Err(format!("forbidden: {peer} did not come by a loopback address")),
            // Where there is no table of connections to look into.
            #[cfg(not(target_os = "linux"))]
            Peer::Tcp { peer, .. } => Ok(Admitted { role: Role::Kill, who: peer.to_string().into() }),
        }?;
        let is_tcp = matches!(peer, Peer::Tcp { .. });
        let role = if is_tcp && self.tokens.are_set() { Role::Nothing } else { admitted.role };
        Ok(Admitted { role: self.cap(role), ..admitted })
    }

    fn stranger(&self, peer: SocketAddr) -> Admitted {
        Admitted { role: Role::Nothing, who: peer.to_string().into() }
    }

    /// Decides about a user.
    #[cfg(unix)]
    async fn admit_user(&self, desk: &Desk, uid: u32, place: String) -> Result<Admitted, String> {
        if desk.nobody == Some(uid) {
            return match self.tokens.are_set() {
                true => Ok(Admitted { role: Role::Nothing, who: format!("an unmapped user at {place}").into() }),
                false => Err(format!(
                    "forbidden: your user has no number in this program's user namespace, where {uid} stands for all \
                     of those: the program may set a token, or connect from inside the namespace (nsenter -U)"
                )),
            };
        }
        let role = |name: Option<&str>| user::role(uid, user::own(), &self.see_users, &self.kill_users, name);
        // Who may do all by its number need not have a name, nor wait for it.
        let name = match role(None) {
            Role::Kill => desk.names.get_soon(uid).await,
            _ => desk.names.get(uid).await,
        };
        let role = role(name.as_deref());
        let user = name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"));
        match role {
            Role::Nothing if !self.tokens.are_set() => Err(format!(
                "forbidden: {user} may not see this processlist; its own user and root may, and whom the program names"
            )),
            role => Ok(Admitted { role, who: format!("{user} at {place}").into() }),
        }
    }

    /// What a client may do who has shown `token`.
    pub(crate) async fn auth(&self, token: String) -> Tried {
        match self.tokens.try_one(token).await {
            Tried::Right(role) => Tried::Right(self.cap(role)),
            wrong => wrong,
        }
    }

    fn cap(&self, role: Role) -> Role {
        if self.read_only { role.min(Role::See) } else { role }
    }
}
