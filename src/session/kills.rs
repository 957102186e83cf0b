//! Kills: the conversation that follows a `kill` line, up to the outcome. No I/O: the session waits
//! for the [new kills](Kills::take_new) and says when one of them [has ended](Kills::on_ended).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::{Entry, FamilyReply, KillReply, Reach};
use crate::escape;
use crate::kill::{Ending, Kill};
use crate::killed::KillError;
use crate::list::ProcList;
use crate::peer::Peer;
use crate::proc::Outcome;
use crate::session::line::word;

/// After so long the client is told why the task is still running.
const OVERDUE: Duration = Duration::from_secs(5);

/// Said of a kill whose message begins with the name of another task.
const THE_REST: &str = ": the rest of the line is its message";

/// How many outcomes one client may be waiting for.
pub(crate) const MOST: usize = 1024;

/// How many of those that are not killed are named.
const MOST_NAMED: usize = 50;

/// The kills whose outcome one client waits for.
pub(crate) struct Kills {
    list: ProcList,
    /// The client.
    by: Arc<Peer>,
    open: Vec<Victim>,
    sets: Vec<Set>,
    last_set: SetId,
    new: Vec<Arc<Kill>>,
    /// What was asked for last.
    asked: Option<Asked>,
}

enum Asked {
    Kill(Arc<Kill>),
    Set(SetId),
}

/// A line about a kill, or two.
pub(crate) struct News {
    pub(crate) text: String,
    /// It is about what was asked for last.
    pub(crate) is_asked: bool,
}

struct Victim {
    entry: Arc<Entry>,
    kill: Arc<Kill>,
    /// When the client is told that it takes long. `None` if it has been told.
    overdue_at: Option<Instant>,
    /// The sets that it was killed with.
    sets: Vec<SetId>,
}

type SetId = u64;

/// Tasks that are being killed together, and what became of its tasks so far.
#[derive(Default)]
struct Set {
    id: SetId,
    /// A token, or a task and those below it.
    name: String,
    /// How many have not ended.
    waiting: usize,
    killed: usize,
    ended: usize,
    panicked: usize,
    forbidden: usize,
    /// These were killed by an earlier kill, and had ended.
    before: usize,
    running: usize,
    /// There was no room to wait for these.
    not_awaited: usize,
}

impl Kills {
    pub(crate) fn new(list: ProcList, by: Arc<Peer>) -> Self {
        Kills { list, by, open: Vec::new(), sets: Vec::new(), last_set: 0, new: Vec::new(), asked: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a set with this token is being killed.
    pub(crate) fn has_set(&self, token: &str) -> bool {
        self.sets.iter().any(|set| set.name == token)
    }

    /// Whether any set is being killed.
    pub(crate) fn has_sets(&self) -> bool {
        !self.sets.is_empty()
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

    /// Requests that the task that the table shows as `name` stop, and all below it. Returns the first reply.
    pub(crate) fn request(&mut self, name: &str, message: &str, now: Instant) -> String {
        let unknown = || format!("no such process '{}'", escape::echo(name));
        let Some(entry) = self.find(name) else { return unknown() };
        if self.open.len() >= MOST && !self.awaits(&entry) {
            return too_many();
        }
        let family = self.list.shared.request_all(&entry, message.to_string(), Some(Arc::clone(&self.by)));
        let FamilyReply { reply, below, spared } = family;
        match reply {
            KillReply::Accepted(kill) => {
                let (id, status, age) = (escape::id(&kill.id), escape::quoted_cell(&kill.status), kill.age);
                let killing = below.iter().filter(|(_, reply)| is_under_way(reply)).count();
                let more = if killing == 0 { String::new() } else { format!(", and {killing} below it") };
                let rest = if self.find(word(message).0).is_some() { THE_REST } else { "" };
                let mut lines = vec![format!(
                    "killing {id} in {status}, {:.1}s old{more}{}{rest}{}",
                    age.as_secs_f64(),
                    independent(spared.len()),
                    no_unwinding()
                )];
                if below.is_empty() {
                    self.asked = Some(Asked::Kill(Arc::clone(&kill)));
                    self.follow(&entry, kill, None, now + OVERDUE);
                } else {
                    let set = self.new_set(format!("{id}{more}"));
                    let all = std::iter::once((entry, KillReply::Accepted(Arc::clone(&kill)))).chain(below);
                    let exceptions = all.filter_map(|(entry, reply)| self.take(set, &entry, reply, now)).collect();
                    lines.append(&mut named(exceptions));
                    lines.extend(self.sums());
                }
                lines.join("\n")
            }
            KillReply::Already(kill) => {
                let refusal = already(&kill);
                let since = age(&kill, now);
                self.asked = Some(Asked::Kill(Arc::clone(&kill)));
                self.follow(&entry, kill, None, now + OVERDUE.saturating_sub(since));
                refusal
            }
            KillReply::Forbidden => forbidden(&entry),
            KillReply::Independent | KillReply::Ended => unknown(),
        }
    }

    /// Requests that all of `tasks` stop, and all below them. Returns the first reply.
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
        let set = self.new_set(token.to_string());
        let (mut accepted, mut further, mut exceptions) = (0, 0, Vec::new());
        let mut go_on = Vec::new();
        // A task may be below another one of them: whether it has taken the kill, and was counted.
        let mut taken: HashMap<*const Entry, (bool, bool)> = HashMap::new();
        for entry in tasks {
            if let Some((is_accepted, is_further)) = taken.get(&Arc::as_ptr(entry)) {
                (accepted, further) = (accepted + usize::from(*is_accepted), further - usize::from(*is_further));
                continue;
            }
            let family = self.list.shared.request_all(entry, message.to_string(), Some(Arc::clone(&self.by)));
            let FamilyReply { reply, below, spared } = family;
            go_on.extend(spared);
            accepted += usize::from(matches!(reply, KillReply::Accepted(_)));
            taken.insert(Arc::as_ptr(entry), (true, false));
            exceptions.extend(self.take(set, entry, reply, now));
            for (entry, reply) in below {
                let (is_accepted, is_further) = (matches!(reply, KillReply::Accepted(_)), is_under_way(&reply));
                if taken.insert(Arc::as_ptr(&entry), (is_accepted, is_further)).is_none() {
                    further += usize::from(is_further);
                    exceptions.extend(self.take(set, &entry, reply, now));
                }
            }
        }
        let further = if further > 0 {
            format!(", and {further} below {}", if tasks.len() == 1 { "it" } else { "them" })
        } else {
            String::new()
        };
        go_on.retain(|entry| !taken.contains_key(&Arc::as_ptr(entry)));
        let spared = independent(go_on.len());
        let first = format!("killing {accepted} of {}{further}{spared}{}", tasks.len(), no_unwinding());
        let mut lines = vec![first];
        lines.append(&mut named(exceptions));
        lines.extend(self.sums());
        Ok(lines.join("\n"))
    }

    fn find(&self, name: &str) -> Option<Arc<Entry>> {
        escape::parse_id(name).and_then(|id| self.list.find(&id))
    }

    fn new_set(&mut self, name: String) -> SetId {
        self.last_set += 1;
        self.asked = Some(Asked::Set(self.last_set));
        self.sets.push(Set { id: self.last_set, name, ..Set::default() });
        self.last_set
    }

    /// Takes one task into a set, by what was answered to the request. Returns what is to be told of it at once.
    fn take(&mut self, id: SetId, entry: &Arc<Entry>, reply: KillReply, now: Instant) -> Option<String> {
        let has_room = self.open.len() < MOST || self.awaits(entry);
        let set = self.sets.iter_mut().find(|set| set.id == id)?;
        match reply {
            KillReply::Accepted(_) | KillReply::Already(_) if !has_room => {
                set.not_awaited += 1;
                None
            }
            KillReply::Accepted(kill) => {
                set.waiting += 1;
                self.follow(entry, kill, Some(id), now + OVERDUE);
                None
            }
            KillReply::Already(kill) => {
                set.waiting += 1;
                let since = age(&kill, now);
                let line = already(&kill);
                self.follow(entry, kill, Some(id), now + OVERDUE.saturating_sub(since));
                Some(line)
            }
            KillReply::Forbidden => {
                set.forbidden += 1;
                Some(forbidden(entry))
            }
            KillReply::Independent => None,
            KillReply::Ended => {
                let id = escape::id(entry.id());
                let killed = entry.with(|row| match (row.end, row.kill) {
                    (Some((Outcome::Killed, _)), Some(kill)) => Some(kill.message.clone()),
                    _ => None,
                });
                if let Some(message) = killed {
                    set.before += 1;
                    return Some(format!("{id} was killed before: {}", escape::quoted(&message)));
                }
                set.ended += 1;
                Some(format!("{id} ended by itself before the kill"))
            }
        }
    }

    fn awaits(&self, entry: &Arc<Entry>) -> bool {
        self.open.iter().any(|victim| Arc::ptr_eq(&victim.entry, entry))
    }

    fn follow(&mut self, entry: &Arc<Entry>, kill: Arc<Kill>, sets: Option<SetId>, overdue_at: Instant) {
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
    pub(crate) fn on_ended(&mut self, kill: &Arc<Kill>) -> Option<News> {
        let at = self.open.iter().position(|victim| Arc::ptr_eq(&victim.kill, kill))?;
        let victim = self.open.swap_remove(at);
        let is_asked = victim.is_asked(self.asked.as_ref());
        Some(News { text: self.tell_end(&victim, kill.ending()?), is_asked })
    }

    /// When [`on_time`](Self::on_time) has something to tell.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.open.iter().filter_map(|victim| victim.overdue_at).min()
    }

    /// What is to be told of tasks that are still running. Each is told once.
    pub(crate) fn on_time(&mut self, now: Instant) -> Vec<News> {
        let mut told = Vec::new();
        for victim in &mut self.open {
            if victim.overdue_at.take_if(|at| *at <= now).is_some() && victim.kill.ending().is_none() {
                told.push(News { text: victim.overdue(now), is_asked: victim.is_asked(self.asked.as_ref()) });
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
        for set in self.sets.iter_mut().filter(|set| victim.sets.contains(&set.id)) {
            set.waiting -= 1;
            add(set);
        }
    }

    /// The lines that count what became of the sets that are through.
    fn sums(&mut self) -> Vec<String> {
        self.sets.extract_if(.., |set| set.waiting == 0).map(|set| set.sum()).collect()
    }
}

/// Whether an outcome is to come.
fn is_under_way(reply: &KillReply) -> bool {
    matches!(reply, KillReply::Accepted(_) | KillReply::Already(_))
}

/// Said of those that a kill from above does not reach.
fn independent(tasks: usize) -> String {
    match tasks {
        0 => String::new(),
        1 => "; 1 that is independent goes on".to_string(),
        n => format!("; {n} that are independent go on"),
    }
}

/// The first of what is to be told of single tasks, and how much more there is.
fn named(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        lines.truncate(MOST_NAMED);
        lines.push(format!("... {more} more like these"));
    }
    lines
}

impl Set {
    fn sum(&self) -> String {
        let counts = [
            (self.killed, "killed"),
            (self.ended, "ended"),
            (self.before, "killed before"),
            (self.panicked, "panicked"),
            (self.forbidden, "may not be killed"),
            (self.running, "still running"),
            (self.not_awaited, "more are not awaited"),
        ];
        let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        format!("{}: {}", self.name, counts.join(", "))
    }
}

impl Victim {
    fn is_asked(&self, asked: Option<&Asked>) -> bool {
        match asked {
            Some(Asked::Kill(kill)) => Arc::ptr_eq(kill, &self.kill),
            Some(Asked::Set(set)) => self.sets.contains(set),
            None => false,
        }
    }

    fn overdue(&self, now: Instant) -> String {
        let (status, reach) = self.entry.status_and_reach();
        let (id, status) = (escape::id(self.entry.id()), escape::quoted_cell(&status));
        let seconds = age(&self.kill, now).max(OVERDUE).as_secs();
        // A task that has only `status(..)()` has no kill point in a program that cannot unwind.
        let stops = match cfg!(panic = "abort") {
            false => "it stops at its next kill point",
            true => "built with panic=abort, it stops at its next try_status, check or run, if it has one",
        };
        match reach {
            Reach::NoKillPoint if cfg!(panic = "unwind") => format!(
                "{id} is still running {seconds}s after the kill, in {status}: it has passed no kill point so far, and may \
                 have none"
            ),
            Reach::UnseenAtAwait if cfg!(panic = "unwind") => format!(
                "{id} is still running {seconds}s after the kill, in {status}: it stops at its next kill point, an await: until \
                 then it computes, blocks, or awaits outside of run"
            ),
            Reach::NoKillPoint | Reach::Unseen | Reach::UnseenAtAwait => {
                format!("{id} is still running {seconds}s after the kill, in {status}: {stops}")
            }
            Reach::Seen => format!("{id} saw the kill and is still cleaning up after {seconds}s, in {status}"),
            Reach::SeenInPart => format!(
                "{id} saw the kill and is still there after {seconds}s, in {status}: it is cleaning up, or a part of it has \
                 passed no kill point since"
            ),
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
