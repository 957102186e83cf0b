//! Kills: the conversation that follows a `kill` line, up to the outcome.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time;

use crate::entry::{Entry, Verdict};
use crate::escape;
use crate::killed::{self, Ending, Kill, KillError};
use crate::list::ProcList;
use crate::proc::Outcome;

/// A victim that has not ended by now is worth a word in between.
const OVERDUE: Duration = Duration::from_secs(5);

/// How many outcomes one client may be waiting for.
pub(crate) const MOST: usize = 1024;

/// The kills whose outcome one client waits for.
pub(crate) struct Kills {
    list: ProcList,
    /// Who kills.
    by: Arc<str>,
    open: Vec<Victim>,
    batches: Vec<Batch>,
    signs: FuturesUnordered<Pin<Box<dyn Future<Output = Sign> + Send>>>,
}

struct Victim {
    entry: Arc<Entry>,
    kill: Arc<Kill>,
    /// The client has been told that it takes long.
    overdue: bool,
    /// The tokens of the sets that it was killed with.
    batches: Vec<String>,
}

/// A set that is being killed.
struct Batch {
    token: String,
    /// How many of it have not ended.
    waiting: usize,
    tally: Tally,
}

/// What became of the tasks of a set.
#[derive(Default)]
struct Tally {
    killed: usize,
    ended: usize,
    panicked: usize,
    forbidden: usize,
    running: usize,
}

/// What happened to a kill.
enum Sign {
    Ended(Arc<Kill>),
    Overdue(Arc<Kill>),
}

impl Kills {
    pub(crate) fn new(list: ProcList, by: Arc<str>) -> Self {
        Kills { list, by, open: Vec::new(), batches: Vec::new(), signs: FuturesUnordered::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a set with this token is being killed.
    pub(crate) fn has_set(&self, token: &str) -> bool {
        self.batches.iter().any(|batch| batch.token == token)
    }

    /// Waits for none of them any more.
    pub(crate) fn clear(&mut self) {
        self.signs.clear();
        self.open.clear();
        self.batches.clear();
    }

    /// Asks for the death of the task that the table shows as `name`. Returns
    /// the first reply; the rest comes from [`next`](Self::next).
    pub(crate) fn ask(&mut self, name: &str, message: String) -> String {
        if self.open.len() >= MOST {
            return too_many();
        }
        let nobody = || format!("no such process '{}'", escape::echo(name));
        let Some(entry) = escape::parse_id(name).and_then(|id| self.list.find(&id)) else { return nobody() };
        match entry.kill(message, Some(Arc::clone(&self.by))) {
            Verdict::Killing(kill, status) => {
                // An id may be another task's by now: its age tells.
                let old = kill.at.saturating_duration_since(entry.started()).as_secs_f64();
                let (id, status) = (escape::id(&kill.id), escape::quoted_cell(&status));
                let reply = format!("killing {id} in {status}, {old:.1}s old");
                self.list.audit().record(&kill);
                self.follow(&entry, kill, None);
                reply + no_unwinding()
            }
            Verdict::Already(kill) => {
                let refusal = KillError::AlreadyKilled { id: kill.id.clone(), message: kill.message.clone() };
                self.follow(&entry, kill, None);
                refusal.to_string()
            }
            Verdict::Forbidden => KillError::Forbidden { id: entry.id().to_string() }.to_string(),
            Verdict::Ended => nobody(),
        }
    }

    /// Asks for the death of just these tasks. Returns the first replies, or
    /// `Err` with the reason why nothing has been done.
    pub(crate) fn ask_all(&mut self, token: &str, victims: &[Arc<Entry>], message: &str) -> Result<String, String> {
        let is_new = |entry: &&Arc<Entry>| !self.open.iter().any(|victim| Arc::ptr_eq(&victim.entry, entry));
        if self.open.len() + victims.iter().filter(is_new).count() > MOST {
            return Err(too_many());
        }
        let mut tally = Tally::default();
        let mut exceptions = Vec::new();
        let mut killing = 0;
        self.batches.retain(|batch| batch.token != token);
        for entry in victims {
            let id = escape::id(entry.id());
            match entry.kill(message.to_string(), Some(Arc::clone(&self.by))) {
                Verdict::Killing(kill, _) => {
                    killing += 1;
                    self.list.audit().record(&kill);
                    self.follow(entry, kill, Some(token));
                }
                Verdict::Already(kill) => {
                    let (id, message) = (kill.id.clone(), kill.message.clone());
                    exceptions.push(KillError::AlreadyKilled { id, message }.to_string());
                    self.follow(entry, kill, Some(token));
                }
                Verdict::Forbidden => {
                    tally.forbidden += 1;
                    exceptions.push(KillError::Forbidden { id: entry.id().to_string() }.to_string());
                }
                Verdict::Ended => {
                    tally.ended += 1;
                    exceptions.push(format!("{id} ended by itself before the kill"));
                }
            }
        }
        let mut reply = format!("killing {killing} of {}{}", victims.len(), no_unwinding());
        for exception in exceptions {
            reply.push('\n');
            reply.push_str(&exception);
        }
        let waiting = self.open.iter().filter(|victim| victim.batches.iter().any(|batch| batch == token)).count();
        let batch = Batch { token: token.to_string(), waiting, tally };
        match waiting {
            0 => reply = format!("{reply}\n{}", batch.sum()),
            _ => self.batches.push(batch),
        }
        Ok(reply)
    }

    fn follow(&mut self, entry: &Arc<Entry>, kill: Arc<Kill>, batch: Option<&str>) {
        let batches = batch.map(str::to_string);
        if let Some(at) = self.find(&kill) {
            // One outcome, however often it was asked for.
            self.open[at].batches.extend(batches);
            return;
        }
        let watched = Arc::clone(&kill);
        self.signs.push(Box::pin(async move {
            match time::timeout(OVERDUE, watched.wait()).await.is_ok() {
                true => Sign::Ended(watched),
                false => Sign::Overdue(watched),
            }
        }));
        let batches = batches.into_iter().collect();
        self.open.push(Victim { entry: Arc::clone(entry), kill, overdue: false, batches });
    }

    fn find(&self, kill: &Arc<Kill>) -> Option<usize> {
        self.open.iter().position(|victim| Arc::ptr_eq(&victim.kill, kill))
    }

    /// The next thing to tell. Waits for ever when no outcome is awaited.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let Some(sign) = self.signs.next().await else { return std::future::pending().await };
            let (Sign::Ended(kill) | Sign::Overdue(kill)) = &sign;
            let Some(at) = self.find(kill) else { continue };
            match (&sign, kill.ending()) {
                (_, Some(ending)) => {
                    let victim = self.open.swap_remove(at);
                    return self.tell_end(&victim, ending);
                }
                (Sign::Ended(_), None) => {}
                (Sign::Overdue(kill), None) => {
                    let watched = Arc::clone(kill);
                    self.signs.push(Box::pin(async move {
                        watched.wait().await;
                        Sign::Ended(watched)
                    }));
                    self.open[at].overdue = true;
                    return overdue(&self.open[at]);
                }
            }
        }
    }

    /// What is said of a victim that has ended, and of its set if it was the last one.
    fn tell_end(&mut self, victim: &Victim, ending: &Ending) -> String {
        self.tally(victim, |tally| match ending.outcome {
            Outcome::Killed => tally.killed += 1,
            Outcome::Ended => tally.ended += 1,
            Outcome::Panicked => tally.panicked += 1,
        });
        self.with_sums(ended(&victim.kill, ending))
    }

    fn tally(&mut self, victim: &Victim, add: impl Fn(&mut Tally)) {
        for batch in self.batches.iter_mut().filter(|batch| victim.batches.contains(&batch.token)) {
            batch.waiting -= 1;
            add(&mut batch.tally);
        }
    }

    /// `news`, and the sums of the sets that are done with it.
    fn with_sums(&mut self, mut news: String) -> String {
        for batch in self.batches.extract_if(.., |batch| batch.waiting == 0) {
            if !news.is_empty() {
                news.push('\n');
            }
            news.push_str(&batch.sum());
        }
        news
    }

    /// Stops waiting for one of them. Returns what is still to be said, if anything.
    pub(crate) fn give_up(&mut self) -> Option<String> {
        self.signs.clear();
        let victim = self.open.pop()?;
        let news = match victim.kill.ending() {
            Some(ending) => self.tell_end(&victim, ending),
            None => {
                self.tally(&victim, |tally| tally.running += 1);
                self.with_sums(if victim.overdue { String::new() } else { overdue(&victim) })
            }
        };
        Some(news).filter(|news| !news.is_empty())
    }
}

impl Batch {
    /// The line that counts what became of the set.
    fn sum(&self) -> String {
        let Tally { killed, ended, panicked, forbidden, running } = self.tally;
        let counts = [
            (killed, "killed"),
            (ended, "ended by themselves"),
            (panicked, "panicked"),
            (forbidden, "may not be killed"),
            (running, "still running"),
        ];
        let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        format!("{}: {}", self.token, counts.join(", "))
    }
}

fn too_many() -> String {
    format!("too many kills: {MOST} outcomes are awaited, try again after the next")
}

fn no_unwinding() -> &'static str {
    match cfg!(panic = "abort") {
        false => "",
        true => ": built with panic=abort, so only try_status, check and run can stop it",
    }
}

fn ended(kill: &Kill, ending: &Ending) -> String {
    let id = escape::id(&kill.id);
    match ending.outcome {
        Outcome::Killed => {
            let seconds = ending.after.as_secs_f64();
            let told = format!("killed {id} after {seconds:.1}s in {}", escape::quoted_cell(&ending.status));
            if ending.passed > 0 { format!("{told}, {}", killed::passed(ending.passed)) } else { told }
        }
        Outcome::Ended => format!("{id} ended by itself before the kill reached it"),
        Outcome::Panicked => format!("{id} panicked before the kill reached it"),
    }
}

fn overdue(victim: &Victim) -> String {
    let (status, seen) = victim.entry.standing();
    let (id, status) = (escape::id(victim.entry.id()), escape::quoted_cell(&status));
    // Longer, for who was not the first to ask.
    let seconds = victim.kill.at.elapsed().max(OVERDUE).as_secs();
    // What has only `status(..)()` has no kill point there.
    let stops = match cfg!(panic = "abort") {
        false => "it stops at its next kill point",
        true => "built with panic=abort, it stops at its next try_status, check or run, if it has one",
    };
    match seen {
        false => format!("{id} is still running {seconds}s after the kill, in {status}: {stops}"),
        true => format!("{id} saw the kill and is still cleaning up after {seconds}s, in {status}"),
    }
}
