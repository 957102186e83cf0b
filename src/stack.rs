//! Stack: `stack <id>`. Where a task is parked, on stable Rust, for any executor.
//!
//! The task is woken, and its `run` polls it once with a [waker](pm_probe_waker) that tells when it is cloned: a leaf
//! that is not ready clones the waker, and the stack at that moment is where it is parked. Only instruction pointers are taken
//! then. What they are called is looked up where the answer is made, and forgotten again.

mod frames;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::entry::Entry;
use crate::escape;
use crate::list::ProcList;
use crate::own_thread::on_own_thread;
use crate::probe::Probe;
use frames::{Place, Places};

/// How long the runtime may take to poll the task.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long other parts of the task may take after the first one.
const OTHERS: Duration = Duration::from_millis(50);

/// A look is shared by all who ask within so long.
const FRESH: Duration = Duration::from_secs(1);

/// `show` tells for so long what a look has found.
const KNOWN: Duration = Duration::from_secs(60);

/// How many places are told, and how deep each.
const PLACES: usize = 64;
const FRAMES: usize = 64;

/// One look at a task.
pub(crate) struct Look {
    at: Instant,
    found: Mutex<Found>,
    polled: Notify,
    /// What was parked, once that has been looked up.
    leaves: OnceLock<Vec<String>>,
}

#[derive(Default)]
struct Found {
    /// How many polls there were, and how many of them were not ready.
    polls: usize,
    parked: usize,
    stacks: Vec<Vec<usize>>,
    /// Those that had no room.
    more: usize,
}

impl Look {
    fn new() -> Arc<Self> {
        Arc::new(Look { at: Instant::now(), found: Mutex::default(), polled: Notify::new(), leaves: OnceLock::new() })
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Look {
    fn poll(&self, waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) -> bool {
        // What is further out than this is the executor.
        let depth = pm_probe_waker::trace(&mut Vec::new(), 0);
        let stacks = Mutex::new(Vec::new());
        let on_clone = || {
            let mut frames = Vec::with_capacity(FRAMES);
            let all = pm_probe_waker::trace(&mut frames, FRAMES);
            frames.truncate(all.saturating_sub(depth));
            stacks.lock().unwrap_or_else(PoisonError::into_inner).push(frames);
        };
        let is_ready = pm_probe_waker::poll(waker, &on_clone, poll);
        let stacks = stacks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.found();
        found.polls += 1;
        if !is_ready {
            found.parked += 1;
            for stack in stacks {
                if found.stacks.len() < PLACES { found.stacks.push(stack) } else { found.more += 1 }
            }
        }
        drop(found);
        self.polled.notify_waiters();
        is_ready
    }
}

/// What `stack` answers about the task that the table shows as `name`.
pub(crate) async fn answer(list: &ProcList, name: &str) -> String {
    let unknown = || format!("no such process '{}'", escape::echo(name));
    let Some(entry) = escape::parse_id(name).and_then(|id| list.find(&id)) else { return unknown() };
    of_task(entry).await.unwrap_or_else(unknown)
}

/// The same for a task that was found. `None` if it has ended.
pub(crate) async fn of_task(entry: Arc<Entry>) -> Option<String> {
    let (look, waiting) = ask(&entry)?;
    wait(&look).await;
    let told = on_own_thread(move || tell(&entry, &look, waiting)).await;
    Some(told.unwrap_or_else(|| "internal error: the stack could not be read".to_string()))
}

/// The last looks.
static LOOKS: Mutex<Vec<Recent>> = Mutex::new(Vec::new());

/// A look at a task of which so many futures waited for something.
struct Recent {
    task: Weak<Entry>,
    look: Arc<Look>,
    waiting: usize,
}

impl Recent {
    fn is_of(&self, entry: &Arc<Entry>) -> bool {
        std::ptr::eq(self.task.as_ptr(), Arc::as_ptr(entry))
    }
}

fn looks() -> MutexGuard<'static, Vec<Recent>> {
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the last look at a task has found parked, and how long ago; for a minute.
pub(crate) fn known(entry: &Arc<Entry>) -> Option<(Duration, Vec<String>)> {
    let looks = looks();
    let last = looks.iter().rev().find(|recent| recent.is_of(entry))?;
    let leaves = last.look.leaves.get().filter(|leaves| !leaves.is_empty())?;
    Some((last.look.at.elapsed(), leaves.clone()))
}

/// Begins a look, or joins one that is fresh. Tells how many futures wait for something of the task. `None` if it has ended.
fn ask(entry: &Arc<Entry>) -> Option<(Arc<Look>, usize)> {
    let mut looks = looks();
    looks.retain(|recent| recent.look.at.elapsed() < KNOWN);
    if let Some(fresh) = looks.iter().rev().find(|recent| recent.is_of(entry) && recent.look.at.elapsed() < FRESH) {
        return Some((Arc::clone(&fresh.look), fresh.waiting));
    }
    let look = Look::new();
    let waiting = entry.ask(Arc::clone(&look) as Arc<dyn Probe>)?;
    looks.push(Recent { task: Arc::downgrade(entry), look: Arc::clone(&look), waiting });
    Some((look, waiting))
}

async fn wait(look: &Look) {
    let until = look.at + PATIENCE;
    loop {
        let polled = look.polled.notified();
        if look.found().polls > 0 {
            break;
        }
        if timeout_at(until, polled).await.is_err() {
            return;
        }
    }
    tokio::time::sleep(OTHERS).await;
}

fn tell(entry: &Entry, look: &Look, waiting: usize) -> String {
    let proc = entry.proc();
    let (id, status, time) = (escape::id(&proc.id), escape::quoted_cell(&proc.status), proc.in_status.as_secs_f64());
    let site = proc.site.as_ref().map_or(String::new(), |site| format!(", set at {site}"));
    let found = look.found();
    let begin = format!("{id} in {status} for {time:.1}s{site}");
    if proc.outcome.is_some() {
        return format!("{id} has ended meanwhile");
    }
    if found.polls == 0 {
        return match waiting {
            0 => format!("{begin}: it is not parked in run: it computes, or works on a thread"),
            _ => format!(
                "{begin}: the runtime has not polled it within 1 s: all its workers may be busy, or it computes"
            ),
        };
    }
    if found.parked == 0 {
        return format!("{begin}: it was ready when it was polled: it was not parked");
    }
    let stacks = found.stacks.clone();
    let more = found.more;
    drop(found);
    let places = Places::of(stacks);
    _ = look.leaves.set(places.all.iter().map(Place::top).collect());
    let mut lines = Vec::new();
    match places.all.len() {
        0 => lines.push(format!(
            "{begin}: parked, at a place that cannot be seen: nothing in it has kept the waker of this poll"
        )),
        1 => lines.push(format!("{begin}, parked:")),
        n => lines.push(format!("{begin}, parked at {n} places:")),
    }
    lines.extend(places.all.iter().flat_map(Place::lines));
    if more > 0 {
        lines.push(format!("  .. and {more} more"));
    }
    lines.extend(places.remark().map(str::to_string));
    lines.join("\n")
}
