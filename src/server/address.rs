//! Address: where to listen.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::lookup_host;

/// Where to listen: a `&str`, a `String` or a [`SocketAddr`]. Without a host,
/// as in `":8081"`, it is 127.0.0.1.
///
/// Without a [token](crate::Server::kill_token), only loopback addresses are served.
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
    pub(crate) async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        match self.0 {
            Place::Socket(addr) => Ok(vec![addr]),
            Place::Named(name) => {
                let full = if name.starts_with(':') { format!("127.0.0.1{name}") } else { name.clone() };
                let hint = |error: io::Error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot use the address '{name}': {error}; use host:port, or :port"),
                    )
                };
                Ok(lookup_host(full).await.map_err(hint)?.collect())
            }
        }
    }
}

/// Any client of the port can kill, unless a token is set.
pub(crate) fn loopback_only(addr: SocketAddr) -> io::Result<()> {
    // IPv4-mapped addresses are IPv4.
    if addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "{addr} is not a loopback address, and whoever reaches this port can kill: set a token, or \
             listen on 127.0.0.1:{port} and come through a tunnel (ssh -L {port}:127.0.0.1:{port} this-machine)",
            port = addr.port(),
        ),
    ))
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
}
