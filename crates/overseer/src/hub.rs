//! Hub: the two threads that all overseers of a process share.

use std::sync::mpsc::Sender;
use std::sync::{Arc, LazyLock};
use std::thread::ThreadId;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};

use crate::group::Scanner;
use crate::spawner::{self, Request};

/// The pace at which zombies are looked for, at most.
const ORPHANS: Duration = Duration::from_millis(100);

pub(crate) struct Hub {
    /// Runs the actors, on a thread of its own that never blocks. What may block there, files, has threads of its own.
    pub(crate) runtime: Handle,
    pub(crate) scanner: Arc<Scanner>,
    spawner: Sender<Request>,
    actors: ThreadId,
}

static HUB: LazyLock<Hub> = LazyLock::new(|| Hub::start().expect("the system has threads for child processes"));

pub(crate) fn hub() -> &'static Hub {
    &HUB
}

impl Hub {
    fn start() -> std::io::Result<Self> {
        // A pipe whose reader has gone is an error of that output. It does not end a program that has SIGPIPE as it is by
        // default.
        let no_sigpipe = || _ = SigSet::from(Signal::SIGPIPE).thread_block();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("pm-output")
            .max_blocking_threads(512)
            .on_thread_start(no_sigpipe)
            .build()?;
        let scanner = Arc::new(Scanner::default());
        let handle = runtime.handle().clone();
        let run = Arc::clone(&scanner).run();
        let thread = std::thread::Builder::new().name("pm-actors".into()).spawn(move || runtime.block_on(run))?;
        Ok(Hub { runtime: handle, scanner, spawner: spawner::spawn()?, actors: thread.thread().id() })
    }

    pub(crate) fn ask(&self, request: Request) {
        let _ = self.spawner.send(request);
    }

    /// Whether this is the thread that nothing may block.
    pub(crate) fn is_here(&self) -> bool {
        std::thread::current().id() == self.actors
    }
}

/// Reaps every child of this process that ends and that no overseer has started: in a program whose children are all
/// started by overseers, and that is PID 1, or adopts what its children leave behind ([`adopt_orphans`]). A status that
/// some other code of this program waits for would be lost to it.
///
/// SIGCHLD is caught from then on, also where it was ignored, which would lose every status.
///
/// # Errors
///
/// SIGCHLD cannot be caught.
pub fn reap_orphans() -> std::io::Result<()> {
    static REAPS: std::sync::Once = std::sync::Once::new();
    let hub = hub();
    let mut children = {
        let _runtime = hub.runtime.enter();
        signal(SignalKind::child())?
    };
    REAPS.call_once(|| {
        hub.runtime.spawn(async move {
            hub.ask(Request::ReapOrphans);
            while children.recv().await.is_some() {
                tokio::time::sleep(ORPHANS).await;
                hub.ask(Request::ReapOrphans);
            }
        });
    });
    Ok(())
}

/// Makes this process the parent of what its children leave behind (the subreaper of Linux), and [reaps](reap_orphans)
/// that.
///
/// # Errors
///
/// The system refuses it.
pub fn adopt_orphans() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    reap_orphans()
}
