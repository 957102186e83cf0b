//! The client: what it has asked for, and that it has gone.

use std::panic::Location;
use std::sync::Arc;

use super::settings::Settings;
use crate::task::Task;
use crate::unwinding;

/// The note of a task whose client did not wait for its end.
const GONE: &str = "client went away";

/// What decides how a request is answered.
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) is_connect: bool,
    pub(super) is_grpc: bool,
    pub(super) settings: Option<Arc<Settings>>,
    /// The call of `layer()`.
    pub(super) location: &'static Location<'static>,
}

/// Ends the task of a request that nobody waits for any more.
#[cold]
pub(super) fn give_up(task: Task) {
    if unwinding::is_under_way() {
        drop(task);
    } else {
        task.done_with(GONE);
    }
}
