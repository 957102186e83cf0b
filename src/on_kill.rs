//! OnKill: what the program does when a task is being killed. Adds `Handle::on_kill`.

use std::fmt;
use std::sync::Arc;

use crate::entry::Entry;
use crate::hook::Hook;
use crate::proc::Killing;
use crate::task::Handle;

impl Handle {
    /// Calls `call` once, when a kill of this task has been accepted: to interrupt what a kill cannot reach by itself,
    /// a query in a database, a child process, a blocking read.
    ///
    /// It is called on a thread of this crate and under no lock, so it may block and panic; of these threads there are
    /// at most eight, and one for each guard that is dropped before its call has been begun. If the task is being
    /// killed already, or was, it is called at once. It is dropped uncalled when the task ends without a kill.
    ///
    /// Dropping the guard that this returns takes the call back; if the kill has been accepted by then, it waits until
    /// the call has been made. So a guard that is a local of the killed future makes sure of the call. What a
    /// database's cancel request meets is whatever its connection does next, so the connection must not do something
    /// else while the request is on its way. In async code that wait blocks the thread, for as long as the call takes;
    /// so the call must not need that thread. A runtime of its own will do.
    ///
    /// A task that ends when its call has been begun counts as killed, also if it has passed no kill point.
    ///
    /// [What a kill reaches](crate::_documentation::what_a_kill_reaches) has examples.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// # struct Connection(AtomicBool);
    /// # impl Connection {
    /// #     fn cancel(&self) { self.0.store(true, Ordering::Relaxed) }
    /// #     fn query(&self) { while !self.0.load(Ordering::Relaxed) { std::thread::yield_now() } }
    /// # }
    /// let list = pm::ProcList::new();
    /// let task = list.start("report1");
    /// let connection = Arc::new(Connection(AtomicBool::new(false)));
    ///
    /// let canceller = Arc::clone(&connection);
    /// let on_kill = task.on_kill(move |_killing| canceller.cancel());
    /// list.kill("report1", "too slow")?;
    /// connection.query(); // returns early
    /// drop(on_kill);      // from here on nobody cancels what this connection does
    /// assert!(task.check().is_err());
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn on_kill(&self, call: impl FnOnce(&Killing) + Send + 'static) -> OnKill {
        let hook = Hook::new(Box::new(call));
        self.entry.add_hook(&hook);
        OnKill { entry: Arc::clone(&self.entry), hook }
    }
}

/// The call that [`Handle::on_kill`] has registered. Dropping it takes the call back, or waits until it has been made,
/// if the kill has come.
#[must_use = "dropping it takes the call back at once"]
pub struct OnKill {
    entry: Arc<Entry>,
    hook: Arc<Hook>,
}

impl Drop for OnKill {
    fn drop(&mut self) {
        if let Some(kill) = self.entry.forget_hook(&self.hook) {
            // Whoever asked for it may not have come to this call yet.
            self.hook.is_due(kill);
        }
        self.hook.take_back();
    }
}

impl fmt::Debug for OnKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnKill").field("id", &self.entry.id()).finish_non_exhaustive()
    }
}
