//! Access: who may do what.

/// What a client may do. Decided when it connects, and raised by `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Nothing, until it has shown a token.
    Nothing,
    See,
    Kill,
}
