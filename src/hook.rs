//! Hook: a call that is made once, when a task is being killed, unless it was taken back before.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::kill::Kill;
use crate::proc::Killing;
use crate::unwinding::contain;
use crate::workers;

/// What the program wants to have called.
pub(crate) type Call = Box<dyn FnOnce(&Killing) + Send>;

/// A call that was registered.
pub(crate) struct Hook {
    stage: Mutex<Stage>,
    is_over: Condvar,
}

enum Stage {
    Waiting(Call),
    /// The kill has come, and somebody is about to make the call.
    Due(Call, Arc<Kill>),
    /// By this thread.
    Running(ThreadId),
    /// It was made or taken back.
    Over,
}

impl Hook {
    pub(crate) fn new(call: Call) -> Arc<Self> {
        Arc::new(Hook { stage: Mutex::new(Stage::Waiting(call)), is_over: Condvar::new() })
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the call made, on a thread of ours.
    pub(crate) fn call(self: Arc<Self>, kill: Arc<Kill>) {
        if self.is_due(kill) {
            workers::run(Box::new(move || self.run(true)));
        }
    }

    /// The kill has come: the call can be taken back no more. Returns whether it was only waiting.
    pub(crate) fn is_due(&self, kill: Arc<Kill>) -> bool {
        let mut stage = self.stage();
        match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(call) => {
                *stage = Stage::Due(call, kill);
                true
            }
            later => {
                *stage = later;
                false
            }
        }
    }

    /// Makes the call, if it is due. When the guard is being dropped, what it interrupts may be over: then the call `counts`
    /// not as what ends the task.
    fn run(&self, counts: bool) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Due(..)) {
            return;
        }
        let Stage::Due(call, kill) = std::mem::replace(&mut *stage, Stage::Running(thread::current().id())) else {
            return;
        };
        drop(stage);
        if counts {
            kill.set_called();
        }
        let killing =
            Killing { message: kill.message.clone(), by: kill.by.as_deref().cloned(), since: kill.at.elapsed() };
        contain(|| call(&killing));
        *self.stage() = Stage::Over;
        self.is_over.notify_all();
    }

    /// Until the call has been made.
    fn wait(&self) {
        let is_not_over = |stage: &mut Stage| !matches!(stage, Stage::Over);
        drop(self.is_over.wait_while(self.stage(), is_not_over));
    }

    /// Takes the call back, if the kill has not come. One that is due or being made is waited for, but by itself.
    pub(crate) fn take_back(&self) {
        let mut stage = self.stage();
        match &*stage {
            // All of our threads may be busy, for ever: a thread of its own makes it. Not this one, which may be a runtime's.
            Stage::Due(..) => {
                drop(stage);
                let is_made = thread::scope(|scope| {
                    let thread = thread::Builder::new().name("pm-on-kill".to_string());
                    thread.spawn_scoped(scope, || self.run(false)).map(|thread| _ = thread.join()).is_ok()
                });
                if !is_made {
                    self.run(false);
                }
                self.wait();
            }
            Stage::Waiting(_) => {
                let call = std::mem::replace(&mut *stage, Stage::Over);
                drop(stage);
                // What it has captured is the program's.
                contain(|| drop(call));
            }
            Stage::Running(by) if *by == thread::current().id() => {}
            Stage::Running(_) => {
                drop(stage);
                self.wait();
            }
            Stage::Over => {}
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}
