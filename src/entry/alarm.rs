//! Alarm: whom a kill wakes, and what it calls, once all that it reaches have been marked.
//!
//! Not before: a task that is woken may end at once, and those below it with it.

use std::fmt;
use std::sync::Arc;

use crate::hook::Hook;
use crate::kill::Kill;
use crate::waiters::Woken;

#[derive(Default)]
#[must_use = "the tasks that wait go on waiting"]
pub(crate) struct Alarm(Vec<(Arc<Kill>, Vec<Arc<Hook>>, Woken)>);

impl Alarm {
    pub(super) fn add(&mut self, kill: &Arc<Kill>, hooks: Vec<Arc<Hook>>, woken: Woken) {
        if !hooks.is_empty() || woken.len() > 0 {
            self.0.push((Arc::clone(kill), hooks, woken));
        }
    }

    /// Those below first. No lock may be held: what is woken is the program's.
    pub(crate) fn sound(self) {
        for (kill, hooks, woken) in self.0.into_iter().rev() {
            hooks.into_iter().for_each(|hook| hook.call(Arc::clone(&kill)));
            woken.wake();
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("tasks", &self.0.len()).finish_non_exhaustive()
    }
}
