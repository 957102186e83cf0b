//! Error: why an Overseer cannot do what it was asked.

use std::fmt;

/// Why an [`Overseer`](crate::Overseer) cannot do what it was asked. Each has the id that it is about.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Error {
    /// No program of that id was added, or it was removed.
    Unknown { id: String },
    /// The id is that of another program, or of a task that is running in the list.
    Taken { id: String },
    /// The id is empty, or longer than the 256 bytes that an id in the list can have.
    InvalidId { id: String },
    /// The program has no command.
    EmptyProgram { id: String },
    /// The parent is not there. It must be added first.
    UnknownParent { id: String, parent: String },
    /// A probe that can never succeed.
    InvalidProbe { id: String, why: String },
    /// It is supervised already.
    AlreadySupervised { id: String },
    /// It cannot be removed while it is supervised.
    Running { id: String },
    /// It cannot be removed while others have it as their parent.
    HasChildren { id: String, children: Vec<String> },
    /// The Overseer is gone: its last clone was dropped.
    Closed { id: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| format!("'{}'", text.escape_debug());
        match self {
            Error::Unknown { id } => write!(f, "no such program {}: add it first", quoted(id)),
            Error::Taken { id } => write!(f, "{} is taken: choose another id", quoted(id)),
            Error::InvalidId { id } => write!(f, "{} is no id: use 1 to 256 bytes of text", quoted(id)),
            Error::EmptyProgram { id } => write!(f, "{} has no command: name a program to run", quoted(id)),
            Error::UnknownParent { id, parent } => {
                write!(f, "{} has the parent {}, which is not there: add the parent first", quoted(id), quoted(parent))
            }
            Error::InvalidProbe { id, why } => write!(f, "{} has a probe that can never succeed: {why}", quoted(id)),
            Error::AlreadySupervised { id } => write!(f, "{} is supervised already", quoted(id)),
            Error::Running { id } => write!(f, "{} is supervised: stop it first", quoted(id)),
            Error::HasChildren { id, children } => {
                write!(f, "{} is the parent of {}: remove these first", quoted(id), children.join(", "))
            }
            Error::Closed { id } => write!(f, "{} cannot be reached: its overseer has ended", quoted(id)),
        }
    }
}

impl std::error::Error for Error {}
