//! Error: why a server did not do what it was asked.

use std::fmt;

/// Why a server did not do what it was asked.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// No task runs under this id.
    NotFound {
        /// The id.
        id: String,
    },
    /// The task refuses to be killed, the client may not do that, or its token is missing or wrong.
    Forbidden {
        /// The server's words.
        message: String,
    },
    /// There is no server, it did not answer in time, or the address is none.
    Unreachable {
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What answers is no processlist.
    NotPm {
        /// How that is known.
        why: String,
    },
    /// The server understood, and could not do it.
    Failed {
        /// The status.
        status: u16,
        /// The server's words.
        message: String,
    },
}

impl Error {
    pub(super) fn not_pm(why: impl Into<String>) -> Self {
        Error::NotPm { why: why.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::escape::plain;
        match self {
            Error::NotFound { id } => write!(f, "no such process '{}'", plain(id)),
            Error::Forbidden { message } if message.is_empty() => f.write_str("forbidden"),
            Error::Forbidden { message } => plain(message).fmt(f),
            Error::Unreachable { source } => {
                write!(f, "the processlist cannot be reached: {}", plain(&source.to_string()))?;
                // What failed at the bottom: the cause in between says only that it did.
                let mut cause = source.source();
                while let Some(below) = cause.and_then(std::error::Error::source) {
                    cause = Some(below);
                }
                cause.map_or(Ok(()), |cause| write!(f, ": {}", plain(&cause.to_string())))
            }
            Error::NotPm { why } => write!(f, "this is no processlist: {}", plain(why)),
            Error::Failed { status, message } => write!(f, "the processlist answered {status}: {}", plain(message)),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreachable { source } => Some(&**source),
            _ => None,
        }
    }
}
