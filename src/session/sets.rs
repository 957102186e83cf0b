//! Sets: who `kill where` has shown, until `kill @..` or for a minute.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Entry;
use crate::escape;

/// How long a set can be killed: the longer ago it was shown, the less it is
/// what somebody means to kill.
const VALID: Duration = Duration::from_secs(60);

/// How many sets a client can have at a time; the oldest is forgotten.
const MOST: usize = 8;

/// The sets of one client.
#[derive(Default)]
pub(crate) struct Sets {
    sets: VecDeque<Set>,
    /// So that a token from an earlier session means nobody.
    random: RandomState,
    offered: u64,
}

struct Set {
    token: String,
    victims: Vec<Arc<Entry>>,
    until: Instant,
}

impl Sets {
    /// Keeps `victims`, under a token that stands for no other set: neither one of these, nor one
    /// that `is_taken`.
    pub(crate) fn offer(&mut self, victims: Vec<Arc<Entry>>, is_taken: impl Fn(&str) -> bool) -> &str {
        let token = loop {
            self.offered += 1;
            let token = format!("@{:04x}", self.random.hash_one(self.offered) as u16);
            if self.sets.iter().all(|set| set.token != token) && !is_taken(&token) {
                break token;
            }
        };
        self.forget_expired();
        if self.sets.len() == MOST {
            self.sets.pop_front();
        }
        self.sets.push_back(Set { token, victims, until: Instant::now() + VALID });
        self.sets.back().map_or("", |set| &set.token)
    }

    /// The victims that `token` stands for.
    ///
    /// # Errors
    ///
    /// There is none, or none any more.
    pub(crate) fn get(&mut self, token: &str) -> Result<&[Arc<Entry>], String> {
        self.forget_expired();
        let set = self.sets.iter().find(|set| set.token.eq_ignore_ascii_case(token));
        set.map(|set| set.victims.as_slice()).ok_or_else(|| {
            format!("no such set '{}': kill where <expression> shows one, for 60 s", escape::echo(token))
        })
    }

    /// When the first of them is too old: its tasks are not to be held for longer.
    pub(crate) fn expiry(&self) -> Option<Instant> {
        self.sets.front().map(|set| set.until)
    }

    pub(crate) fn forget_expired(&mut self) {
        self.sets.retain(|set| set.until > Instant::now());
    }

    /// Forgets the set: it has been killed.
    pub(crate) fn forget(&mut self, token: &str) {
        self.sets.retain(|set| !set.token.eq_ignore_ascii_case(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_stands_for_one_set() {
        let mut sets = Sets::default();
        // All but a few are taken by sets that are being killed.
        for _ in 0..20 {
            let token = sets.offer(Vec::new(), |token| !token.ends_with("00")).to_string();
            assert!(token.ends_with("00"), "{token}");
        }
        assert_eq!(sets.sets.len(), MOST);
    }
}
