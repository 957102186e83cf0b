//! A waker that tells how it is used, and hands on another one.
//!
//! A future that is not ready clones the waker of its context and keeps it: that is where it is parked. So whoever polls
//! a future once with a probe learns where each leaf below `join!`, `select!` and nested futures is parked, for any
//! executor. What a leaf keeps is the executor's own waker: the probe itself leaves nothing behind.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::task::Waker;
//!
//! use pm_probe_waker::Use;
//!
//! let clones = AtomicU32::new(0);
//! let on_use = |how| {
//!     if how == Use::Clone {
//!         clones.fetch_add(1, Ordering::Relaxed);
//!     }
//! };
//! let waker = Waker::noop();
//! let kept = pm_probe_waker::poll(waker, &on_use, |cx| cx.waker().clone());
//! assert_eq!(clones.load(Ordering::Relaxed), 1);
//! assert!(kept.will_wake(waker));
//! ```

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

/// Where the code of this crate lies, as debug information names it: its frames are none of the program's.
pub const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

/// How a waker is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is cloned: whoever does it waits for something.
    Clone,
    /// It is woken: whoever is polled wants to be polled again.
    Wake,
}

struct Probe<'a> {
    waker: &'a Waker,
    on_use: &'a (dyn Fn(Use) + Sync),
}

impl Probe<'_> {
    /// Who uses a waker may hold a lock: no panic reaches it.
    fn tell(&self, how: Use) {
        _ = catch_unwind(AssertUnwindSafe(|| (self.on_use)(how)));
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_nothing);

/// Calls `poll` with a context whose waker is a probe: `on_use` is called when it is cloned or woken. A clone is one of
/// `waker`, and is none of the probe any more; to wake the probe wakes `waker`.
///
/// A panic of `on_use` is caught.
pub fn poll<R>(waker: &Waker, on_use: &(dyn Fn(Use) + Sync), poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let probe = Probe { waker, on_use };
    let data = (&raw const probe).cast();
    // SAFETY: the functions of the table take `data` for what it is, and `probe` lives until `poll` has returned. Longer
    // nobody has it: the context lends the waker for the time of the call, and a clone of it is one of `waker`. Both
    // parts of a probe may be used from any thread. It is not dropped, and dropping it would do nothing.
    let ours = ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) });
    poll(&mut Context::from_waker(&ours))
}

/// # Safety
///
/// `data` points to a [`Probe`] that is alive. So in all functions of the table.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: by the contract of this function.
    let probe = unsafe { &*data.cast::<Probe<'_>>() };
    probe.tell(Use::Clone);
    // The parts of a waker are a waker, if it is not dropped.
    let clone = ManuallyDrop::new(probe.waker.clone());
    RawWaker::new(clone.data(), clone.vtable())
}

unsafe fn wake(data: *const ()) {
    // SAFETY: by the contract of this function.
    let probe = unsafe { &*data.cast::<Probe<'_>>() };
    probe.tell(Use::Wake);
    probe.waker.wake_by_ref();
}

unsafe fn drop_nothing(_: *const ()) {}

/// Appends the instruction pointers of the calling thread's stack to `frames`, innermost first, and returns how many frames
/// there are; `most` of them are appended. It takes no lock.
#[inline(never)]
pub fn trace(frames: &mut Vec<usize>, most: usize) -> usize {
    let mut count = 0;
    let mut visit = |frame: &backtrace::Frame| {
        if count < most {
            frames.push(frame.ip() as usize);
        }
        count += 1;
        true
    };
    // SAFETY: what must be synchronized is a library of Windows; there nothing is traced.
    #[cfg(not(windows))]
    unsafe {
        backtrace::trace_unsynchronized(&mut visit);
    }
    #[cfg(windows)]
    let _ = &mut visit;
    count
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn uses_are_told_and_clones_are_those_of_the_executor() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let (clones, wakes) = (AtomicU32::new(0), AtomicU32::new(0));
        let on_use = |how| {
            let count = if how == Use::Clone { &clones } else { &wakes };
            count.fetch_add(1, Ordering::Relaxed);
        };
        let kept = poll(&waker, &on_use, |cx| {
            cx.waker().wake_by_ref();
            let first = cx.waker().clone();
            let of_clone = first.clone();
            assert!(!cx.waker().will_wake(&first), "so who has kept the executor's waker clones anew");
            [first, of_clone]
        });
        let told = (clones.load(Ordering::Relaxed), wakes.load(Ordering::Relaxed));
        assert_eq!(told, (1, 1), "a clone of a clone is none of the probe");
        // Their tables may be copies of one another.
        assert!(kept.iter().all(|kept| kept.data() == waker.data()));
        kept.into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1, "nothing is leaked, and nothing dropped twice");
    }

    #[test]
    fn probes_may_be_nested_and_used_from_another_thread_and_a_panic_does_no_harm() {
        let (outer, inner) = (AtomicU32::new(0), AtomicU32::new(0));
        let add = |count: &AtomicU32| _ = count.fetch_add(1, Ordering::Relaxed);
        poll(Waker::noop(), &|_| add(&outer), |cx| {
            poll(cx.waker(), &|_| add(&inner), |cx| {
                let waker = cx.waker();
                thread::scope(|scope| _ = scope.spawn(|| drop(waker.clone())).join());
            });
        });
        assert_eq!((outer.into_inner(), inner.into_inner()), (1, 1));
        let waker = Waker::from(Arc::new(Count::default()));
        let kept = poll(&waker, &|_| std::panic::resume_unwind(Box::new("a bug")), |cx| cx.waker().clone());
        assert_eq!(kept.data(), waker.data());
    }

    #[test]
    fn a_stack_is_traced_up_to_a_bound() {
        let mut frames = Vec::new();
        let count = trace(&mut frames, 3);
        assert!(count > 3 && frames.len() == 3, "{count}");
        let mut deeper = Vec::new();
        let more = trace(&mut deeper, usize::MAX);
        assert_eq!((more, deeper.len()), (count, count));
    }
}
