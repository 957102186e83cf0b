//! Diag: the kernel's answer about one TCP connection (sock_diag(7)).

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::access::peer::Ends;

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const ALL_STATES: u32 = u32::MAX;
const NO_COOKIE: u32 = u32::MAX;

/// The lengths of `nlmsghdr`, of it and `inet_diag_req_v2`, of it and `inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const ANSWER: usize = HEADER + 72;

/// Where a `inet_diag_sockid` begins in an answer, and the user and the inode behind it.
const ID: usize = HEADER + 4;
const UID: usize = 80;
const INODE: usize = 84;

/// The kernel answers at once; what does not is no kernel that can be asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open line to the kernel.
#[derive(Debug)]
pub(super) struct Diag(Socket);

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, protocol)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Diag(socket))
    }

    /// The user of the socket at the first of these ends, which is connected with the second.
    /// `None` if there is none, or its process has closed it.
    ///
    /// # Errors
    ///
    /// The kernel gives no such answers.
    pub(super) fn user(&self, ends: Ends) -> io::Result<Option<u32>> {
        match self.ask(ends)? {
            Some(user) => Ok(user),
            // It knows of none, or of nothing: our own end is there for sure.
            None => match self.ask([ends[1], ends[0]])? {
                Some(_) => Ok(None),
                None => Err(io::ErrorKind::Unsupported.into()),
            },
        }
    }

    /// The user of a connection, if it has one; `None` if it is not known.
    fn ask(&self, ends: Ends) -> io::Result<Option<Option<u32>>> {
        self.0.send(&request(ends))?;
        let mut answer = [0; 4096];
        let len = (&self.0).read(&mut answer)?;
        read(&answer[..len], ends)
    }
}

fn request([local, remote]: Ends) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(HEADER, &[if local.0.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP]);
    put(HEADER + 4, &ALL_STATES.to_ne_bytes());
    let id = HEADER + 8;
    put(id, &local.1.to_be_bytes());
    put(id + 2, &remote.1.to_be_bytes());
    for (at, (ip, _)) in [(id + 4, local), (id + 20, remote)] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    put(id + 40, &NO_COOKIE.to_ne_bytes());
    put(id + 44, &NO_COOKIE.to_ne_bytes());
    request
}

fn read(answer: &[u8], ends: Ends) -> io::Result<Option<Option<u32>>> {
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    let half = |at: usize| answer.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).ok_or_else(unsupported);
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or_else(unsupported);
    match u16::from_ne_bytes(half(4)?) {
        NLMSG_ERROR => match Errno::from_raw(-i32::from_ne_bytes(word(HEADER)?)) {
            Errno::ENOENT => Ok(None),
            error => Err(error.into()),
        },
        SOCK_DIAG_BY_FAMILY if answer.len() >= ANSWER => {
            let port = |at| Ok::<_, io::Error>(u16::from_be_bytes(half(at)?));
            let ip = |at: usize| match answer[HEADER] {
                AF_INET => <[u8; 4]>::try_from(&answer[at..at + 4]).map(IpAddr::from).map_err(|_| unsupported()),
                _ => <[u8; 16]>::try_from(&answer[at..at + 16]).map(IpAddr::from).map_err(|_| unsupported()),
            };
            let found = [(ip(ID + 4)?.to_canonical(), port(ID)?), (ip(ID + 20)?.to_canonical(), port(ID + 2)?)];
            // Where there is no connection, the kernel answers with the socket that listens there.
            if found != ends {
                return Ok(None);
            }
            let inode = u32::from_ne_bytes(word(INODE)?);
            // A socket that its process has closed has no owner, and says user 0.
            Ok(Some((inode != 0).then_some(u32::from_ne_bytes(word(UID)?))))
        }
        _ => Err(unsupported()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDS: Ends = [(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7), (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9)];

    /// An answer about a socket with these ends.
    fn answer([local, remote]: [u16; 2], uid: u32, inode: u32) -> Vec<u8> {
        let mut answer = vec![0; ANSWER];
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer[HEADER] = AF_INET;
        answer[ID..ID + 2].copy_from_slice(&local.to_be_bytes());
        answer[ID + 2..ID + 4].copy_from_slice(&remote.to_be_bytes());
        answer[ID + 4..ID + 8].copy_from_slice(&[127, 0, 0, 1]);
        answer[ID + 20..ID + 24].copy_from_slice(&[127, 0, 0, 1]);
        answer[UID..UID + 4].copy_from_slice(&uid.to_ne_bytes());
        answer[INODE..INODE + 4].copy_from_slice(&inode.to_ne_bytes());
        answer
    }

    fn error(errno: Errno) -> Vec<u8> {
        let mut answer = vec![0; HEADER + 20];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[HEADER..HEADER + 4].copy_from_slice(&(-(errno as i32)).to_ne_bytes());
        answer
    }

    #[test]
    fn an_answer_is_about_the_connection_that_was_asked_for_or_none() {
        assert_eq!(read(&answer([7, 9], 1001, 5), ENDS).expect("an answer"), Some(Some(1001)));
        assert_eq!(read(&answer([7, 9], 0, 0), ENDS).expect("an answer"), Some(None), "closed by its process");
        assert_eq!(read(&answer([7, 0], 1001, 5), ENDS).expect("an answer"), None, "it only listens");
        assert_eq!(read(&error(Errno::ENOENT), ENDS).expect("an answer"), None);
        assert_eq!(read(&error(Errno::EPERM), ENDS).expect_err("no answer").raw_os_error(), Some(Errno::EPERM as i32));
    }

    proptest! {
        #[test]
        fn whatever_the_answer_it_does_not_panic(answer in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&answer, ENDS);
        }
    }
}
