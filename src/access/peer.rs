//! Peer: which user is at the other end of a loopback connection, by Linux's table of connections (proc(5): net/tcp).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

/// An IPv4 connection is in the second one if the client opened it as IPv6.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The table is read piece by piece while it changes, so a row can be missed.
const LOOKS: usize = 3;

/// The user at `peer`, who has connected to `local`. `None` if no such
/// connection is open any more.
pub(crate) fn user(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    for _ in 0..LOOKS {
        for table in TABLES {
            match File::open(table) {
                Ok(table) => {
                    if let Some(uid) = find(BufReader::new(table), peer, local)? {
                        return Ok(Some(uid));
                    }
                }
                // A machine without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn find(table: impl BufRead, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let (peer, local) = (canonical(peer), canonical(local));
    for line in table.lines().skip(1) {
        // What is at the peer's end is the other way round: the peer is local there.
        let line = line?;
        if let Some(row) = Row::parse(&line)
            && row.local == peer
            && row.remote == local
            // One that its process has closed belongs to nobody, and says user 0.
            && row.inode != 0
        {
            return Ok(Some(row.uid));
        }
    }
    Ok(None)
}

struct Row {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    uid: u32,
    inode: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let mut fields = line.split_ascii_whitespace();
        let (local, remote) = (fields.nth(1)?, fields.next()?);
        let uid = fields.nth(4)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Row { local: parse_addr(local)?, remote: parse_addr(remote)?, uid, inode })
    }
}

fn canonical(addr: SocketAddr) -> (IpAddr, u16) {
    (addr.ip().to_canonical(), addr.port())
}

/// `0100007F:1F90`: words of four bytes as this processor reads them, and a port.
fn parse_addr(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(8 * at)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::access::user;

    #[test]
    fn the_user_at_the_other_end_is_found() {
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
            assert_eq!(user(peer, local).expect("a table"), Some(user::own()), "{connect}");
            // The half of the table that is this end is not the peer.
            assert_eq!(user(local, SocketAddr::new(peer.ip(), 1)).expect("a table"), None);
            drop(client);
            // It may linger for a while, as nobody's.
            assert_eq!(user(peer, local).expect("a table"), None, "{connect}");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_are_read_to_the_letter() {
        let header =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |uid, inode| {
            format!(
                "{header}   1: 0100007F:D903 0100007F:1F91 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 20 4 30 10 -1\n"
            )
        };
        let (peer, local) = (SocketAddr::from(([127, 0, 0, 1], 0xd903)), SocketAddr::from(([127, 0, 0, 1], 0x1f91)));
        let look = |text: &str| find(text.as_bytes(), peer, local).expect("no I/O");
        assert_eq!(look(&row(1001, 77)), Some(1001));
        assert_eq!(look(&row(0, 0)), None, "closed by its process");
        let mapped = row(5, 9).replace("0100007F:", "0000000000000000FFFF00000100007F:");
        assert_eq!(look(&mapped), Some(5));
        for broken in ["", "x", "1: 0100007F:D903", "1: : : 01 0 0 0 0 0 0", "1: é é é é é é é é é é"] {
            assert_eq!(look(&format!("{header}{broken}\n")), None);
        }
    }
}
