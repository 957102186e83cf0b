//! Numbers: `conn1`, `conn2`, .. for tasks that have no name of their own.
//!
//! Each stripe takes numbers in blocks, so that threads that start tasks do not meet. So they are
//! unique, and from several threads neither in order nor without gaps.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;

/// How many numbers a stripe takes at a time.
const BLOCK: u64 = 32;

/// How many prefixes have a count of their own; a program has a few. The others share one.
const PREFIXES: usize = 64;

/// The counts of one list: what the next block of a prefix begins with.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<HashMap<CompactString, u64>>);

/// The numbers that a stripe has taken.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Vec<(CompactString, Range<u64>)>>);

impl Blocks {
    /// The next number of `prefix`, from 1.
    pub(crate) fn next(&self, prefix: &str, numbers: &Numbers) -> u64 {
        let mut blocks = lock(&self.0);
        let found = blocks.iter_mut().find(|(known, _)| known == prefix);
        if let Some(number) = found.and_then(|(_, block)| block.next()) {
            return number;
        }
        let (prefix, mut block) = numbers.take(prefix);
        let number = block.next().unwrap_or_default();
        match blocks.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, old)) => {
                // That of those that share one: what is left of it is lost.
                *old = block;
            }
            None => blocks.push((prefix, block)),
        }
        number
    }
}

impl Numbers {
    /// A block of numbers that is given out once, and the prefix that it is for.
    pub(crate) fn take(&self, prefix: &str) -> (CompactString, Range<u64>) {
        let mut counts = lock(&self.0);
        let has_own = counts.contains_key(prefix) || counts.len() < PREFIXES;
        let prefix = CompactString::new(if has_own { prefix } else { "" });
        let next = counts.entry(prefix.clone()).or_insert(1);
        let block = *next..*next + BLOCK;
        *next = block.end;
        (prefix, block)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_prefix_counts_from_one_and_two_stripes_never_meet() {
        let (numbers, one, other) = (Numbers::default(), Blocks::default(), Blocks::default());
        let first: Vec<_> = (0..40).map(|_| one.next("conn", &numbers)).collect();
        assert_eq!(first, (1..=40).collect::<Vec<_>>());
        assert_eq!((one.next("job", &numbers), one.next("conn", &numbers)), (1, 41));
        let all: HashSet<_> = first.into_iter().chain((0..100).map(|_| other.next("conn", &numbers))).collect();
        assert_eq!(all.len(), 140);
    }

    #[test]
    fn many_prefixes_share_one_count() {
        let (numbers, blocks) = (Numbers::default(), Blocks::default());
        let mut ids = HashSet::new();
        for round in 0..3 {
            for n in 0..1000 {
                let prefix = format!("p{n}-");
                assert!(ids.insert(format!("{prefix}{}", blocks.next(&prefix, &numbers))), "{prefix} {round}");
            }
        }
        assert!(lock(&numbers.0).len() <= PREFIXES + 1 && lock(&blocks.0).len() <= PREFIXES + 1);
    }
}
