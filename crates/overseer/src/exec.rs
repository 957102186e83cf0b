//! Exec: starts a child. The only file with unsafe code: what runs between fork and exec, where that is needed.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::output::Output;
use crate::program::Program;

/// A child that runs, and is not reaped.
pub(crate) struct Started {
    pub(crate) pid: u32,
    /// Readable when the leader has exited.
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Starts it. To be called on the thread of the spawner, whose signal mask is empty. `before` is told the inodes of the
/// pipes that it will write to.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn start(program: &Program, before: impl FnOnce(&[u64]) -> Result<(), String>) -> Result<Started, String> {
    let file = resolve(program);
    let explained = |error: io::Error| explain(program, &error);
    let outputs = Outputs::new(program).map_err(explained)?;
    before(&outputs.inodes().map_err(explained)?)?;
    let spawn = |file: Option<&Path>, script| command(program, file, script, &outputs)?.spawn();
    let mut result = spawn(file.as_deref(), None);
    let is = |result: &io::Result<_>, errno: Errno| {
        result.as_ref().err().and_then(io::Error::raw_os_error) == Some(errno.raw_os_error())
    };
    if is(&result.as_ref().map(|_| ()).map_err(clone), Errno::NOEXEC) {
        // A script without a first line that names its interpreter: as a shell does it.
        let script = file.clone().or_else(|| find(program, &std::env::var_os("PATH").unwrap_or_default()));
        result = spawn(Some(Path::new("/bin/sh")), script);
    }
    let mut child = result.map_err(explained)?;
    let pid = child.id();
    // A child that is not reaped keeps its number, so this is it.
    let pidfd =
        Pid::from_raw(pid.cast_signed()).ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match pidfd {
        Ok(pidfd) => {
            let [stdout, stderr] = outputs.pipes.map(|pipe| pipe.map(|(reader, _writer)| reader));
            Ok(Started { pid, pidfd, stdout, stderr })
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(explained(error.into()))
        }
    }
}

fn clone(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The pipes of stdout and stderr, where there is one.
struct Outputs {
    pipes: [Option<(OwnedFd, OwnedFd)>; 2],
}

impl Outputs {
    fn new(program: &Program) -> io::Result<Self> {
        let pipe = |output: &Output| match output {
            Output::Null | Output::Inherit => Ok(None),
            _ => pipe_with(PipeFlags::CLOEXEC).map(Some),
        };
        Ok(Outputs { pipes: [pipe(&program.stdout)?, pipe(&program.stderr)?] })
    }

    fn inodes(&self) -> io::Result<Vec<u64>> {
        self.pipes.iter().flatten().map(|(reader, _)| Ok(rustix::fs::fstat(reader)?.st_ino)).collect()
    }

    /// What the child gets. Both attempts to start it get the same.
    fn stdio(&self, which: usize, output: &Output) -> io::Result<Stdio> {
        match &self.pipes[which] {
            Some((_, writer)) => Ok(writer.try_clone()?.into()),
            None if matches!(output, Output::Inherit) => Ok(Stdio::inherit()),
            None => Ok(Stdio::null()),
        }
    }
}

/// The command of std. It calls posix_spawn, which does not copy the address space, unless something must be done
/// between fork and exec.
fn command(program: &Program, file: Option<&Path>, script: Option<PathBuf>, outputs: &Outputs) -> io::Result<Command> {
    let mut command = Command::new(file.unwrap_or(Path::new(&program.command)));
    match script {
        Some(script) => command.arg(script),
        None => command.arg0(&program.command),
    };
    command.args(program.args.iter().map(|arg| &arg.value)).process_group(0).stdin(Stdio::null());
    if let Some(dir) = &program.dir {
        command.current_dir(dir);
    }
    if program.env_clear {
        command.env_clear();
    }
    command.envs(&program.env);
    command.stdout(outputs.stdio(0, &program.stdout)?).stderr(outputs.stdio(1, &program.stderr)?);
    keep_clean(&mut command)?;
    Ok(command)
}

/// Keeps from a child what this process has open for itself, and what it ignores.
///
/// # Errors
///
/// It cannot be found out what that is: no descriptor is left to look.
pub(crate) fn keep_clean(command: &mut Command) -> io::Result<()> {
    let (open, ignored) = (open_descriptors()?, ignored_signals()?);
    if !open.is_empty() || !ignored.is_empty() {
        // SAFETY: the closure runs in the child, after fork in a process that has threads. It calls what is safe in a
        // signal handler, and neither allocates nor locks: the lists were made before, and are only read.
        unsafe {
            command.pre_exec(move || {
                shed(&open, &ignored);
                Ok(())
            });
        }
    }
    Ok(())
}

/// Marks descriptors to be closed by the exec, and gives signals their default.
fn shed(open: &[RawFd], ignored: &[i32]) {
    // SAFETY: these calls take numbers and no pointers, and are safe between fork and exec. To mark, and not to close:
    // one of the descriptors is that by which std tells its parent that the exec failed. A kernel that cannot do it for
    // all at once (before 5.11) does it for those that were open.
    unsafe {
        let marked = libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if marked != 0 {
            for fd in open {
                libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        for signal in ignored {
            libc::signal(*signal, libc::SIG_DFL);
        }
    }
}

/// Descriptors of this process that an exec would not close.
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let fd = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        open.extend(fd.filter(|fd| *fd > 2 && is_inherited(*fd)));
    }
    Ok(open)
}

fn is_inherited(fd: RawFd) -> bool {
    // SAFETY: the descriptor is only asked for its flags, in this call. If it was closed since, the answer is EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd.as_fd()).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC))
        && fd.as_raw_fd() > 2
}

/// Signals that this process ignores, but for SIGPIPE, which std gives back by itself, and for 32 and 33, which are the C
/// library's own.
fn ignored_signals() -> io::Result<Vec<i32>> {
    let mask = dispositions()?.0;
    let is_ours = |signal: &i32| !matches!(*signal, libc::SIGPIPE | 32 | 33);
    Ok((1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0).filter(is_ours).collect())
}

/// The masks of signals that this process ignores, and that it catches.
pub(crate) fn dispositions() -> io::Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    Ok((mask("SigIgn:"), mask("SigCgt:")))
}

/// Where the program is, if std would look for it by another PATH than the child's, which makes it fork.
fn resolve(program: &Program) -> Option<PathBuf> {
    let path = program.env.get(std::ffi::OsStr::new("PATH"));
    if program.command.contains('/') || (path.is_none() && !program.env_clear) {
        return None;
    }
    let usual = || OsString::from("/usr/local/bin:/usr/bin:/bin");
    find(program, &path.cloned().unwrap_or_else(usual))
}

/// The file of a program, by its name and this PATH.
fn find(program: &Program, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if program.command.contains('/') {
        return Some(program.command.clone().into());
    }
    let files = std::env::split_paths(path).map(|dir| dir.join(&program.command));
    files.into_iter().find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

/// Why it did not start, in words that say what to look at.
fn explain(program: &Program, error: &io::Error) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().escape_debug());
    let name = quoted(Path::new(&program.command));
    if let Some(dir) = &program.dir
        && !dir.is_dir()
    {
        return format!("its directory {} is not there", quoted(dir));
    }
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            let usual = std::env::var_os("PATH").unwrap_or_default();
            let path = program.env.get(std::ffi::OsStr::new("PATH")).unwrap_or(&usual);
            let file = find(program, path).map(|file| program.dir.as_ref().map_or(file.clone(), |dir| dir.join(&file)));
            match file.filter(|file| file.exists()) {
                Some(file) => match interpreter(&file) {
                    Some(interpreter) => format!("the interpreter of {name}, {}, is not there", quoted(&interpreter)),
                    None => format!("the loader of {name} is not there"),
                },
                None if program.command.contains('/') => format!("{name} is not there"),
                None => format!("{name} is not on PATH"),
            }
        }
        Some(Errno::ACCESS) => format!("{name} is not executable, or may not be"),
        Some(Errno::NOEXEC) => format!("{name} is no program of this machine"),
        Some(Errno::AGAIN) => "the system allows no more processes (EAGAIN): see ulimit -u".to_string(),
        Some(Errno::MFILE | Errno::NFILE) => "no file descriptor is left: see ulimit -n".to_string(),
        Some(Errno::TOOBIG) => "its arguments and its environment are too long".to_string(),
        Some(Errno::NOMEM) => "no memory is left to start it".to_string(),
        _ => format!("{name} cannot be started: {error}"),
    }
}

/// What the first line of a script names.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut line = [0; 256];
    let n = io::Read::read(&mut std::fs::File::open(file).ok()?, &mut line).ok()?;
    let line = line.get(..n)?.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    String::from_utf8_lossy(line).split_whitespace().next().map(PathBuf::from)
}
