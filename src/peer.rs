//! Peer: the person or program at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

/// The person or program at the other end of a connection to a server of a list.
///
/// ```text
/// amy (uid 1001) at 127.0.0.1:46800
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The user, if the operating system tells.
    pub user: Option<User>,
    /// The address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
}

/// A user of the operating system.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// The name, if there is one and it was found in time.
    pub name: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.address) {
            (Some(user), Some(address)) => write!(f, "{user} at {address}"),
            (Some(user), None) => write!(f, "{user} at the socket"),
            (None, Some(address)) => address.fmt(f),
            (None, None) => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} (uid {})", crate::escape::plain(name), self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}
