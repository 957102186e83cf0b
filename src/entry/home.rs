//! Home: the list that a task is in, as its entry knows it.
//!
//! The list holds its entries, and an entry of a task with a guard holds the list: its end takes it
//! out of both. A task that is detached may never end, so it holds nothing.

use std::fmt;
use std::sync::{Arc, Weak};

use super::{End, Entry, Fresh, KillReply};
use crate::kill::Kill;
use crate::peer::Peer;
use crate::timer;

/// What a task asks of the list that it is in.
pub(crate) trait List: Send + Sync {
    /// Takes a task that has ended off the list, and does what is to be done about its end.
    fn leave(&self, entry: &Arc<Entry>, end: End);

    /// Adds a task under `id`, or under the next best id, with what `describe` sets before anybody sees it.
    fn start(self: Arc<Self>, id: &str, describe: &dyn Fn(Fresh<'_>)) -> Arc<Entry>;

    /// Kills the task, and all below it. `by` is `None` if the program itself asks.
    fn kill(&self, entry: &Entry, message: String, by: Option<Arc<Peer>>) -> KillReply;

    /// Kills the task, and all below it, if this is its deadline.
    fn kill_at_deadline(&self, entry: &Entry, message: String, key: timer::Key) -> KillReply;

    /// Kills the task as `kill` has killed one that it is below.
    fn inherit(&self, entry: &Entry, kill: Arc<Kill>);

    /// Remembers that columns of this name hold secrets.
    fn register_secret(&self, name: &str);
}

/// The list of a task.
pub(super) enum Home {
    /// The task has guards.
    Kept(Arc<dyn List>),
    /// It was detached. In a box, because few are.
    Known(Box<Weak<dyn List>>),
    /// It has ended.
    Gone,
}

impl Home {
    pub(super) fn into_list(self) -> Option<Arc<dyn List>> {
        match self {
            Home::Kept(list) => Some(list),
            Home::Known(list) => list.upgrade(),
            Home::Gone => None,
        }
    }

    pub(super) fn list(&self) -> Option<Arc<dyn List>> {
        match self {
            Home::Kept(list) => Some(Arc::clone(list)),
            Home::Known(list) => list.upgrade(),
            Home::Gone => None,
        }
    }

    /// Holds the list no more. Returns what held it: to be dropped when no lock is held.
    pub(super) fn detach(&mut self) -> Home {
        let known = match self {
            Home::Kept(list) => Home::Known(Box::new(Arc::downgrade(list))),
            Home::Known(_) | Home::Gone => return Home::Gone,
        };
        std::mem::replace(self, known)
    }

    pub(super) fn take(&mut self) -> Home {
        std::mem::replace(self, Home::Gone)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Home::Kept(_) => "Kept",
            Home::Known(_) => "Known",
            Home::Gone => "Gone",
        })
    }
}
