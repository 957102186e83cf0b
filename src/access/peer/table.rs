//! Table: all TCP connections, as the kernel lists them (proc(5): net/tcp).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::access::peer::Ends;

/// An IPv4 connection is in the second one if the client opened it as IPv6. The first two are
/// those of the main thread, which may live in another namespace than this one.
const TABLES: [&str; 4] =
    ["/proc/self/net/tcp", "/proc/self/net/tcp6", "/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// What the table said.
pub(super) struct Snapshot {
    began: Option<Instant>,
    rest_until: Instant,
    rows: Vec<Row>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot { began: None, rest_until: Instant::now(), rows: Vec::new() }
    }
}

impl Snapshot {
    pub(super) fn new(began: Instant, rest: Duration, rows: Vec<Row>) -> Self {
        Snapshot { began: Some(began), rest_until: Instant::now() + rest, rows }
    }

    /// Whether it shows nothing older than `asked`.
    pub(super) fn is_after(&self, asked: Instant) -> bool {
        self.began.is_some_and(|began| began >= asked)
    }

    /// When the table may be read again.
    pub(super) fn rest_until(&self) -> Instant {
        self.rest_until
    }

    pub(super) fn user(&self, ends: Ends) -> Option<u32> {
        self.rows.iter().find(|row| [row.local, row.remote] == ends).map(|row| row.uid)
    }
}

/// The rows of those who are connected with `port`.
///
/// # Errors
///
/// There is no table that can be read.
pub(super) fn read(port: u16) -> io::Result<Vec<Row>> {
    #[cfg(test)]
    READINGS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (mut rows, mut failure) = (Vec::new(), None);
    let mut is_there = false;
    for table in TABLES {
        match File::open(table).and_then(|table| collect(BufReader::new(table), port, &mut rows)) {
            Ok(()) => is_there = true,
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        // A machine without IPv6 has half of them.
        Some(failure) if !is_there || failure.kind() != io::ErrorKind::NotFound => Err(failure),
        _ => Ok(rows),
    }
}

#[cfg(test)]
static READINGS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// How often the table has been read.
#[cfg(test)]
pub(super) fn readings() -> usize {
    READINGS.load(std::sync::atomic::Ordering::Relaxed)
}

fn collect(table: impl BufRead, port: u16, rows: &mut Vec<Row>) -> io::Result<()> {
    for line in table.lines().skip(1) {
        // What is at the peer's end is the other way round: the peer is local there. One that its
        // process has closed has no owner, and says user 0.
        rows.extend(Row::parse(&line?).filter(|row| row.remote.1 == port && row.inode != 0));
    }
    Ok(())
}

/// One connection.
#[derive(Debug)]
pub(super) struct Row {
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

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_to_the_letter() {
        let header =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |uid, inode| {
            format!(
                "{header}   1: 0100007F:D903 0100007F:1F91 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 20 4 30 10 -1\n"
            )
        };
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let ends = [(localhost, 0xd903), (localhost, 0x1f91)];
        let look = |text: &str| {
            let mut rows = Vec::new();
            collect(text.as_bytes(), 0x1f91, &mut rows).expect("no I/O");
            Snapshot::new(Instant::now(), Duration::ZERO, rows).user(ends)
        };
        assert_eq!(look(&row(1001, 77)), Some(1001));
        assert_eq!(look(&row(0, 0)), None, "closed by its process");
        let mapped = row(5, 9).replace("0100007F:", "0000000000000000FFFF00000100007F:");
        assert_eq!(look(&mapped), Some(5));
        for broken in ["", "x", "1: 0100007F:D903", "1: : : 01 0 0 0 0 0 0", "1: é é é é é é é é é é"] {
            assert_eq!(look(&format!("{header}{broken}\n")), None);
        }
    }
}
