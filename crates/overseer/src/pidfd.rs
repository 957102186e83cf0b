//! Pidfd: tells of the exit of a child that nobody has reaped.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::io::unix::AsyncFd;

use crate::actor::Exit;

/// How often it is looked for, where the system has no room for one more descriptor to wait for.
const PACE: Duration = Duration::from_millis(50);

/// Returns how a child ended, when it has. It stays a zombie.
pub(crate) async fn exit(pid: u32, pidfd: OwnedFd) -> Exit {
    // Deprecated since some type may close its descriptor early. An OwnedFd does not.
    #[allow(deprecated)]
    if let Ok(pidfd) = AsyncFd::new(pidfd) {
        let _ = pidfd.readable().await;
    }
    loop {
        match look(pid) {
            Some(exit) => return exit,
            None => tokio::time::sleep(PACE).await,
        }
    }
}

/// How it ended, if it has.
pub(crate) fn look(pid: u32) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(Pid::from_raw(pid.cast_signed())?), options) {
        Ok(None) | Err(Errno::INTR) => None,
        Ok(Some(status)) => {
            let exit = status.exit_status().map(Exit::Code);
            Some(exit.or_else(|| status.terminating_signal().map(Exit::Signal)).unwrap_or(Exit::Lost))
        }
        Err(_) => Some(Exit::Lost),
    }
}
