//! Stack: `stack <id>`. Where a task is parked, on stable Rust, for any executor.
//!
//! The task is woken, and its `run` polls it with a [waker](pm_probe_waker) that tells when it is cloned: a leaf
//! that is not ready clones the waker, and the stack at that moment is where it is parked. Only instruction pointers are taken
//! then. What they are called is looked up where the answer is made, and forgotten again.

mod frames;
mod names;
mod places;

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::entry::{Depth, Entry};
use crate::escape;
use crate::list::ProcList;
use crate::own_thread::on_own_thread;
use crate::probe::{Parked, Probe};
use crate::proc::Proc;
use places::{Place, Places};
use pm_probe_waker::Use;

/// How long the runtime may take to poll the task.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long other parts of the task take after the first one, or a bit longer: up to [`PATIENCE`] in all.
const OTHERS: Duration = Duration::from_millis(50);

/// A look is shared by all who ask within so long.
const FRESH: Duration = Duration::from_secs(1);

/// Who asks so soon is told that it is now.
const AT_ONCE: Duration = Duration::from_millis(50);

/// `show` tells for so long what a look has found.
const KNOWN: Duration = Duration::from_secs(60);

/// How many places are told, and how deep each.
const PLACES: usize = 64;
const FRAMES: usize = 64;

/// How often a task is polled at most, until it waits at the same places as before.
const ROUNDS: usize = 4;

/// One look at a task.
pub(crate) struct Look {
    at: Instant,
    /// The task when somebody asked, and how many futures waited for something of it then.
    asked: Proc,
    waiting: AtomicUsize,
    found: Mutex<Found>,
    polled: Notify,
    /// What it has found, once that has been looked up.
    told: OnceLock<Told>,
}

#[derive(Default)]
struct Found {
    /// How many runs were polled, and how many of them were not ready.
    polls: usize,
    parked: usize,
    /// The task when it was parked.
    proc: Option<Proc>,
    seen: Seen,
    /// It did not stay at the same places.
    is_moving: bool,
}

/// What waits in one poll.
#[derive(Default)]
struct Seen {
    stacks: Vec<Vec<usize>>,
    /// Those that had no room.
    more: usize,
    /// Not parked: it has woken itself, to be polled again.
    has_woken_itself: bool,
}

/// An answer: what it begins with, and the lines below.
struct Told {
    head: String,
    lines: Vec<String>,
    /// What was parked at each place.
    leaves: Vec<String>,
}

impl Look {
    fn new(entry: &Entry) -> Arc<Self> {
        Arc::new(Look {
            at: Instant::now(),
            asked: row(entry),
            waiting: AtomicUsize::new(0),
            found: Mutex::default(),
            polled: Notify::new(),
            told: OnceLock::new(),
        })
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(entry: &Entry) -> Proc {
    entry.snapshot(Clearance::Public, Depth::Row, Moment::now()).without_secrets()
}

thread_local! {
    /// The looks that are polling on this thread.
    static INSIDE: RefCell<Vec<*const Look>> = const { RefCell::new(Vec::new()) };
}

/// A look that is polling.
struct Inside;

impl Inside {
    /// `None` if it is polling already: a `run` inside of one that it polls belongs to that.
    fn of(look: *const Look) -> Option<Self> {
        INSIDE.with_borrow_mut(|inside| {
            let is_new = !inside.contains(&look);
            is_new.then(|| inside.push(look))
        })?;
        Some(Inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| _ = inside.pop());
    }
}

/// Polls once. `None` if it was ready.
fn see(waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) -> Option<Seen> {
    let mut outside = Vec::new();
    pm_probe_waker::trace(&mut outside, usize::MAX);
    let seen = Mutex::new(Seen::default());
    let on_use = |how| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if how == Use::Wake {
            seen.has_woken_itself = true;
        } else if seen.stacks.len() == PLACES {
            seen.more += 1;
        } else {
            let room = FRAMES + outside.len();
            let mut frames = Vec::with_capacity(room);
            if pm_probe_waker::trace(&mut frames, room) <= room {
                // What both have in common is the executor.
                let same = frames.iter().rev().zip(outside.iter().rev()).take_while(|(inner, outer)| inner == outer);
                frames.truncate(frames.len() - same.count());
            }
            frames.truncate(FRAMES);
            seen.stacks.push(frames);
        }
    };
    if pm_probe_waker::poll(waker, &on_use, poll) {
        return None;
    }
    let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.stacks.sort_unstable();
    Some(seen)
}

impl Probe for Look {
    /// Polls until what waits is what waited before: a leaf that was ready after all, or that the task has left behind in
    /// the same poll, has cloned the waker as well.
    fn poll(&self, entry: &Entry, waker: &Waker, poll: &mut dyn FnMut(&mut Context<'_>) -> bool) -> bool {
        let Some(_inside) = Inside::of(self) else { return poll(&mut Context::from_waker(waker)) };
        let mut last: Option<Seen> = None;
        let mut is_moving = true;
        for _ in 0..ROUNDS {
            let seen = see(waker, poll);
            is_moving = match (&last, &seen) {
                (Some(last), Some(seen)) => (&last.stacks, last.more) != (&seen.stacks, seen.more),
                _ => true,
            };
            last = seen;
            if last.is_none() || !is_moving {
                break;
            }
        }
        let is_ready = last.is_none();
        let proc = row(entry);
        let mut found = self.found();
        found.polls += 1;
        if let Some(seen) = last {
            found.parked += 1;
            found.proc = Some(proc);
            found.is_moving |= is_moving;
            found.seen.has_woken_itself |= seen.has_woken_itself;
            found.seen.more += seen.more;
            for stack in seen.stacks {
                if found.seen.stacks.len() < PLACES { found.seen.stacks.push(stack) } else { found.seen.more += 1 }
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
    let look = ask(&entry)?;
    // The one who has begun it is told what is; the others, what was.
    let ago = look.at.elapsed();
    let ago = if ago > AT_ONCE { format!(", {:.1}s ago", ago.as_secs_f64()) } else { String::new() };
    wait(&look, &entry).await;
    if look.told.get().is_none() {
        let look = Arc::clone(&look);
        alone(move || _ = look.told.get_or_init(|| tell(&entry, &look))).await;
    }
    let Some(Told { head, lines, .. }) = look.told.get() else {
        return Some("internal error: the stack could not be read".to_string());
    };
    let colon = if lines.is_empty() { "" } else { ":" };
    Some([format!("{head}{ago}{colon}")].iter().chain(lines).map(String::as_str).collect::<Vec<_>>().join("\n"))
}

/// The last looks.
static LOOKS: Mutex<Vec<Recent>> = Mutex::new(Vec::new());

/// A look at a task.
struct Recent {
    task: Weak<Entry>,
    look: Arc<Look>,
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
            let places = recent.look.told.get().map(|told| &told.leaves).filter(|leaves| !leaves.is_empty())?.clone();
            Some((Weak::clone(&recent.task), Parked { ago: recent.look.at.elapsed(), places }))
        });
        Known { looks: parked.collect() }
    }

    pub(crate) fn of(&self, entry: &Arc<Entry>) -> Option<&Parked> {
        let of = self.looks.iter().find(|(task, _)| std::ptr::eq(task.as_ptr(), Arc::as_ptr(entry)));
        of.map(|(_, parked)| parked)
    }
}

/// Begins a look, or joins one that is fresh. `None` if the task has ended.
fn ask(entry: &Arc<Entry>) -> Option<Arc<Look>> {
    let look = {
        let mut looks = looks();
        looks.retain(|recent| recent.look.at.elapsed() < KNOWN);
        let is_fresh = |recent: &&Recent| recent.is_of(entry) && recent.look.at.elapsed() < FRESH;
        if let Some(fresh) = looks.iter().rev().find(is_fresh) {
            return Some(Arc::clone(&fresh.look));
        }
        let look = Look::new(entry);
        looks.push(Recent { task: Arc::downgrade(entry), look: Arc::clone(&look) });
        look
    };
    // Under no lock, because it wakes.
    let waiting = entry.ask(Arc::clone(&look) as Arc<dyn Probe>)?;
    look.waiting.store(waiting, Ordering::Relaxed);
    Some(look)
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

async fn wait(look: &Look, entry: &Entry) {
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
    // One that was being polled when somebody asked is not absent, and is polled once more.
    sleep(OTHERS).await;
    while entry.absent() > 0 && Instant::now() < until {
        sleep(OTHERS).await;
    }
}

fn tell(entry: &Entry, look: &Look) -> Told {
    let Found { polls, parked, proc, seen, is_moving } = std::mem::take(&mut *look.found());
    let proc = proc.as_ref().unwrap_or(&look.asked);
    let (id, status, time) = (escape::id(&proc.id), escape::quoted_cell(&proc.status), proc.in_status.as_secs_f64());
    let site = proc.site.as_ref().map_or(String::new(), |site| format!(", set at {site}"));
    let begin = format!("{id} in {status} for {time:.1}s{site}");
    let told = |head: String| Told { head, lines: Vec::new(), leaves: Vec::new() };
    if entry.has_ended() {
        return told(format!("{id} has ended meanwhile"));
    }
    if polls == 0 {
        return told(match look.waiting.load(Ordering::Relaxed) {
            0 => format!("{begin}: no run of it waits: it computes, works on a thread, or awaits outside of run"),
            _ => format!(
                "{begin}: the runtime has polled no run of it within 1 s: all its workers may be busy, or it computes, or \
                 awaits outside of run"
            ),
        });
    }
    let absent = match entry.absent() {
        0 => None,
        1 => Some("  and 1 run of it was not polled within 1 s: where that is parked is not known".to_string()),
        n => Some(format!("  and {n} runs of it were not polled within 1 s: where those are parked is not known")),
    };
    if parked == 0 {
        let head = format!("{begin}: it was ready when it was polled: it was not parked");
        return Told { lines: Vec::from_iter(absent), ..told(head) };
    }
    let places = Places::of(seen.stacks);
    let count = places.all.len() + places.unnamed;
    let head = match count {
        0 if seen.has_woken_itself => format!("{begin}: runnable, not parked: it has asked to be polled again"),
        0 => format!("{begin}: parked, at a place that cannot be seen: nothing in it has kept the waker of this poll"),
        _ if places.are_runnable() => format!("{begin}, runnable"),
        1 => format!("{begin}, parked"),
        n => format!("{begin}, parked at {n} places"),
    };
    let mut lines: Vec<String> = places.all.iter().flat_map(Place::lines).collect();
    match places.unnamed {
        0 => {}
        1 => lines.push("  at a place that has no name".to_string()),
        n => lines.push(format!("  at {n} places that have no name")),
    }
    if seen.more > 0 {
        lines.push(format!("  .. and {} more", seen.more));
    }
    if count > 0 && is_moving {
        lines.push("  it went on while it was looked at: some of these may be over".to_string());
    }
    if count > 0 && seen.has_woken_itself {
        lines.push("  and it has asked to be polled again: it is runnable, not parked".to_string());
    }
    lines.extend(absent);
    lines.extend(places.remark().map(str::to_string));
    Told { head, lines, leaves: places.all.iter().map(Place::top).collect() }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::task::Handle;

    /// What a look sees that polls a future which tells the number of the poll.
    fn seen<F: Future>(future: impl FnOnce(Handle) -> F) -> Found {
        let task = ProcList::new().start("a");
        let look = Look::new(&task.entry);
        let mut future = std::pin::pin!(future(task.handle()));
        look.poll(&task.entry, Waker::noop(), &mut |cx| future.as_mut().poll(cx).is_ready());
        std::mem::take(&mut *look.found())
    }

    #[test]
    fn what_was_ready_after_all_or_is_left_behind_is_no_place() {
        let found = seen(|task| async move {
            for _ in 0..20 {
                drop(std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
            }
            task.set_status("querying");
            std::future::poll_fn(|cx| {
                drop(cx.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        });
        assert_eq!((found.polls, found.parked, found.seen.stacks.len(), found.is_moving), (1, 1, 1, false));
        assert_eq!(found.proc.expect("it was parked").status, "querying", "the one in which it waits");
    }

    #[test]
    fn one_that_does_not_come_to_rest_is_said_to_move() {
        let mut polls = 0;
        let found = seen(|_| {
            std::future::poll_fn(move |cx| {
                polls += 1;
                (0..polls).for_each(|_| drop(cx.waker().clone()));
                Poll::<()>::Pending
            })
        });
        assert_eq!((found.seen.stacks.len(), found.is_moving), (ROUNDS, true));
        let found = seen(|_| std::future::ready(()));
        assert_eq!((found.polls, found.parked), (1, 0));
    }

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
