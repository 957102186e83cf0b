//! Warden: a small `sh` that outlives this process, and kills what it was told of.
//!
//! It reads from a socket, which ends when this process is gone, by whatever end. A signal at the death of the parent
//! (PR_SET_PDEATHSIG) would reach the leaders only, and comes when the thread ends that started them.
//!
//! | line | means |
//! |---|---|
//! | `? inodes` | a program is being started, whose output goes to these pipes; none: that has failed |
//! | `+ group` | it has started: kill this group at the end |
//! | `- group` | that group is empty |
//!
//! A child that is being started has the socket open until its exec. So at the end of the socket the exec has taken
//! place, and the pipes at 1 and 2 tell who was started last.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::exec;

const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
set=' '
pipes=
while read -r what rest; do
    case $what in
    \?) pipes=$rest ;;
    +) pipes= set="$set$rest " ;;
    -) case "$set" in *" $rest "*) set="${set%% "$rest" *} ${set#* "$rest" }" ;; esac ;;
    esac
done
for group in $set; do kill -s KILL -- "-$group" 2>/dev/null; done
for pipe in $pipes; do
    ls -l /proc/[0-9]*/fd/1 /proc/[0-9]*/fd/2 2>/dev/null | while read -r line; do
        case $line in *" /proc/"*" -> pipe:[$pipe]") ;; *) continue ;; esac
        pid=${line#* /proc/}
        read -r stat <"/proc/${pid%%/*}/stat" || continue
        set -- ${stat##*) }
        kill -s KILL -- "-$3" 2>/dev/null
    done
done
"#;

/// How long it may take to read what it is told. One that does not is stopped, or hangs.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

#[derive(Default)]
pub(crate) struct Warden {
    shell: Option<Shell>,
    groups: BTreeSet<u32>,
}

/// Dropped, it does not kill what it knows: it is gone before its socket ends.
struct Shell {
    child: Child,
    socket: OwnedFd,
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Warden {
    /// Makes sure that it is there.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if let Some(shell) = &mut self.shell
            && shell.child.try_wait()?.is_none()
        {
            return Ok(());
        }
        self.replace()
    }

    /// Replaces it, if somebody has killed it while it has something to do.
    pub(crate) fn look_after(&mut self) {
        if !self.groups.is_empty() {
            let _ = self.prepare();
        }
    }

    /// A program is about to start: these are the inodes of the pipes that it writes to.
    ///
    /// # Errors
    ///
    /// The warden cannot be had, so the program would not die with us.
    pub(crate) fn expect(&mut self, pipes: &[u64]) -> io::Result<()> {
        self.prepare()?;
        let pipes: String = pipes.iter().map(|pipe| format!(" {pipe}")).collect();
        self.tell(&format!("?{pipes}"))
    }

    /// It has started: kill this group when we are gone.
    pub(crate) fn add(&mut self, group: u32) {
        self.groups.insert(group);
        let _ = self.tell(&format!("+ {group}"));
    }

    /// It has not started.
    pub(crate) fn forget(&mut self) {
        let _ = self.tell("?");
    }

    /// Nothing is left of it. To be called before its leader is reaped.
    pub(crate) fn remove(&mut self, group: u32) {
        if self.groups.remove(&group) {
            let _ = self.tell(&format!("- {group}"));
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.shell.as_ref().map(|shell| shell.child.id())
    }

    /// One that does not listen is replaced, and the new one knows all groups, but not what was to be told.
    fn tell(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\n");
        match &self.shell {
            Some(shell) if tell(&shell.socket, &line).is_ok() => Ok(()),
            _ => {
                self.replace()?;
                let is_of_groups = line.starts_with(['+', '-']);
                self.shell.as_ref().filter(|_| !is_of_groups).map_or(Ok(()), |shell| tell(&shell.socket, &line))
            }
        }
    }

    fn replace(&mut self) -> io::Result<()> {
        let (ours, its) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // The new one knows them all when it begins, and only then the old one goes: one of them is always there.
        let groups: String = self.groups.iter().map(|group| format!("+ {group}\n")).collect();
        if !groups.is_empty() {
            tell(&ours, &groups)?;
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "pm-warden"]).current_dir("/").process_group(0).env_clear();
        command.env("PATH", "/usr/bin:/bin");
        exec::keep_clean(&mut command)?;
        let child =
            command.stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.shell = Some(Shell { child, socket: ours.into() });
        Ok(())
    }
}

/// Neither a program that takes SIGPIPE for its end nor a warden that is stopped may hold us up.
fn tell(socket: impl AsFd, text: &str) -> io::Result<()> {
    loop {
        match send(&socket, text.as_bytes(), SendFlags::NOSIGNAL) {
            Ok(n) if n == text.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut room = [PollFd::new(&socket, PollFlags::OUT)];
                if poll(&mut room, Some(&PATIENCE))? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
