//! Limits: how much one task may hold, and counts of what was over.

use std::borrow::Cow;

use crate::escape;

/// The longest id, in bytes.
pub(crate) const ID: usize = 256;

/// The longest status, in bytes.
pub(crate) const STATUS: usize = 256;

/// The longest name of a column, in bytes.
pub(crate) const NAME: usize = 256;

/// The longest value of a column, in bytes.
pub(crate) const VALUE: usize = 1024;

/// The longest text by which a value is compared that shows another one, in bytes: a number.
pub(crate) const ALIAS: usize = 64;

/// The longest message that a kill carries, in bytes.
pub(crate) const MESSAGE: usize = 512;

/// The longest note on how a task ended, in bytes.
pub(crate) const NOTE: usize = 256;

/// How many columns a task may have.
pub(crate) const COLUMNS: usize = 32;

/// How often something was cut with `…`, or left out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncations {
    pub(crate) ids: u64,
    pub(crate) statuses: u64,
    pub(crate) values: u64,
    pub(crate) messages: u64,
    /// Columns that a task had no room for.
    pub(crate) columns: u64,
}

impl Truncations {
    pub(crate) fn add(&mut self, other: &Truncations) {
        self.ids += other.ids;
        self.statuses += other.statuses;
        self.values += other.values;
        self.messages += other.messages;
        self.columns += other.columns;
    }
}

/// A text that is kept may have so many bytes of room that it does not need.
const SLACK: usize = 16;

/// `text`, cut to `bytes` with `…`, in memory of about its own size.
#[inline]
pub(crate) fn cut(text: Cow<'static, str>, bytes: usize) -> Cow<'static, str> {
    match text {
        Cow::Borrowed(literal) if literal.len() <= bytes => text,
        Cow::Owned(ref owned) if owned.len() <= bytes && owned.capacity() <= owned.len() + SLACK => text,
        text => fit(text, bytes),
    }
}

#[cold]
fn fit(text: Cow<'static, str>, bytes: usize) -> Cow<'static, str> {
    // Not copied before it is cut.
    let mut kept = text[..text.floor_char_boundary(bytes + '…'.len_utf8())].to_string();
    escape::shorten(&mut kept, bytes);
    kept.shrink_to_fit();
    kept.into()
}

/// The part of a column's name that counts: two that begin alike for that long are one.
#[inline]
pub(crate) fn name(name: &str) -> &str {
    if name.len() <= NAME { name } else { &name[..name.floor_char_boundary(NAME)] }
}
