//! Stack: `stack <id>`. Where a task is parked, on stable Rust, for any executor.
//!
//! The task is woken, and its `run` polls it once with a [waker](pm_probe_waker) that tells when it is cloned: a leaf
//! that is not ready clones the waker, and the stack at that moment is where it is parked. Only instruction pointers are taken
//! then. What they are called is looked up where the answer is made, and forgotten again.

mod frames;
mod names;
mod places;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::entry::Entry;
use crate::escape;
use crate::list::ProcList;
use crate::own_thread::on_own_thread;
use crate::probe::{Parked, Probe};
use places::{Place, Places};
use pm_probe_waker::Use;

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
    /// Not parked: it has woken itself, to be polled again.
    has_woken_itself: bool,
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
        let mut outside = Vec::new();
        pm_probe_waker::trace(&mut outside, usize::MAX);
        let stacks = Mutex::new(Vec::new());
        let has_woken_itself = AtomicBool::new(false);
        let on_use = |how| {
            if how == Use::Wake {
                has_woken_itself.store(true, Ordering::Relaxed);
                return;
            }
            let room = FRAMES + outside.len();
            let mut frames = Vec::with_capacity(room);
            if pm_probe_waker::trace(&mut frames, room) <= room {
                // What both have in common is the executor.
                let same = frames.iter().rev().zip(outside.iter().rev()).take_while(|(inner, outer)| inner == outer);
                frames.truncate(frames.len() - same.count());
            }
            frames.truncate(FRAMES);
            stacks.lock().unwrap_or_else(PoisonError::into_inner).push(frames);
        };
        let is_ready = pm_probe_waker::poll(waker, &on_use, poll);
        let stacks = stacks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.found();
        found.polls += 1;
        if !is_ready {
            found.parked += 1;
            found.has_woken_itself |= has_woken_itself.into_inner();
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
    let told = alone(move || tell(&entry, &look, waiting)).await;
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

/// What the last looks have found, for a minute.
pub(crate) struct Known {
    /// The newest first.
    looks: Vec<(Weak<Entry>, Parked)>,
}

impl Known {
    pub(crate) fn now() -> Self {
        let looks = looks();
        let young = looks.iter().rev().filter(|recent| recent.look.at.elapsed() < KNOWN);
        let parked = young.filter_map(|recent| {
            let places = recent.look.leaves.get().filter(|leaves| !leaves.is_empty())?.clone();
            Some((Weak::clone(&recent.task), Parked { ago: recent.look.at.elapsed(), places }))
        });
        Known { looks: parked.collect() }
    }

    pub(crate) fn of(&self, entry: &Arc<Entry>) -> Option<&Parked> {
        let of = self.looks.iter().find(|(task, _)| std::ptr::eq(task.as_ptr(), Arc::as_ptr(entry)));
        of.map(|(_, parked)| parked)
    }
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

/// Calls `work` when no other one is under way: to look names up takes the memory of the debug information. Half a
/// processor has to do for all who ask.
async fn alone<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    static ONE: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(1));
    static NEXT: Mutex<Option<Instant>> = Mutex::new(None);
    let next = || NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    // The work has it, because whoever asks may leave.
    let permit = ONE.acquire().await;
    let pause = *next();
    if let Some(pause) = pause {
        sleep_until(pause).await;
    }
    on_own_thread(move || {
        let began = Instant::now();
        let result = work();
        *next() = Some(Instant::now() + began.elapsed());
        drop(permit);
        result
    })
    .await
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
    let (more, has_woken_itself) = (found.more, found.has_woken_itself);
    drop(found);
    let places = Places::of(stacks);
    _ = look.leaves.set(places.all.iter().map(Place::top).collect());
    let mut lines = Vec::new();
    match places.all.len() + places.unnamed {
        0 if has_woken_itself => lines.push(format!("{begin}: runnable, not parked: it has asked to be polled again")),
        0 => lines.push(format!(
            "{begin}: parked, at a place that cannot be seen: nothing in it has kept the waker of this poll"
        )),
        1 => lines.push(format!("{begin}, parked:")),
        n => lines.push(format!("{begin}, parked at {n} places:")),
    }
    lines.extend(places.all.iter().flat_map(Place::lines));
    match places.unnamed {
        0 => {}
        1 => lines.push("  at a place that has no name".to_string()),
        n => lines.push(format!("  at {n} places that have no name")),
    }
    if more > 0 {
        lines.push(format!("  .. and {more} more"));
    }
    if has_woken_itself && lines.len() > 1 {
        lines.push("  and it has asked to be polled again: it is runnable, not parked".to_string());
    }
    lines.extend(places.remark().map(str::to_string));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn names_are_looked_up_by_one_at_a_time_also_for_who_does_not_wait() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        let work = || {
            let others = UNDER_WAY.fetch_add(1, Ordering::SeqCst);
            // As long as another one would take to come.
            (0..1000).for_each(|_| std::thread::yield_now());
            UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            others
        };
        for _ in 0..8 {
            let mut asks = Box::pin(alone(work));
            for _ in 0..3 {
                _ = futures_util::poll!(&mut asks);
                tokio::task::yield_now().await;
            }
            drop(asks);
        }
        let all = futures_util::future::join_all((0..8).map(|_| alone(work))).await;
        assert_eq!(all, [Some(0); 8]);
    }
}
