//! Current: the task that the running code works for. Adds `Handle::in_scope`.
//!
//! One for each thread, and each scope puts back what was there before it. Spans are entered and left by
//! guards that people hold, in any order; so they are remembered beside that, each with the level of the scope
//! in which it was entered. What was entered in a scope is over with it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::entry::Entry;
use crate::task::Handle;

thread_local! {
    static CURRENT: Current = const { Current::new() };
    /// One for each thread, so that threads which work for no task do not meet.
    static NOBODY: Handle = nobody();
}

/// The task that the running code works for: code far below the one that started it reports on it, and
/// dies of its kill, without a handle passed down.
///
/// It is set while [`run`](Handle::run), [`scope`](crate::Task::scope) or the layer of the feature `tower` poll,
/// and inside of [`in_scope`](Handle::in_scope) and [`spawn_blocking`](Handle::spawn_blocking). Of nested ones the
/// innermost counts.
///
/// Outside of any it is a handle that does nothing: [`is_none`](Handle::is_none), its id is empty, a
/// kill is [`NoSuchProcess`](crate::KillError::NoSuchProcess), [`ended`](Handle::ended) never resolves. [`try_current`]
/// tells.
///
/// Use it in one statement, or keep it in a variable before an await: it is looked up when it is called.
/// A task that is spawned elsewhere has none of its own: hand it a [`Handle`]. A `block_on` inside a scope
/// may poll other tasks with this one current.
///
/// ```
/// fn load() -> Result<(), pm::Killed> {
///     pm::current().try_status("querying")   // nobody passes a handle down
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let list = pm::ProcList::new();
/// let task = list.start("req1");
/// task.run(async { load() }).await.unwrap().unwrap();
/// assert_eq!(list.get("req1").unwrap().status, "querying");
/// assert!(pm::current().is_none() && load().is_ok());
/// # }
/// ```
pub fn current() -> Handle {
    try_current().unwrap_or_else(|| NOBODY.try_with(Handle::clone).unwrap_or_else(|_| nobody()))
}

/// The task that the running code works for, if there is one: see [`current`].
pub fn try_current() -> Option<Handle> {
    CURRENT.try_with(Current::task).ok().flatten()
}

fn nobody() -> Handle {
    Handle { entry: Arc::new(Entry::nobody()) }
}

impl Handle {
    /// Calls `f` with this task as the [current] one: for threads.
    ///
    /// It is no kill point, and the kill of a [`status(..)()`](Self::status) inside goes on.
    ///
    /// # Panics
    ///
    /// Only if `f` does. The task that was current before is restored all the same.
    ///
    /// ```
    /// # fn sort() {}
    /// let list = pm::ProcList::new();
    /// let task = list.start("sort1");
    /// let handle = task.handle();
    /// let sorting = std::thread::spawn(move || {
    ///     handle.in_scope(|| {
    ///         pm::current().set_status("sorting");
    ///         sort();
    ///     })
    /// });
    /// sorting.join().unwrap();
    /// assert_eq!(task.done().status, "sorting");
    /// ```
    pub fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        let _scope = Scope::of(&self.entry);
        f()
    }
}

/// What is known of a thread.
struct Current {
    task: Cell<Option<Handle>>,
    /// How many scopes there are.
    level: Cell<u32>,
    /// Whether there is anything in `spans`.
    has_spans: Cell<bool>,
    spans: RefCell<Vec<Entered>>,
}

/// A span that has been entered.
struct Entered {
    span: SpanKey,
    /// None if it was left when another scope was above it.
    task: Option<Handle>,
    /// The task of the scope in which it was entered.
    base: Option<Handle>,
    level: u32,
}

/// Who lists a span, and its id there.
pub(crate) type SpanKey = (u64, u64);

impl Current {
    const fn new() -> Self {
        Current {
            task: Cell::new(None),
            level: Cell::new(0),
            has_spans: Cell::new(false),
            spans: RefCell::new(Vec::new()),
        }
    }

    fn task(&self) -> Option<Handle> {
        let task = self.task.take();
        self.task.set(task.clone());
        match task {
            // Its span is not left any more: who listed it is gone.
            Some(task) if self.has_spans.get() && task.is_ended() => self.without_ended(),
            task => task,
        }
    }

    #[cold]
    fn without_ended(&self) -> Option<Handle> {
        loop {
            let level = self.level.get();
            let ended = self
                .spans
                .borrow()
                .last()
                .is_some_and(|top| top.level == level && top.task.as_ref().is_some_and(|task| task.is_ended()));
            if !ended {
                let task = self.task.take();
                self.task.set(task.clone());
                return task;
            }
            let gone = self.spans.borrow_mut().pop();
            drop(self.show_top(level, gone.as_ref().and_then(|gone| gone.base.clone())));
            drop(gone);
        }
    }

    /// Makes the last span of this level the current task, or `base`, if there is none. Returns what was.
    fn show_top(&self, level: u32, base: Option<Handle>) -> Option<Handle> {
        let spans = self.spans.borrow();
        let top = spans.last().filter(|top| top.level == level).map(|top| top.task.clone());
        self.has_spans.set(!spans.is_empty());
        self.task.replace(top.unwrap_or(base))
    }

    /// A scope has ended, and this is the level again.
    #[cold]
    fn cut(&self, level: u32) {
        let (mut over, mut base) = (Vec::new(), None);
        let mut spans = self.spans.borrow_mut();
        while let Some(top) = spans.pop_if(|top| top.level > level || top.level == level && top.task.is_none()) {
            base = (top.level == level).then(|| top.base.clone()).or(base);
            over.push(top);
        }
        self.has_spans.set(!spans.is_empty());
        drop(spans);
        // Some that this scope has put back has been left since.
        if let Some(base) = base {
            drop(self.show_top(level, base));
        }
    }

    #[cfg_attr(not(feature = "tracing-layer"), allow(dead_code))]
    fn enter_span(&self, span: SpanKey, task: Handle) {
        let before = self.task.replace(Some(task.clone()));
        let level = self.level.get();
        let mut spans = self.spans.borrow_mut();
        let base = match spans.last() {
            Some(top) if top.level == level => top.base.clone(),
            _ => before.clone(),
        };
        spans.push(Entered { span, task: Some(task), base, level });
        self.has_spans.set(true);
        drop(spans);
        drop(before);
    }

    #[cfg_attr(not(feature = "tracing-layer"), allow(dead_code))]
    fn leave_span(&self, span: SpanKey) {
        let level = self.level.get();
        let mut spans = self.spans.borrow_mut();
        let Some(at) = spans.iter().rposition(|entered| entered.span == span && entered.task.is_some()) else { return };
        if spans[at].level != level {
            let task = spans[at].task.take();
            drop(spans);
            return drop(task);
        }
        let is_last = at + 1 == spans.len();
        let left = spans.remove(at);
        self.has_spans.set(!spans.is_empty());
        drop(spans);
        if is_last {
            drop(self.show_top(level, left.base.clone()));
        }
        drop(left);
    }
}

/// A span with this task has been entered.
#[cfg_attr(not(feature = "tracing-layer"), allow(dead_code))]
pub(crate) fn enter_span(span: SpanKey, task: Handle) {
    _ = CURRENT.try_with(|current| current.enter_span(span, task));
}

/// It has been left.
#[cfg_attr(not(feature = "tracing-layer"), allow(dead_code))]
pub(crate) fn leave_span(span: SpanKey) {
    _ = CURRENT.try_with(|current| current.leave_span(span));
}

/// A task is the current one until this is dropped.
pub(crate) struct Scope {
    before: Option<Handle>,
    level: u32,
}

impl Scope {
    /// None if there is no task.
    #[inline]
    pub(crate) fn of(entry: &Arc<Entry>) -> Option<Self> {
        if entry.is_nobody() {
            return None;
        }
        let task = Some(Handle { entry: Arc::clone(entry) });
        let enter = |current: &Current| {
            let level = current.level.get();
            current.level.set(level + 1);
            Scope { before: current.task.replace(task), level }
        };
        // A thread that is being torn down has no current task.
        CURRENT.try_with(enter).ok()
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        let leave = |current: &Current| {
            current.level.set(self.level);
            let over = current.task.replace(self.before.take());
            if current.has_spans.get() {
                current.cut(self.level);
            }
            over
        };
        drop(CURRENT.try_with(leave));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;
    use crate::ProcList;

    #[test]
    fn the_innermost_counts_and_the_outer_one_is_restored_also_by_a_panic() {
        let list = ProcList::new();
        let (outer, inner) = (list.start("outer"), list.start("inner"));
        outer.in_scope(|| {
            inner.in_scope(|| assert_eq!(current().id(), "inner"));
            let panic = catch_unwind(AssertUnwindSafe(|| inner.in_scope(|| resume_unwind(Box::new("a bug")))));
            assert!(panic.is_err());
            assert_eq!(current().id(), "outer");
        });
        assert!(try_current().is_none());
    }

    #[test]
    fn a_scope_cuts_off_what_was_left_above_it() {
        let list = ProcList::new();
        let (outer, left) = (list.start("outer"), list.start("left"));
        outer.in_scope(|| std::mem::forget(Scope::of(&left.entry)));
        assert!(try_current().is_none());
    }

    #[test]
    fn spans_and_scopes_may_be_left_in_any_order() {
        let list = ProcList::new();
        let (task, a, b) = (list.start("t"), list.start("a"), list.start("b"));
        let (enter_a, leave_a) = (|| enter_span((1, 1), a.handle()), || leave_span((1, 1)));
        let (enter_b, leave_b) = (|| enter_span((1, 2), b.handle()), || leave_span((1, 2)));
        let id = || current().id().to_string();

        // A guard that is dropped in a scope which began later.
        enter_a();
        task.in_scope(|| {
            leave_a();
            assert_eq!(id(), "t");
        });
        assert_eq!(id(), "");

        // .. with another one in it.
        enter_a();
        task.in_scope(|| {
            enter_b();
            leave_a();
            leave_b();
            assert_eq!(id(), "t");
        });
        assert_eq!(id(), "");

        // A guard that outlives its scope.
        task.in_scope(enter_a);
        enter_b();
        task.in_scope(leave_a);
        assert_eq!(id(), "b");
        leave_b();
        assert_eq!(id(), "");

        // In the order in which they were entered, and again inside themselves.
        task.in_scope(|| {
            enter_a();
            enter_b();
            enter_a();
            leave_a();
            assert_eq!(id(), "b");
            leave_a();
            assert_eq!(id(), "b");
            leave_b();
            assert_eq!(id(), "t");
        });

        // Many, and one whose task has ended without its span being left.
        (0..2000).for_each(|_| enter_a());
        (0..2000).for_each(|_| leave_a());
        assert_eq!(id(), "");
        let gone = list.start("gone");
        task.in_scope(|| {
            enter_span((2, 1), gone.handle());
            drop(gone);
            assert_eq!(id(), "t");
        });
        assert_eq!(id(), "");
        assert!(CURRENT.with(|current| current.spans.borrow().is_empty() && !current.has_spans.get()));
    }

    #[test]
    fn outside_of_any_task_its_verbs_do_nothing() {
        let nobody = current();
        assert!(nobody.is_none() && nobody.id().is_empty() && nobody == current());
        nobody.set_status("lost");
        nobody.set_col("a", 1);
        nobody.status("lost")();
        assert!(nobody.check().is_ok() && !nobody.is_ended() && !nobody.is_being_killed() && nobody.keep().is_none());
        assert_eq!(nobody.kill("").expect_err("it is nobody").to_string(), "no such process ''");
        nobody.in_scope(|| assert!(try_current().is_none()));
        let proc = nobody.entry.proc();
        assert_eq!((proc.status.as_str(), proc.cols.len()), ("init", 0));
    }
}
