//! Unix: a list served on a Unix socket. Adds `Server::{bind_unix, spawn_unix}`.

use std::convert::Infallible;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket as Socket2, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::access::{Connection, PeerLookup};
use crate::own_thread::on_own_thread;
use crate::server::Server;
use crate::server::accept::Listener;

/// How long others may keep a folder locked: they do so for a moment.
const LOCKED_AT_MOST: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;

/// A [`Server`] that has its Unix socket. Clients that connect wait until it
/// serves. The file is removed when this, or the future of
/// [`serve`](Self::serve), is dropped.
#[derive(Debug)]
#[must_use = "clients wait until the server serves"]
pub struct BoundUnixServer {
    server: Server,
    listener: Socket,
    /// Opened before the program may have run out of descriptors.
    lookup: PeerLookup,
}

/// A listener and its file.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: another file may have taken the name since.
    identity: (u64, u64),
}

impl Server {
    /// Listens on a Unix socket at `path`: `nc -U path`.
    ///
    /// The file has mode 0600. The credentials of the peer decide, as the user does at a
    /// [port](crate::ProcList::serve): the program's own user and root may see and kill, and users that
    /// [`see_users`](Self::see_users) or [`kill_users`](Self::kill_users) name. For these, the mode of the
    /// file must be changed too. A token may raise a role, but is not needed.
    ///
    /// A file that a server left there without removing it is replaced.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if a server answers there, `AlreadyExists` if what is there
    /// is no socket, or the system does not allow it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("pm-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("pm.sock");
    /// let list = pm::ProcList::new();
    /// let server = list.server().bind_unix(&path).await?;
    /// assert!(path.exists());
    /// drop(server);
    /// assert!(!path.exists());
    /// # std::fs::remove_dir(folder)
    /// # }
    /// ```
    pub async fn bind_unix(self, path: impl AsRef<Path>) -> io::Result<BoundUnixServer> {
        let path = path.as_ref();
        self.check()?;
        let hint =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()));
        let listener = bind(path).await.map_err(hint)?;
        Ok(BoundUnixServer { server: self, listener, lookup: PeerLookup::open() })
    }

    /// Listens on a Unix socket and serves from a thread of its own, as
    /// [`ProcList::spawn`](crate::ProcList::spawn). The file stays when the program ends: the next
    /// server replaces it.
    ///
    /// # Errors
    ///
    /// As [`bind_unix`](Self::bind_unix), or the thread cannot be made.
    pub fn spawn_unix(self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref().to_path_buf();
        super::on_a_thread(async move { Ok((self.bind_unix(path).await?, ())) }, BoundUnixServer::serve)
    }
}

impl BoundUnixServer {
    /// Serves in the runtime that awaits it; see [`ProcList::serve`](crate::ProcList::serve).
    ///
    /// # Errors
    ///
    /// `Unsupported` if the runtime has no timers (`enable_time`); nothing else.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes its connections, and removes the file.
    pub fn serve(self) -> impl Future<Output = io::Result<Infallible>> + Send + 'static {
        self.server.serve_sessions(self.listener, self.lookup)
    }
}

async fn bind(path: &Path) -> io::Result<Socket> {
    // Else two that start at the same moment both find the old file stale, and the one that is
    // quicker finds its own file removed by the other.
    let _alone = lock_folder(path).await;
    remove_stale(path).await?;
    let socket = Socket2::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Until it listens no client can connect, so the mode is set in time.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let file = fs::symlink_metadata(path)?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))?;
    Ok(Socket { listener, path: path.to_path_buf(), identity: (file.dev(), file.ino()) })
}

/// Waits until no other program is about to listen in the folder of `path`. Nothing is left
/// behind, and a folder that cannot be locked is not: by a file system that has no locks, or for
/// somebody who keeps it locked.
async fn lock_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    on_own_thread(move || {
        let folder = File::open(folder).ok()?;
        let began = Instant::now();
        loop {
            match folder.try_lock() {
                Ok(()) => return Some(folder),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCKED_AT_MOST => thread::sleep(LOOK_AGAIN),
                Err(_) => return None,
            }
        }
    })
    .await
    .flatten()
}

/// Removes the file of a server that is gone.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "it exists, and is no socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // One that is too busy to answer lives, too.
        Ok(_) | Err(_) => Err(io::Error::new(ErrorKind::AddrInUse, "a server is listening there")),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = |file: &fs::Metadata| (file.dev(), file.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(|file| is_ours(&file)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Connection)> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, Connection::Unix { uid }))
    }
}
