//! Kills: the conversation that follows a `kill` line, up to the outcome.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time;

use crate::entry::{Entry, Verdict};
use crate::escape;
use crate::killed::{Ending, Kill, KillError};
use crate::list::ProcList;
use crate::proc::Outcome;

/// A victim that has not ended by now is worth a word in between.
const OVERDUE: Duration = Duration::from_secs(5);

/// How many outcomes one client may be waiting for.
const MOST: usize = 1024;

/// The kills whose outcome one client waits for.
#[derive(Default)]
pub(crate) struct Kills {
    open: Vec<Victim>,
    signs: FuturesUnordered<Pin<Box<dyn Future<Output = Sign> + Send>>>,
}

struct Victim {
    entry: Arc<Entry>,
    kill: Arc<Kill>,
    /// The client has been told that it takes long.
    overdue: bool,
}

/// What happened to a kill.
enum Sign {
    Ended(Arc<Kill>),
    Overdue(Arc<Kill>),
}

impl Kills {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Asks for the death of the task that the table shows as `name`. Returns
    /// the first reply; the rest comes from [`next`](Self::next).
    pub(crate) fn ask(&mut self, list: &ProcList, name: &str, message: String) -> String {
        if self.open.len() >= MOST {
            return format!("too many kills: {MOST} outcomes are awaited, try again after the next");
        }
        let nobody = || format!("no such process '{}'", escape::echo(name));
        let Some(entry) = escape::parse_id(name).and_then(|id| list.find(&id)) else { return nobody() };
        match entry.kill(message) {
            Verdict::Killing(kill, status) => {
                let reply = format!("killing {} in {}", escape::id(&kill.id), escape::quoted_cell(&status));
                self.follow(entry, kill);
                match cfg!(panic = "abort") {
                    false => reply,
                    true => format!("{reply}: built with panic=abort, so only try_status, check and run can stop it"),
                }
            }
            Verdict::Already(kill) => {
                let refusal = KillError::AlreadyKilled { id: kill.id.clone(), message: kill.message.clone() };
                self.follow(entry, kill);
                refusal.to_string()
            }
            Verdict::Forbidden => KillError::Forbidden { id: entry.id().to_string() }.to_string(),
            Verdict::Ended => nobody(),
        }
    }

    fn follow(&mut self, entry: Arc<Entry>, kill: Arc<Kill>) {
        if self.find(&kill).is_some() {
            return; // one outcome, however often it was asked for
        }
        let watched = Arc::clone(&kill);
        self.signs.push(Box::pin(async move {
            match time::timeout(OVERDUE, watched.ending.wait()).await.is_ok() {
                true => Sign::Ended(watched),
                false => Sign::Overdue(watched),
            }
        }));
        self.open.push(Victim { entry, kill, overdue: false });
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
            match (&sign, kill.ending.get()) {
                (_, Some(ending)) => {
                    let victim = self.open.swap_remove(at);
                    return ended(&victim.kill, ending);
                }
                (Sign::Ended(_), None) => {}
                (Sign::Overdue(kill), None) => {
                    let watched = Arc::clone(kill);
                    self.signs.push(Box::pin(async move {
                        watched.ending.wait().await;
                        Sign::Ended(watched)
                    }));
                    self.open[at].overdue = true;
                    return overdue(&self.open[at]);
                }
            }
        }
    }

    /// Stops waiting for one of them. Returns what is still to be said of it, if anything.
    pub(crate) fn give_up(&mut self) -> Option<String> {
        self.signs.clear();
        let victim = self.open.pop()?;
        match victim.kill.ending.get() {
            Some(ending) => Some(ended(&victim.kill, ending)),
            None => (!victim.overdue).then(|| overdue(&victim)),
        }
    }
}

fn ended(kill: &Kill, ending: &Ending) -> String {
    let id = escape::id(&kill.id);
    match ending.outcome {
        Outcome::Killed => {
            let seconds = ending.after.as_secs_f64();
            format!("killed {id} after {seconds:.1}s in {}", escape::quoted_cell(&ending.status))
        }
        Outcome::Ended => format!("{id} ended by itself before the kill reached it"),
        Outcome::Aborted => format!("{id} panicked before the kill reached it"),
    }
}

fn overdue(victim: &Victim) -> String {
    let (status, seen) = victim.entry.standing();
    let (id, status) = (escape::id(victim.entry.id()), escape::quoted_cell(&status));
    // Longer, for who was not the first to ask.
    let seconds = victim.kill.at.elapsed().max(OVERDUE).as_secs();
    match seen {
        false => {
            format!("{id} is still running {seconds}s after the kill, in {status}: it stops at its next kill point")
        }
        true => format!("{id} saw the kill and is still cleaning up after {seconds}s, in {status}"),
    }
}
