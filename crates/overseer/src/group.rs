//! Group: what is left of a process group, by looking at all processes.
//!
//! `kill(-group, 0)` does not tell: it succeeds for zombies that nobody reaps. One scan of /proc serves all who wait.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::Notify;

/// How long after one scan the next begins, while something changes.
const PACE: Duration = Duration::from_millis(20);
/// How long at most, when nothing does: a process may heed no TERM, and have an hour of grace.
const SLOWEST: Duration = Duration::from_millis(250);

/// A process that is no zombie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    /// As in /proc: `D` is one that waits for a disk.
    pub(crate) state: char,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.state)
    }
}

/// Looks at groups until they are empty.
#[derive(Default)]
pub(crate) struct Scanner {
    watched: Mutex<HashMap<u32, Watched>>,
    wake: Notify,
}

struct Watched {
    tell: Box<dyn Fn(Seen) + Send>,
    last: Option<Vec<Member>>,
    empty_scans: u32,
}

pub(crate) enum Seen {
    Left(Vec<Member>),
    /// Nothing, twice in a row. Told once.
    Empty,
}

impl Scanner {
    /// Tells of the group of this leader, which must not be reaped before [`Seen::Empty`].
    pub(crate) fn watch(&self, group: u32, tell: impl Fn(Seen) + Send + 'static) {
        let watched = Watched { tell: Box::new(tell), last: None, empty_scans: 0 };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(group, watched);
        self.wake.notify_one();
    }

    pub(crate) async fn run(self: Arc<Self>) {
        let mut pace = PACE;
        loop {
            if self.watched.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                self.wake.notified().await;
                continue;
            }
            // What cannot be read is not empty: without a descriptor to read /proc with, nothing is known.
            let Ok(found) = scan().await else {
                tokio::time::sleep(SLOWEST).await;
                continue;
            };
            let mut has_changed = false;
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).retain(|group, watched| {
                let members = found.get(group).cloned().unwrap_or_default();
                has_changed |= watched.last.as_ref() != Some(&members);
                watched.see(*group, members)
            });
            pace = if has_changed { PACE } else { SLOWEST.min(pace.mul_f32(1.2)) };
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = self.wake.notified() => tokio::time::sleep(PACE).await,
            }
        }
    }
}

impl Watched {
    /// Whether it is to be looked at again.
    fn see(&mut self, group: u32, members: Vec<Member>) -> bool {
        if members.is_empty() {
            self.empty_scans += 1;
            if self.empty_scans == 2 {
                (self.tell)(Seen::Empty);
            }
            // A chain of processes that fork and exit may slip through two scans, but not through a signal: the group
            // gets one as a whole. Its leader is not reaped, so the group is ours.
            if self.empty_scans == 1
                && let Some(leader) = Pid::from_raw(group.cast_signed())
            {
                let _ = kill_process_group(leader, Signal::KILL);
            }
            return self.empty_scans < 2;
        }
        self.empty_scans = 0;
        if self.last.as_ref() != Some(&members) {
            (self.tell)(Seen::Left(members.clone()));
            self.last = Some(members);
        }
        true
    }
}

/// All processes that live, by their group. It gives way to others between.
///
/// # Errors
///
/// One of them cannot be read, and has not ended either.
async fn scan() -> io::Result<HashMap<u32, Vec<Member>>> {
    let mut found: HashMap<u32, Vec<Member>> = HashMap::new();
    for (n, pid) in pids()?.into_iter().enumerate() {
        if n % 32 == 31 {
            tokio::task::yield_now().await;
        }
        if let Some(stat) = Stat::read(pid)?
            && stat.is_alive()
        {
            let member = Member { pid, state: stat.state };
            // A leader may have joined another group. It is still one of its own.
            if stat.group != pid {
                found.entry(pid).or_default().push(member.clone());
            }
            found.entry(stat.group).or_default().push(member);
        }
    }
    Ok(found)
}

/// The processes that there are.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// A line of /proc/<pid>/stat.
#[derive(Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    threads: u32,
}

impl Stat {
    /// `None` if it has ended, or may not be seen.
    pub(crate) fn read(pid: u32) -> io::Result<Option<Self>> {
        let mut line = [0; 512];
        let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line));
        match read {
            Ok(n) => Ok(line.get(..n).and_then(Stat::parse)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // It is hidden (`hidepid`), and so of another user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            // ESRCH: it has ended since it was opened.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of a process, in parentheses, may contain anything, parentheses too.
    fn parse(line: &[u8]) -> Option<Self> {
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(line.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let threads = fields.nth(14)?.parse().ok()?;
        Some(Stat { state, parent, group, threads })
    }

    /// A leader of threads that has exited is a zombie by its state while other threads of it run.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_end_of_a_name() {
        let line = b"4711 (a) Z 1 (b) S 1 4700 4700 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 100 1 1\n";
        let stat = Stat::parse(line).expect("a stat");
        assert_eq!(stat, Stat { state: 'S', parent: 1, group: 4700, threads: 3 });
    }

    #[test]
    fn a_zombie_with_threads_that_run_is_alive() {
        let stat = |state, threads| Stat { state, parent: 1, group: 1, threads };
        assert!(stat('Z', 2).is_alive() && stat('D', 1).is_alive());
        assert!(!stat('Z', 1).is_alive() && !stat('X', 0).is_alive());
    }

    #[tokio::test]
    async fn a_leader_in_another_group_is_one_of_both() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let group = Stat::read(child.id()).expect("/proc").expect("a stat").group;
        let found = scan().await.expect("/proc");
        let is_in = |group: u32| found[&group].iter().any(|member| member.pid == child.id());
        assert!(group != child.id() && is_in(group) && is_in(child.id()));
        child.kill().expect("it ends");
        child.wait().expect("it is reaped");
    }

    #[test]
    fn this_process_is_found() {
        let me = Stat::read(std::process::id()).expect("/proc").expect("a stat");
        assert!(me.is_alive() && pids().expect("/proc").contains(&std::process::id()));
    }
}
