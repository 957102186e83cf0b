//! Drain: the end of a program, which waits for what is running. Adds `ProcList::{drain, drain_blocking, idle}`.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};

use crate::columns::Printed;
use crate::entry::Entry;
use crate::escape;
use crate::list::ProcList;
use crate::proc::Proc;
use crate::unwinding::contain;

/// How often it looks: nothing that tasks share tells when the last one ends.
const LOOK: Duration = Duration::from_millis(50);

/// How often it says what it waits for.
const TELL: Duration = Duration::from_secs(1);

/// How long it waits for what it has killed.
const GRACE: Duration = Duration::from_secs(5);

/// How many of those that are left it names.
const NAMED: usize = 5;

/// What those that are left are told.
const MESSAGE: &str = "shutting down";

impl ProcList {
    /// Waits until the list is empty, `within` that time: for the end of a program, so that what holds up a deployment
    /// is no secret.
    ///
    /// It looks every 50 ms. Each second it says through [`on_wait`](Drain::on_wait) how many tasks are left, and which
    /// are the oldest. What is left at the end, independent children among it, is killed with the message `shutting
    /// down`, waited for for another 5 s, and [returned](Drained). Tasks may still start: they are waited for too. It
    /// needs tokio's timers; [`drain_blocking`](Self::drain_blocking) needs none.
    ///
    /// A program that returns from `main` after that still waits for what tokio's blocking threads do, which a kill may
    /// not have reached: end it with `std::process::exit`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting. What it has killed stays killed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let job = list.start("job1");
    /// job.set_status("merging");
    /// tokio::spawn(async move { job.run(std::future::pending::<()>()).await });
    ///
    /// let drained = list.drain(Duration::from_secs(3)).on_wait(|left| eprintln!("{left}")).await;
    /// assert_eq!((drained.killed.len(), drained.killed[0].id.as_str()), (1, "job1"));
    /// assert_eq!(drained.to_string(), r#"drained after 3.0s: job1 in "merging" was killed"#);
    /// # }
    /// ```
    pub fn drain(&self, within: Duration) -> Drain {
        Drain {
            draining: Draining {
                list: self.clone(),
                within,
                told: Duration::ZERO,
                killed: Vec::new(),
                known: HashSet::new(),
                killed_at: None,
                on_wait: None,
            },
            timer: None,
        }
    }

    /// The same for code that is not async: [`Drain::blocking`].
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let drained = list.drain_blocking(std::time::Duration::from_secs(10));
    /// assert!(drained.killed.is_empty());
    /// ```
    pub fn drain_blocking(&self, within: Duration) -> Drained {
        self.drain(within).blocking()
    }

    /// Resolves when the list is empty. It looks every 50 ms, while somebody awaits it. It needs tokio's timers.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a tokio runtime that has timers, and tasks are running.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let task = list.start("job1");
    /// let idle = tokio::spawn(list.idle());
    /// drop(task);
    /// idle.await.unwrap();
    /// # }
    /// ```
    pub fn idle(&self) -> WaitIdle {
        WaitIdle { list: self.clone(), timer: None }
    }
}

/// What a [`drain`](ProcList::drain) still waits for. Its `Display` is a line for a log, with the columns that the
/// table prints.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Left {
    /// How many tasks are running.
    pub count: usize,
    /// Those that have been running for longest, five at most.
    pub oldest: Vec<Proc>,
    printed: Vec<Printed>,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        write!(f, "waiting for {count} {}", if count == 1 { "task" } else { "tasks" })?;
        for (n, (proc, columns)) in self.oldest.iter().zip(&self.printed).enumerate() {
            let (status, age) = (escape::quoted_cell(&proc.status), proc.elapsed.as_secs_f64());
            write!(
                f,
                "{} {} in {status} for {age:.1}s{columns}",
                if n == 0 { ":" } else { "," },
                escape::id(&proc.id)
            )?;
        }
        if count > self.oldest.len() { write!(f, ", ..") } else { Ok(()) }
    }
}

/// What came of a [`drain`](ProcList::drain). Its `Display` is a line for a log, with the columns that the table
/// prints.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Drained {
    /// How long it took.
    pub took: Duration,
    /// The tasks that were left when the time was over, and so were killed. Those whose `outcome` is `None` are still
    /// running: they refuse to be killed, or have not noticed.
    pub killed: Vec<Proc>,
    printed: Vec<Printed>,
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drained after {:.1}s", self.took.as_secs_f64())?;
        for (n, (proc, columns)) in self.killed.iter().zip(&self.printed).enumerate() {
            let what = match proc.outcome {
                Some(outcome) => format!("was {outcome}").replace("was ended", "ended"),
                None if proc.killing.is_none() => "may not be killed and is still running".to_string(),
                None => "is still running".to_string(),
            };
            let status = escape::quoted_cell(&proc.status);
            write!(f, "{} {} in {status} {what}{columns}", if n == 0 { ":" } else { "," }, escape::id(&proc.id))?;
        }
        Ok(())
    }
}

/// The future of [`ProcList::drain`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Drain {
    draining: Draining,
    /// From the first poll on: when it began, and when it looks again.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Drain {
    /// Calls `on_wait` each second that it waits, in the code that awaits it: to log what it waits for. If it panics,
    /// the waiting goes on.
    pub fn on_wait(mut self, on_wait: impl FnMut(&Left) + Send + 'static) -> Self {
        self.draining.on_wait = Some(Box::new(on_wait));
        self
    }

    /// Waits on this thread. No runtime is needed.
    pub fn blocking(mut self) -> Drained {
        let began = std::time::Instant::now();
        loop {
            if let Some(drained) = self.draining.look(began.elapsed()) {
                return drained;
            }
            thread::sleep(LOOK);
        }
    }
}

impl Future for Drain {
    type Output = Drained;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        let Drain { draining, timer } = self.get_mut();
        loop {
            let (began, timer) = timer.get_or_insert_with(|| (Instant::now(), Box::pin(time::sleep(Duration::ZERO))));
            ready!(timer.as_mut().poll(cx));
            if let Some(drained) = draining.look(began.elapsed()) {
                return Poll::Ready(drained);
            }
            timer.as_mut().reset(Instant::now() + LOOK);
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("within", &self.draining.within).finish_non_exhaustive()
    }
}

type OnWait = Box<dyn FnMut(&Left) + Send>;

struct Draining {
    list: ProcList,
    within: Duration,
    /// When it said last what it waits for, since it began.
    told: Duration,
    killed: Vec<Arc<Entry>>,
    /// The same, to be found: they are held, so no other task has their address.
    known: HashSet<usize>,
    killed_at: Option<Duration>,
    on_wait: Option<OnWait>,
}

impl Draining {
    /// Does what is to be done so long after the beginning. Returns what came of it when it is over.
    fn look(&mut self, since: Duration) -> Option<Drained> {
        if self.list.is_empty() {
            return Some(self.drained(since));
        }
        if since >= self.within {
            // However late it is: the grace begins with the kill.
            self.kill();
            if since >= self.killed_at.get_or_insert(since).saturating_add(GRACE) {
                return Some(self.drained(since));
            }
        }
        if since >= self.told + TELL {
            self.told = since;
            self.tell();
        }
        None
    }

    fn drained(&self, took: Duration) -> Drained {
        let (killed, printed) = self.told(&self.killed);
        Drained { took, killed, printed }
    }

    /// Kills what has not been killed yet.
    fn kill(&mut self) {
        let mut left = self.list.entries();
        left.sort_unstable_by(|a, b| a.by_age(b));
        for entry in left {
            if self.known.insert(Arc::as_ptr(&entry).addr()) {
                self.list.request(&entry, MESSAGE.to_string(), None);
                self.killed.push(entry);
            }
        }
    }

    fn tell(&mut self) {
        if self.on_wait.is_none() {
            return;
        }
        let mut left = self.list.entries();
        let count = left.len();
        if count > NAMED {
            left.select_nth_unstable_by(NAMED - 1, |a, b| a.by_age(b));
            left.truncate(NAMED);
        }
        left.sort_unstable_by(|a, b| a.by_age(b));
        // What has ended meanwhile is waited for no more.
        left.retain(|entry| !entry.has_ended());
        let (oldest, printed) = self.told(&left);
        if let Some(on_wait) = &mut self.on_wait {
            // The log is not what the end of the program hangs on.
            contain(|| on_wait(&Left { count, oldest, printed }));
        }
    }

    /// What is told of these tasks.
    fn told(&self, tasks: &[Arc<Entry>]) -> (Vec<Proc>, Vec<Printed>) {
        tasks.iter().map(|entry| (entry.proc(), self.list.shared.printed(entry))).unzip()
    }
}

/// The future of [`ProcList::idle`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct WaitIdle {
    list: ProcList,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for WaitIdle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let WaitIdle { list, timer } = self.get_mut();
        while !list.is_empty() {
            let timer = timer.get_or_insert_with(|| Box::pin(time::sleep(LOOK)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Outcome;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_last_one_does_and_says_each_second_what_it_waits_for() {
        let list = ProcList::new();
        list.set_cols(["method", "uri"]);
        let (old, young) = (list.start("a b").col("uri", "/x y").col("method", "GET"), list.start("young"));
        old.set_status("merging");
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let drain = list.drain(10 * SECOND).on_wait(move |left| telling.lock().expect("whole").push(left.to_string()));
        let began = Instant::now();
        tokio::spawn(async move {
            time::sleep(SECOND + SECOND / 2).await;
            drop(young);
            time::sleep(SECOND).await;
            drop(old);
        });
        let drained = drain.await;
        assert!(drained.killed.is_empty() && began.elapsed() < 2 * SECOND + SECOND * 6 / 10, "{drained:?}");
        let told = told.lock().expect("whole");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with(r#"waiting for 2 tasks: a\x20b in "merging" for 0."#), "{told:?}");
        assert!(
            told[0].contains(r#"s (method=GET, uri="/x y"), young in "init" for 0."#)
                && told[1].starts_with("waiting for 1 task: a"),
            "{told:?}"
        );
        assert!(drained.to_string().starts_with("drained after 2.5s"), "{drained}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_killed_and_named_and_what_starts_late_too() {
        let list = ProcList::new();
        let (waits, refuses) = (list.start("waits"), list.start("refuses").forbid_kill());
        let starts = list.clone();
        tokio::spawn(async move {
            assert_eq!(waits.run(std::future::pending::<()>()).await.expect_err("is killed").message(), MESSAGE);
            let late = starts.start("late");
            late.run(std::future::pending::<()>()).await.expect_err("is killed");
            time::sleep(SECOND).await;
        });
        let drained = list.drain(SECOND).await;
        assert_eq!(drained.took.as_secs(), 6, "a second, and five more");
        let left: Vec<_> = drained.killed.iter().map(|proc| (proc.id.as_str(), proc.outcome)).collect();
        let killed = Some(Outcome::Killed);
        assert_eq!(left, [("waits", killed), ("refuses", None), ("late", killed)]);
        assert!(
            drained.to_string().contains(r#"refuses in "init" may not be killed and is still running"#),
            "{drained}"
        );
        drop(refuses);
    }

    #[test]
    fn a_drain_that_looks_too_late_kills_all_the_same_and_waits_for_that() {
        let list = ProcList::new();
        let task = list.start("a");
        let mut draining = list.drain(SECOND).draining;
        assert!(draining.look(Duration::ZERO).is_none());
        // The runtime was busy meanwhile.
        assert!(draining.look(60 * SECOND).is_none() && task.is_being_killed());
        assert!(draining.look(64 * SECOND).is_none());
        let late = list.start("late");
        let drained = draining.look(66 * SECOND).expect("the grace is over");
        let left: Vec<_> = drained.killed.iter().map(|proc| (proc.id.as_str(), proc.outcome)).collect();
        assert_eq!(left, [("a", None), ("late", None)]);
        assert!(late.is_being_killed());
    }

    #[test]
    fn it_needs_no_runtime() {
        let list = ProcList::new();
        let task = list.start("a");
        let thread = thread::spawn(move || {
            while task.check().is_ok() {
                thread::yield_now();
            }
        });
        let drained = list.drain_blocking(Duration::from_millis(60));
        thread.join().expect("it has noticed");
        assert_eq!((drained.killed.len(), list.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_counted_and_five_named() {
        let list = ProcList::new();
        let tasks: Vec<_> = (0..9).map(|n| list.start(format!("t{n}"))).collect();
        let (sender, told) = std::sync::mpsc::channel();
        let drain = list.drain(10 * SECOND).on_wait(move |left| sender.send(left.to_string()).expect("somebody reads"));
        assert!(time::timeout(SECOND + SECOND / 2, drain).await.is_err());
        let told = told.recv().expect("it was told");
        assert!(
            told.starts_with("waiting for 9 tasks: t0 ") && told.contains(" t4 in ") && told.ends_with("s, .."),
            "{told}"
        );
        let idle = tokio::spawn(list.idle());
        time::sleep(SECOND).await;
        assert!(!idle.is_finished());
        drop(tasks);
        idle.await.expect("it is empty");
    }

    #[test]
    fn a_list_that_hands_its_work_on_is_never_empty_and_a_callback_may_panic() {
        let list = ProcList::new();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (theirs, until) = (list.clone(), Arc::clone(&stop));
        let mut task = list.start("first");
        let pipeline = thread::spawn(move || {
            for n in 0.. {
                // The next one is there before the last one leaves.
                drop(std::mem::replace(&mut task, theirs.start(format!("task{n}"))));
                if until.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        assert!((0..20_000).all(|_| !list.is_empty()));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        pipeline.join().expect("it has stopped");

        let left = list.start("left");
        let drain = list.drain(Duration::from_millis(1500)).on_wait(|_| std::panic::resume_unwind(Box::new("a bug")));
        let ends = thread::spawn(move || {
            while left.check().is_ok() {
                thread::yield_now();
            }
        });
        assert_eq!(drain.blocking().killed.len(), 1);
        ends.join().expect("it was killed");
    }
}
