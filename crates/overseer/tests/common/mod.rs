//! What the tests share: lists of their own, and polling with a deadline.
#![allow(dead_code)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pm::ProcList;
use pm_overseer::{Overseer, Program};

/// How long is waited for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn overseer() -> (Overseer, ProcList) {
    let list = ProcList::new();
    (Overseer::with_list(&list), list)
}

pub fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

/// Polls until it holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a process, not for ever.
#[track_caller]
pub fn ended(child: &mut std::process::Child) -> std::process::ExitStatus {
    let mut status = None;
    until("it ends", || {
        status = child.try_wait().expect("it is a child of ours");
        status.is_some()
    });
    status.expect("it has ended")
}

/// Waits for a future without a runtime: none of them needs one.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        assert!(Instant::now() < deadline, "the future is not ready within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

/// A directory of the test's own, which is removed at its end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pm-overseer-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Dir(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        path.to_str().expect("text").to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a process of this number is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The numbers that a script has written to a file.
pub fn pids(dir: &Dir, name: &str, n: usize) -> Vec<u32> {
    let read = || -> Vec<u32> { dir.read(name).split_whitespace().filter_map(|pid| pid.parse().ok()).collect() };
    until("the script has written its pids", || read().len() >= n);
    read()
}
