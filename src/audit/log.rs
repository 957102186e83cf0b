//! Log: kills as events of `tracing`, under the target `pm::audit`.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use crate::audit;
use crate::killed::Kill;

/// Waits for the outcomes of kills, also of those whose client has left.
#[derive(Default)]
pub(super) struct Log {
    following: Mutex<JoinSet<()>>,
}

impl Log {
    /// An event now, because a kill may never come to its end, and one with the outcome.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(super) fn follow(&self, kill: &Arc<Kill>) {
        let kill = Arc::clone(kill);
        let by = kill.by.as_deref().unwrap_or_default();
        tracing::info!(target: "pm::audit", peer = by, victim = kill.id, reason = kill.message, "kill requested");
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        while following.join_next().now_or_never().flatten().is_some() {}
        following.spawn(async move {
            let ending = kill.wait().await;
            let (by, outcome) = (kill.by.as_deref().unwrap_or_default(), audit::name(ending.outcome));
            tracing::info!(
                target: "pm::audit",
                peer = by, victim = kill.id, reason = kill.message, outcome, seconds = ending.after.as_secs_f64(),
                "kill ended"
            );
        });
    }
}
