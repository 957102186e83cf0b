//! Sets: the tasks that `kill where` has shown, until `kill @..` or for a minute.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Entry;
use crate::escape;

/// How long a set can be used: the longer ago it was shown, the less it is what somebody means.
const VALID: Duration = Duration::from_secs(60);

/// How many sets a client can have at a time. The oldest is forgotten.
const MOST: usize = 8;

/// The sets of one client.
#[derive(Default)]
pub(crate) struct Sets {
    sets: VecDeque<Set>,
    /// The last tokens that were used.
    used: VecDeque<String>,
    /// So that a token from an earlier session means nothing.
    random: RandomState,
    offered: u64,
}

struct Set {
    token: String,
    /// The command that showed it: `kill`, or one of the program's.
    verb: String,
    tasks: Vec<Arc<Entry>>,
    until: Instant,
}

impl Sets {
    /// Keeps `tasks` for `verb`, under a token that stands for no other set: neither one of these, nor
    /// one that `is_taken`.
    pub(crate) fn offer(
        &mut self,
        verb: &str,
        tasks: Vec<Arc<Entry>>,
        is_taken: impl Fn(&str) -> bool,
        now: Instant,
    ) -> String {
        let token = loop {
            self.offered += 1;
            let token = format!("@{:04x}", self.random.hash_one(self.offered) as u16);
            if self.sets.iter().all(|set| set.token != token) && !is_taken(&token) {
                break token;
            }
        };
        self.forget_expired(now);
        if self.sets.len() == MOST {
            self.sets.pop_front();
        }
        self.sets.push_back(Set { token: token.clone(), verb: verb.to_string(), tasks, until: now + VALID });
        token
    }

    /// The tasks that `token` stands for.
    ///
    /// # Errors
    ///
    /// There is none, or none any more, or it is for another command.
    pub(crate) fn get(&mut self, verb: &str, token: &str, now: Instant) -> Result<&[Arc<Entry>], String> {
        self.forget_expired(now);
        let is_it = |set: &&Set| set.token.eq_ignore_ascii_case(token) && set.verb == verb;
        self.sets.iter().find(is_it).map(|set| set.tasks.as_slice()).ok_or_else(|| {
            let is_used = self.used.iter().any(|used| used.eq_ignore_ascii_case(token));
            let (token, verb) = (escape::echo(token), escape::echo(verb));
            if is_used {
                return format!(
                    "no such set '{token}': it has been used, {verb} where <expression> shows the next one"
                );
            }
            format!("no such set '{token}': {verb} where <expression> shows one, for 60 s")
        })
    }

    /// When the first of them is too old: its tasks are not to be held for longer.
    pub(crate) fn expire_at(&self) -> Option<Instant> {
        self.sets.front().map(|set| set.until)
    }

    pub(crate) fn forget_expired(&mut self, now: Instant) {
        self.sets.retain(|set| set.until > now);
    }

    /// Forgets the set: it has been used.
    pub(crate) fn forget(&mut self, token: &str) {
        self.sets.retain(|set| !set.token.eq_ignore_ascii_case(token));
        if self.used.len() == MOST {
            self.used.pop_front();
        }
        self.used.push_back(token.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_one_set_of_one_command() {
        let (mut sets, now) = (Sets::default(), Instant::now());
        // All but a few are taken by sets that are being killed.
        for _ in 0..20 {
            let token = sets.offer("kill", Vec::new(), |token| !token.ends_with("00"), now);
            assert!(token.ends_with("00"), "{token}");
        }
        assert_eq!(sets.sets.len(), MOST);
        let token = sets.offer("kill", Vec::new(), |_| false, now);
        assert!(sets.get("kill", &token.to_uppercase(), now).is_ok());
        assert!(sets.get("hurry", &token, now).is_err_and(|reply| reply.contains("hurry where <expression>")));
        assert!(sets.get("kill", &token, now + VALID).is_err());
        assert!(sets.get("kill", "@7f3a", now).is_err_and(|reply| reply.starts_with("no such set '@7f3a'")));
        sets.forget(&token);
        let again = sets.get("kill", &token.to_uppercase(), now).expect_err("once only");
        assert!(again.ends_with("': it has been used, kill where <expression> shows the next one"), "{again}");
    }
}
