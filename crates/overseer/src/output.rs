//! Output: where what a program prints goes.

use std::path::{Path, PathBuf};

/// Where the standard output or the errors of a program go: [`Ring`](Self::Ring) unless it is told otherwise.
///
/// All but [`Null`](Self::Null) and [`Inherit`](Self::Inherit) go through a pipe: the last 256 lines (64 KiB at most)
/// are kept for `logs`, and each line is sent to the readers of [`Overseer::watch_logs`](crate::Overseer::watch_logs).
///
/// ```
/// use pm_overseer::{Output, Program};
///
/// // web.log, then web.log.1 to web.log.5, of 10 MiB each.
/// let log = Output::File("/var/log/web.log".into()).rotate(10 << 20, 5);
/// let web = Program::new("python3").args(["-m", "http.server"]).stdout(log.clone()).stderr(log);
/// # drop(web);
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Only the last lines are kept.
    Ring,
    /// To /dev/null.
    Null,
    /// To where the output of the supervising program goes. Nothing of it is kept or watched.
    Inherit,
    /// Appended to a file, which is made if it is not there.
    ///
    /// A slow file slows the program down, through its pipe. A file that is full or fails loses lines: they are counted
    /// in [`Status::lines_dropped`](crate::Status::lines_dropped), and it goes on when there is space. All outputs of
    /// this process that name one file, by whatever path, share it, and lines stay whole.
    File(PathBuf),
    /// The same, with a bound: [`rotate`](Self::rotate) makes one of a `File`.
    Rotated(PathBuf, Rotation),
    /// Copied to the standard output of this program, each line with this text before it.
    ///
    /// If that is a regular file, it is as for `File`: a slow one slows the program down. Else whoever reads it (a
    /// terminal, a pipe) never does. Of what he has not read the oldest beyond 4 MiB are lost, and counted. Without a
    /// text to put before them, bytes are copied as they are. Otherwise each line, and each piece of one that is too
    /// long, ends with LF.
    Stdout(String),
    /// Copied to the standard error of this program, in the same way.
    Stderr(String),
}

/// When a file is full, and how many full ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    pub(crate) bytes: u64,
    pub(crate) keep: u32,
}

impl Output {
    /// Of a file: before a line would make it longer than `bytes`, it is renamed to `<path>.1`, what was `<path>.1`
    /// to `<path>.2`, and so on; `keep` of them are kept. No line is lost. What is no regular file (a pipe, /dev/stdout)
    /// is never rotated. Does nothing for other outputs.
    pub fn rotate(self, bytes: u64, keep: u32) -> Self {
        match self {
            Output::File(path) | Output::Rotated(path, _) => {
                Output::Rotated(path, Rotation { bytes: bytes.max(1), keep })
            }
            other => other,
        }
    }

    pub(crate) fn file(&self) -> Option<(&Path, Option<Rotation>)> {
        match self {
            Output::File(path) => Some((path, None)),
            Output::Rotated(path, rotation) => Some((path, Some(*rotation))),
            _ => None,
        }
    }

    /// What each line gets before it.
    pub(crate) fn prefix(&self) -> Option<&str> {
        match self {
            Output::Stdout(prefix) | Output::Stderr(prefix) => {
                Some(prefix.as_str()).filter(|prefix| !prefix.is_empty())
            }
            _ => None,
        }
    }

    pub(crate) fn is_piped(&self) -> bool {
        !matches!(self, Output::Null | Output::Inherit)
    }
}
