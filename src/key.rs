//! Key: an entry in the map, known by its id.
//!
//! The hash of the id is computed once and kept beside the entry: the map compares it before it
//! touches the entry of another task, which is seldom in the cache.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use crate::entry::{Entry, Id};

/// A task in the map.
pub(crate) struct ById {
    hash: u64,
    pub(crate) entry: Arc<Entry>,
}

impl ById {
    #[inline]
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        ById { hash: entry.hash(), entry }
    }
}

/// What has an id. A map lends its keys as one type: this is that of its own keys and of those it is asked for.
pub(crate) trait Named {
    fn id(&self) -> Id<'_>;
}

impl Named for ById {
    #[inline]
    fn id(&self) -> Id<'_> {
        Id { hash: self.hash, id: self.entry.id() }
    }
}

impl Named for Id<'_> {
    fn id(&self) -> Id<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Named + 'a> for ById {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.id().hash);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.id(), other.id());
        a.hash == b.hash && a.id == b.id
    }
}

impl Eq for dyn Named + '_ {}

impl Hash for ById {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for ById {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.entry.id() == other.entry.id()
    }
}

impl Eq for ById {}

/// Takes a hash for what it is.
#[derive(Clone, Default)]
pub(crate) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys hash to one number");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for IdentityHasher {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        IdentityHasher(0)
    }
}
