//! Unwinding: a kill that unwinds a thread, and what else is dropped on its way. Adds `catch`.
//!
//! A task that is dropped while its thread unwinds has panicked, unless a kill unwinds. The standard
//! library does not tell which payload unwinds, so a mark of the thread does.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread;

use crate::killed::{Killed, Sighting};

/// Runs `f`, and stops the unwinding of a kill here.
///
/// For threads, and for a `main` that would die of it. It stops the kill of
/// whatever task was seen inside `f`; any other panic goes on.
///
/// In a program built with `panic = "abort"` nothing unwinds, and this is a
/// plain call.
///
/// # Errors
///
/// The [`Killed`] that a [`status(..)()`](crate::Handle::status) inside `f` unwound with.
///
/// ```
/// let list = pm::ProcList::new();
/// let task = list.start("job7");
/// list.kill("job7", "too slow")?;
///
/// match pm::catch(|| task.status("sorting")()) {
///     Ok(()) => unreachable!(),
///     Err(killed) => eprintln!("{:?}: {killed}", killed.id()), // ids come from clients: `{:?}` escapes
/// }
/// # Ok::<(), pm::KillError>(())
/// ```
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Killed> {
    catch_all(f).map_err(|unwound| match unwound {
        Unwound::Kill(killed) => killed,
        Unwound::Panic(_) => unwound.resume(),
    })
}

/// Calls code of the program's that is not to harm ours: a panic of it is dropped, and one of that, too.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        dropped.unwrap_or_else(std::mem::forget);
    }
}

/// What has unwound.
pub(crate) enum Unwound {
    Kill(Killed),
    Panic(Box<dyn Any + Send>),
}

/// Runs `f`, and stops whatever unwinds here.
#[inline]
pub(crate) fn catch_all<T>(f: impl FnOnce() -> T) -> Result<T, Unwound> {
    // Whether what `f` left behind is still whole is for its author to say,
    // as it is for one who calls `std::thread::spawn`.
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(Unwound::of)
}

impl Unwound {
    #[cold]
    fn of(payload: Box<dyn Any + Send>) -> Self {
        match payload.downcast::<Killed>() {
            Ok(killed) => {
                clear_mark();
                Unwound::Kill(*killed)
            }
            Err(panic) => Unwound::Panic(panic),
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(self) -> ! {
        match self {
            Unwound::Kill(killed) => killed.resume_unwind(),
            Unwound::Panic(panic) => panic::resume_unwind(panic),
        }
    }
}

/// What a kill does to the calling thread at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    /// It unwinds with the kill in [`MARKED`], unless somebody has caught that meanwhile.
    Unwinds,
    /// It drops the future of a task that has been killed by the one in [`MARKED`].
    Drops,
}

thread_local! {
    static MARK: Cell<Mark> = const { Cell::new(Mark::None) };
    /// The kill, known as long as its payload is there.
    static MARKED: RefCell<Weak<Sighting>> = const { RefCell::new(Weak::new()) };
}

impl Killed {
    /// Unwinds with this kill, as [`status(..)()`](crate::Handle::status) does: for code that has caught
    /// it, or has it from the payload of a [`JoinError`](tokio::task::JoinError), and lets it go on.
    ///
    /// With [`std::panic::resume_unwind`] the tasks that are dropped on the way would count as
    /// [panicked](crate::Outcome::Panicked).
    ///
    /// # Panics
    ///
    /// Always: that is what it is for. No panic hook runs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let list = pm::ProcList::new();
    /// let task = list.start("job7");
    /// list.kill("job7", "too slow").unwrap();
    /// let error = tokio::spawn(async move { task.status("sorting")() }).await.unwrap_err();
    /// let killed = error.into_panic().downcast::<pm::Killed>().unwrap();
    /// assert!(pm::catch(|| killed.resume_unwind()).is_err());
    /// # }
    /// ```
    pub fn resume_unwind(self) -> ! {
        let _caught_or_over = self.set_mark(Mark::Unwinds);
        panic::resume_unwind(Box::new(self))
    }

    /// Calls `f`, which drops what this kill has ended.
    pub(crate) fn dropping<T>(&self, f: impl FnOnce() -> T) -> T {
        let _outer = Restore(self.set_mark(Mark::Drops));
        f()
    }

    /// Returns the mark that it replaces.
    fn set_mark(&self, mark: Mark) -> (Mark, Weak<Sighting>) {
        // A thread that is being torn down has no marks, and no tasks to tell apart.
        let marked = MARKED.try_with(|marked| marked.replace(Arc::downgrade(&self.0)));
        (MARK.try_with(|known| known.replace(mark)).unwrap_or(Mark::None), marked.unwrap_or_default())
    }
}

/// Puts back the mark that was there before.
struct Restore((Mark, Weak<Sighting>));

impl Drop for Restore {
    fn drop(&mut self) {
        let (mark, marked) = std::mem::replace(&mut self.0, (Mark::None, Weak::new()));
        let _ = MARKED.try_with(|known| known.replace(marked));
        let _ = MARK.try_with(|known| known.set(mark));
    }
}

/// Forgets a kill that has been caught.
#[inline]
pub(crate) fn clear_mark() {
    if MARK.try_with(Cell::get) == Ok(Mark::Unwinds) && !thread::panicking() {
        let _ = MARK.try_with(|known| known.set(Mark::None));
    }
}

/// The kill that is ending things on the calling thread right now.
#[inline]
pub(crate) fn in_progress() -> Option<Killed> {
    match MARK.try_with(Cell::get) {
        Ok(Mark::Unwinds) if thread::panicking() => marked(),
        Ok(Mark::Drops) => marked(),
        _ => None,
    }
}

/// Whether the calling thread unwinds, or drops what a kill has ended.
#[inline]
pub(crate) fn is_under_way() -> bool {
    thread::panicking() || MARK.try_with(Cell::get) == Ok(Mark::Drops)
}

#[cold]
fn marked() -> Option<Killed> {
    MARKED.try_with(|marked| marked.borrow().upgrade()).ok().flatten().map(Killed)
}
