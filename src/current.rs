//! Current: the task that the running code works for. Adds `Handle::in_scope`.
//!
//! A stack for each thread. A scope cuts it back to its own depth when it ends, so what somebody has
//! left above is gone with it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::entry::Entry;
use crate::task::Handle;

thread_local! {
    static STACK: RefCell<Vec<Option<Handle>>> = const { RefCell::new(Vec::new()) };
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
    STACK.try_with(|stack| stack.borrow().iter().rev().flatten().next().cloned()).ok().flatten()
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
        let _scope = (!self.is_none()).then(|| Scope::enter(self.clone()));
        f()
    }
}

/// The task of `entry` is the current one until this is dropped.
pub(crate) struct Scope {
    depth: usize,
}

impl Scope {
    pub(crate) fn of(entry: &Arc<Entry>) -> Self {
        Scope::enter(Handle { entry: Arc::clone(entry) })
    }

    #[inline]
    fn enter(handle: Handle) -> Self {
        let depth = STACK.try_with(|stack| {
            let mut stack = stack.borrow_mut();
            stack.push(Some(handle));
            stack.len() - 1
        });
        // A thread that is being torn down has no current task.
        Scope { depth: depth.unwrap_or(usize::MAX) }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        // What is dropped may be the last of a task, and so code of the program's: with nothing borrowed.
        while let Some(handle) = pop(self.depth) {
            drop(handle);
        }
    }
}

/// Takes the last one off a stack that is deeper than `depth`.
#[inline]
fn pop(depth: usize) -> Option<Option<Handle>> {
    let pop = |stack: &RefCell<Vec<_>>| {
        let mut stack = stack.borrow_mut();
        if stack.len() > depth { stack.pop() } else { None }
    };
    STACK.try_with(pop).ok().flatten()
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
    fn outside_of_any_task_its_verbs_do_nothing() {
        let nobody = current();
        assert!(nobody.is_none() && nobody.id().is_empty() && nobody == current());
        nobody.set_status("lost");
        nobody.set_col("a", 1);
        nobody.status("lost")();
        assert!(nobody.check().is_ok() && !nobody.is_ended() && !nobody.is_being_killed() && nobody.keep().is_none());
        assert_eq!(nobody.kill("").unwrap_err().to_string(), "no such process ''");
        nobody.in_scope(|| assert!(try_current().is_none()));
        let proc = nobody.entry.proc();
        assert_eq!((proc.status.as_str(), proc.cols.len()), ("init", 0));
    }
}
