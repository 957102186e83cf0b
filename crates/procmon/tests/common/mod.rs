//! What the tests share: directories, a procmon that runs, and polling with a deadline.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long is waited for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until it holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of the test's own, which is removed at its end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("procmon-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_procmon"));
        command.args(args).current_dir(&self.0).stdin(Stdio::null());
        for name in [
            "DEFAULT_RESTART_DELAY",
            "SHUTDOWN_MAX",
            "HONEYCOMB_KEY",
            "HONEYCOMB_DATASET",
            "HONEYCOMB_API_HOST",
            "NODE_ID",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end: its code, and what it printed.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One that runs. Its output goes to `out` and `err` of its directory.
pub struct Procmon<'a> {
    dir: &'a Dir,
    child: Child,
}

impl<'a> Procmon<'a> {
    pub fn start(dir: &'a Dir, args: &[&str]) -> Self {
        Procmon::start_with(dir, args, &[])
    }

    pub fn start_with(dir: &'a Dir, args: &[&str], env: &[(&str, &str)]) -> Self {
        let file = |name: &str| std::fs::File::create(dir.path(name)).unwrap();
        let mut command = dir.command(args);
        let child = command.envs(env.iter().copied()).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Procmon { dir, child }
    }

    pub fn signal(&self, name: &str) {
        kill(self.child.id(), name);
    }

    /// Sends it a signal when it has begun to listen to signals.
    pub fn signal_when_caught(&self, name: &str) {
        until("it is started", || self.dir.read("err").contains("\"msg\":\"started\""));
        self.signal(name);
    }

    /// Waits until the start is over.
    pub fn until_up(&self) {
        until("all tasks are up", || self.dir.read("err").contains("all tasks are up"));
    }

    /// Ends it by a signal. What it printed.
    #[track_caller]
    pub fn end(self, name: &str, code: i32) -> (String, String) {
        self.signal(name);
        let dir = self.dir;
        assert_eq!(self.wait(), Some(code), "{}", dir.read("err"));
        (dir.read("out"), dir.read("err"))
    }

    /// Waits for its end. Its code.
    #[track_caller]
    pub fn wait(mut self) -> Option<i32> {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Procmon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn kill(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// The processes whose command line begins with this.
pub fn pids_of(command: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let says = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.filter(|pid| says(*pid).starts_with(command.as_bytes()) && is_alive(*pid)).collect()
}

/// Whether a process of this number is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
