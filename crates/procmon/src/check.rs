//! Check: asks the questions of monitors. Each may block, and belongs on a thread of its own.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::config::Check;

/// # Errors
///
/// What is wrong.
pub(crate) fn ask(check: &Check) -> Result<(), String> {
    match check {
        Check::PortAvailable { ports } => ports.iter().try_for_each(|port| is_available(*port)),
        Check::PortInUse { ports, timeout } => ports.iter().try_for_each(|port| is_in_use(*port, *timeout)),
        Check::EnsureDir { path, mode } => ensure_dir(Path::new(path), *mode),
        Check::Redis { addr, timeout } => ping(addr, *timeout),
        Check::Http { url, verb, timeout } => get(url, verb, *timeout),
    }
}

/// Asks on a thread of its own. Dropping the future leaves that thread alone.
pub(crate) async fn ask_apart(check: Check) -> Result<(), String> {
    let (tell, answer) = tokio::sync::oneshot::channel();
    let asking = std::thread::Builder::new().name("monitor".into()).spawn(move || {
        let _ = tell.send(ask(&check));
    });
    asking.map_err(|error| format!("there is no thread to ask: {error}"))?;
    answer.await.unwrap_or_else(|_| Err("the question was not answered".to_string()))
}

/// On the wildcard address of each family by itself. A container may lack one.
fn is_available(port: u16) -> Result<(), String> {
    let families = [(Domain::IPV4, IpAddr::from(Ipv4Addr::UNSPECIFIED)), (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into())];
    for (domain, addr) in families {
        match bind(domain, SocketAddr::new(addr, port)) {
            Ok(()) => {}
            Err(error) if is_no_family(&error) => {}
            Err(error) => return Err(format!("port {port} is not available: {error}")),
        }
    }
    Ok(())
}

fn bind(domain: Domain, addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1)
}

fn is_no_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT: the kernel has it not; EADDRNOTAVAIL: it is switched off.
    error.raw_os_error() == Some(97) || error.kind() == ErrorKind::AddrNotAvailable
}

fn is_in_use(port: u16, timeout: Duration) -> Result<(), String> {
    let addrs = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    connect(addrs.map(|addr| SocketAddr::new(addr, port)).into_iter(), timeout)
        .map(drop)
        .map_err(|error| format!("port {port} is not in use: {error}"))
}

/// To the first address that accepts it, in the time that there is for all of them.
fn connect(addrs: impl Iterator<Item = SocketAddr>, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for addr in addrs {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&addr, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ensure_dir(path: &Path, mode: u32) -> Result<(), String> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| format!("the directory {} cannot be made: {error}", path.display()))
}

fn ping(addr: &str, timeout: Duration) -> Result<(), String> {
    let failed = |error: io::Error| format!("redis at {addr}: {error}");
    let deadline = Instant::now() + timeout;
    let mut stream = connect(addr.to_socket_addrs().map_err(failed)?, timeout).map_err(failed)?;
    // A timeout of nothing would be none.
    let left = || Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    stream.set_write_timeout(left()).and_then(|()| stream.write_all(b"PING\r\n")).map_err(failed)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") && answer.len() < 256 {
        let mut bytes = [0; 64];
        stream.set_read_timeout(left()).map_err(failed)?;
        match stream.read(&mut bytes).map_err(failed)? {
            0 => break,
            n => answer.extend_from_slice(&bytes[..n]),
        }
        if Instant::now() >= deadline {
            return Err(failed(ErrorKind::TimedOut.into()));
        }
    }
    if answer.starts_with(b"+PONG") {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&answer).trim_end().escape_debug().to_string();
    Err(format!("redis at {addr} answers '{shown}' to PING"))
}

fn get(url: &str, verb: &str, timeout: Duration) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{verb} {url}: {error}");
    let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
    let config =
        config.tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build());
    let agent = ureq::Agent::new_with_config(config.build());
    let request = ureq::http::Request::builder().method(verb).uri(url).body(()).map_err(|error| failed(&error))?;
    let status = agent.run(request).map_err(|error| failed(&error))?.status();
    if status.is_success() { Ok(()) } else { Err(failed(&status)) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection with this, and returns the port.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_port_is_available_or_in_use() {
        let port = server("");
        let timeout = Duration::from_millis(500);
        assert_eq!(ask(&Check::PortInUse { ports: vec![port], timeout }), Ok(()));
        assert!(ask(&Check::PortAvailable { ports: vec![port] }).is_err());
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        assert_eq!(ask(&Check::PortAvailable { ports: vec![free] }), Ok(()));
        assert!(ask(&Check::PortInUse { ports: vec![port, free], timeout }).is_err(), "all of them are asked");
        // One that is taken in the other family alone.
        let six = TcpListener::bind("[::1]:0").expect("a port").local_addr().expect("its address").port();
        let _taken = TcpListener::bind(("::1", six)).expect("it is free again");
        assert_eq!(ask(&Check::PortInUse { ports: vec![six], timeout }), Ok(()));
        assert!(ask(&Check::PortAvailable { ports: vec![six] }).is_err());
    }

    #[test]
    fn a_directory_is_made_with_its_parents() {
        let dir = std::env::temp_dir().join(format!("procmon-check-{}", std::process::id()));
        let path = dir.join("a/b").to_str().expect("text").to_string();
        for _ in 0..2 {
            assert_eq!(ask(&Check::EnsureDir { path: path.clone(), mode: 0o750 }), Ok(()));
        }
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("it is there"));
        assert_eq!(mode & 0o777, 0o750);
        std::fs::write(dir.join("file"), "").expect("a file");
        let path = dir.join("file").to_str().expect("text").to_string();
        assert!(ask(&Check::EnsureDir { path, mode: 0o755 }).is_err());
        std::fs::remove_dir_all(dir).expect("it goes");
    }

    #[test]
    fn redis_answers_pong() {
        let check = |answer| {
            let addr = format!("localhost:{}", server(answer));
            ask(&Check::Redis { addr, timeout: Duration::from_millis(500) })
        };
        assert_eq!(check("+PONG\r\n"), Ok(()));
        assert!(check("-LOADING Redis is loading the dataset in memory\r\n").expect_err("not yet").contains("LOADING"));
        assert!(check("").is_err());
    }

    #[test]
    fn http_answers_with_a_good_status_at_last() {
        let check = |answer| {
            let url = format!("http://localhost:{}/health", server(answer));
            ask(&Check::Http { url, verb: "GET".into(), timeout: Duration::from_millis(500) })
        };
        const END: &str = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(check(const_str("HTTP/1.1 204 No Content\r\n", END)), Ok(()));
        assert!(check(const_str("HTTP/1.1 503 Busy\r\n", END)).expect_err("busy").contains("503"));
        let good = server(const_str("HTTP/1.1 200 OK\r\n", END));
        let moved = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{good}/\r\n{END}");
        assert_eq!(check(moved.leak()), Ok(()));
    }

    fn const_str(head: &str, end: &str) -> &'static str {
        format!("{head}{end}").leak()
    }
}
