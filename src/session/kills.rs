//! Kills: the conversation that follows a `kill` line, up to the outcome. No I/O: the session waits
//! for the [new kills](Kills::take_new) and says when one of them [has ended](Kills::on_ended).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::{Entry, KillReply};
use crate::escape;
use crate::kill::{Ending, Kill};
use crate::killed::KillError;
use crate::list::ProcList;
use crate::peer::Peer;
use crate::proc::Outcome;

/// After so long the client is told why the task is still running.
const OVERDUE: Duration = Duration::from_secs(5);

/// How many outcomes one client may be waiting for.
pub(crate) const MOST: usize = 1024;

/// The kills whose outcome one client waits for.
pub(crate) struct Kills {
    list: ProcList,
    /// The client.
    by: Arc<Peer>,
    open: Vec<Victim>,
    sets: Vec<Set>,
    new: Vec<Arc<Kill>>,
}

struct Victim {
    entry: Arc<Entry>,
    kill: Arc<Kill>,
    /// When the client is told that it takes long. `None` if it has been told.
    overdue_at: Option<Instant>,
    /// The tokens of the sets that it was killed with.
    sets: Vec<String>,
}

/// A set that is being killed, and what became of its tasks so far.
#[derive(Default)]
struct Set {
    token: String,
    /// How many have not ended.
    waiting: usize,
    killed: usize,
    ended: usize,
    panicked: usize,
    forbidden: usize,
    running: usize,
}

impl Kills {
    pub(crate) fn new(list: ProcList, by: Arc<Peer>) -> Self {
        Kills { list, by, open: Vec::new(), sets: Vec::new(), new: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a set with this token is being killed.
    pub(crate) fn has_set(&self, token: &str) -> bool {
        self.sets.iter().any(|set| set.token == token)
    }

    /// The kills whose end is to be waited for from now on.
    pub(crate) fn take_new(&mut self) -> Vec<Arc<Kill>> {
        std::mem::take(&mut self.new)
    }

    /// Waits for none of them any more.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.sets.clear();
    }

    /// Requests that the task that the table shows as `name` stop. Returns the first reply.
    pub(crate) fn request(&mut self, name: &str, message: &str, now: Instant) -> String {
        let unknown = || format!("no such process '{}'", escape::echo(name));
        let Some(entry) = escape::parse_id(name).and_then(|id| self.list.find(&id)) else { return unknown() };
        if self.open.len() >= MOST && !self.awaits(&entry) {
            return too_many();
        }
        match self.list.request(&entry, message.to_string(), Some(Arc::clone(&self.by))) {
            KillReply::Accepted(kill) => {
                let (id, status, age) = (escape::id(&kill.id), escape::quoted_cell(&kill.status), kill.age);
                let reply = format!("killing {id} in {status}, {:.1}s old{}", age.as_secs_f64(), no_unwinding());
                self.follow(&entry, kill, None, now + OVERDUE);
                reply
            }
            KillReply::Already(kill) => {
                let refusal = already(&kill);
                let since = age(&kill, now);
                self.follow(&entry, kill, None, now + OVERDUE.saturating_sub(since));
                refusal
            }
            KillReply::Forbidden => forbidden(&entry),
            KillReply::Ended => unknown(),
        }
    }

    /// Requests that all of `tasks` stop. Returns the first reply.
    ///
    /// # Errors
    ///
    /// The reply, if there are too many outcomes to wait for: then none is killed.
    pub(crate) fn request_set(
        &mut self,
        token: &str,
        tasks: &[Arc<Entry>],
        message: &str,
        now: Instant,
    ) -> Result<String, String> {
        if self.open.len() + tasks.iter().filter(|task| !self.awaits(task)).count() > MOST {
            return Err(too_many());
        }
        let mut set = Set { token: token.to_string(), ..Set::default() };
        let (mut accepted, mut exceptions) = (0, Vec::new());
        for entry in tasks {
            match self.list.request(entry, message.to_string(), Some(Arc::clone(&self.by))) {
                KillReply::Accepted(kill) => {
                    (accepted, set.waiting) = (accepted + 1, set.waiting + 1);
                    self.follow(entry, kill, Some(token), now + OVERDUE);
                }
                KillReply::Already(kill) => {
                    set.waiting += 1;
                    exceptions.push(already(&kill));
                    let since = age(&kill, now);
                    self.follow(entry, kill, Some(token), now + OVERDUE.saturating_sub(since));
                }
                KillReply::Forbidden => {
                    set.forbidden += 1;
                    exceptions.push(forbidden(entry));
                }
                KillReply::Ended => {
                    set.ended += 1;
                    exceptions.push(format!("{} ended by itself before the kill", escape::id(entry.id())));
                }
            }
        }
        let first = format!("killing {accepted} of {}{}", tasks.len(), no_unwinding());
        let mut lines = vec![first];
        lines.append(&mut exceptions);
        self.sets.push(set);
        lines.extend(self.sums());
        Ok(lines.join("\n"))
    }

    fn awaits(&self, entry: &Arc<Entry>) -> bool {
        self.open.iter().any(|victim| Arc::ptr_eq(&victim.entry, entry))
    }

    fn follow(&mut self, entry: &Arc<Entry>, kill: Arc<Kill>, set: Option<&str>, overdue_at: Instant) {
        let sets = set.map(str::to_string);
        if let Some(victim) = self.open.iter_mut().find(|victim| Arc::ptr_eq(&victim.kill, &kill)) {
            // One outcome, however often it was asked for.
            victim.sets.extend(sets);
            return;
        }
        self.new.push(Arc::clone(&kill));
        let (entry, overdue_at, sets) = (Arc::clone(entry), Some(overdue_at), sets.into_iter().collect());
        self.open.push(Victim { entry, kill, overdue_at, sets });
    }

    /// The task has left the list. Returns what is to be told.
    pub(crate) fn on_ended(&mut self, kill: &Arc<Kill>) -> Option<String> {
        let at = self.open.iter().position(|victim| Arc::ptr_eq(&victim.kill, kill))?;
        let victim = self.open.swap_remove(at);
        Some(self.tell_end(&victim, kill.ending()?))
    }

    /// When [`on_time`](Self::on_time) has something to tell.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.open.iter().filter_map(|victim| victim.overdue_at).min()
    }

    /// What is to be told of tasks that are still running. Each is told once.
    pub(crate) fn on_time(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        for victim in &mut self.open {
            if victim.overdue_at.take_if(|at| *at <= now).is_some() && victim.kill.ending().is_none() {
                told.push(victim.overdue(now));
            }
        }
        told
    }

    /// Stops waiting for them. Returns what is still to be told.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        for victim in std::mem::take(&mut self.open) {
            match victim.kill.ending() {
                Some(ending) => told.push(self.tell_end(&victim, ending)),
                None => {
                    told.extend(victim.overdue_at.map(|_| victim.overdue(now)));
                    self.count(&victim, |set| set.running += 1);
                    told.extend(self.sums());
                }
            }
        }
        told
    }

    fn tell_end(&mut self, victim: &Victim, ending: &Ending) -> String {
        self.count(victim, |set| match ending.outcome {
            Outcome::Killed => set.killed += 1,
            Outcome::Ended => set.ended += 1,
            Outcome::Panicked => set.panicked += 1,
        });
        let mut lines = vec![outcome(&victim.kill, ending)];
        lines.extend(self.sums());
        lines.join("\n")
    }

    fn count(&mut self, victim: &Victim, add: impl Fn(&mut Set)) {
        for set in self.sets.iter_mut().filter(|set| victim.sets.contains(&set.token)) {
            set.waiting -= 1;
            add(set);
        }
    }

    /// The lines that count what became of the sets that are through.
    fn sums(&mut self) -> Vec<String> {
        self.sets.extract_if(.., |set| set.waiting == 0).map(|set| set.sum()).collect()
    }
}

impl Set {
    fn sum(&self) -> String {
        let counts = [
            (self.killed, "killed"),
            (self.ended, "ended"),
            (self.panicked, "panicked"),
            (self.forbidden, "may not be killed"),
            (self.running, "still running"),
        ];
        let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        format!("{}: {}", self.token, counts.join(", "))
    }
}

impl Victim {
    fn overdue(&self, now: Instant) -> String {
        let (status, seen) = self.entry.status_and_seen();
        let (id, status) = (escape::id(self.entry.id()), escape::quoted_cell(&status));
        let seconds = age(&self.kill, now).max(OVERDUE).as_secs();
        // A task that has only `status(..)()` has no kill point in a program that cannot unwind.
        let stops = match cfg!(panic = "abort") {
            false => "it stops at its next kill point",
            true => "built with panic=abort, it stops at its next try_status, check or run, if it has one",
        };
        match seen {
            false => format!("{id} is still running {seconds}s after the kill, in {status}: {stops}"),
            true => format!("{id} saw the kill and is still cleaning up after {seconds}s, in {status}"),
        }
    }
}

/// How long ago it was accepted.
fn age(kill: &Kill, now: Instant) -> Duration {
    now.into_std().saturating_duration_since(kill.at)
}

fn too_many() -> String {
    format!("too many kills: {MOST} outcomes are awaited, try again after the next")
}

fn already(kill: &Kill) -> String {
    KillError::AlreadyKilled { id: kill.id.clone(), message: kill.message.clone() }.to_string()
}

fn forbidden(entry: &Entry) -> String {
    KillError::Forbidden { id: entry.id().to_string() }.to_string()
}

fn no_unwinding() -> &'static str {
    match cfg!(panic = "abort") {
        false => "",
        true => ": built with panic=abort, so only try_status, check and run can stop it",
    }
}

fn outcome(kill: &Kill, ending: &Ending) -> String {
    let (id, suffix) = (escape::id(&kill.id), &ending.suffix);
    match ending.outcome {
        Outcome::Killed => {
            let (seconds, status) = (ending.after.as_secs_f64(), escape::quoted_cell(&ending.status));
            format!("killed {id} after {seconds:.1}s in {status}{suffix}")
        }
        Outcome::Ended => format!("{id} ended by itself before the kill reached it{suffix}"),
        Outcome::Panicked => format!("{id} panicked before the kill reached it{suffix}"),
    }
}
