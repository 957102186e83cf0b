//! Overseer: the programs that are supervised together.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use pm::ProcList;

use crate::actor::Event;
use crate::driver;
use crate::error::Error;
use crate::future::{AllStopped, Restarted, Stopped, Supervise, SuperviseAll};
use crate::hub::hub;
use crate::program::Program;
use crate::shared::{Core, Shared};
use crate::signal::Signal;
use crate::status::{Outcome, Reason, Status};
use crate::watch::{LogLines, StateChanges};

/// How long the drop of the last clone waits.
const FAREWELL: Duration = Duration::from_secs(2);

/// Programs that are supervised together: started, watched, started again, stopped, and shown as rows of a list.
///
/// It is a handle, cheap to clone. **When the last clone is dropped, what still runs is killed**, and waited for, 2 s at
/// most. [`commands`](crate::commands()) and the streams do not count as clones.
///
/// No method needs an async runtime, and none blocks: all overseers of a process share two threads of their own. So
/// children are stopped, and killed by an operator, also while the program's own runtime is blocked.
///
/// # Requests
///
/// [`stop`](Self::stop), [`kill`](Self::kill) and [`restart`](Self::restart) take effect when they are called. The future
/// that they return only waits; dropping it changes nothing.
///
/// # Examples
///
/// ```
/// use pm_overseer::{Overseer, Program, Reason};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pm_overseer::Error> {
/// let overseer = Overseer::new();                  // its rows appear in pm::global()
/// overseer.add("hello", Program::new("echo").args(["hello"]))?;
///
/// let outcome = overseer.supervise("hello").await?;
/// assert_eq!((outcome.exit_code, outcome.reason), (Some(0), Reason::Finished));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Overseer {
    owner: Arc<Owner>,
}

/// What the clones share. Its drop is that of the last one.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (done, is_done) = sync_channel(1);
        self.shared.close(done);
        // On the thread that does the work, to wait for it would be to wait for ever.
        if !hub().is_here() {
            let _ = is_done.recv_timeout(FAREWELL);
        }
    }
}

impl Overseer {
    /// An overseer whose rows appear in [`pm::global`].
    ///
    /// # Panics
    ///
    /// The first one of a process does, if the system has no more threads.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Overseer::with_list(pm::global())
    }

    /// An overseer whose rows appear in this list.
    pub fn with_list(list: &ProcList) -> Self {
        Overseer::of(Some(list.clone()))
    }

    /// One that has no rows, for a single run.
    pub(crate) fn of(list: Option<ProcList>) -> Self {
        let shared = Shared::new(list);
        driver::spawn(Arc::clone(&shared));
        Overseer { owner: Arc::new(Owner { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Adds a program, and does not start it, unless [all are supervised](Self::supervise_all).
    ///
    /// # Errors
    ///
    /// The id is taken, by another program or by a task in the list, or is none; the program is empty; its parent is not
    /// there; one of its probes can never succeed.
    pub fn add(&self, id: impl AsRef<str>, program: Program) -> Result<(), Error> {
        let id = id.as_ref();
        if id.is_empty() || id.len() > 256 {
            return Err(Error::InvalidId { id: id.chars().take(80).collect() });
        }
        program.check(id)?;
        let is_listed = || self.shared().list.as_ref().is_some_and(|list| list.get(id).is_some());
        if is_listed() {
            return Err(Error::Taken { id: id.to_string() });
        }
        self.shared().with(|core| core.add(id, program, false))
    }

    /// Removes a program that is not supervised.
    ///
    /// # Errors
    ///
    /// It is not there, is supervised (which it is in its backoff too, until its supervision has ended), or is the parent
    /// of others.
    pub fn remove(&self, id: impl AsRef<str>) -> Result<(), Error> {
        self.shared().with(|core| core.remove(id.as_ref()))
    }

    /// Runs a program, again and again by its policy, until its supervision ends.
    ///
    /// It begins when the future is first polled. A program that has a parent waits for it.
    ///
    /// # Errors
    ///
    /// It is not there, or is supervised already.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the program, as [`stop`](Self::stop) does.
    pub fn supervise(&self, id: impl Into<String>) -> Supervise {
        Supervise::new(self.shared(), id.into())
    }

    /// Runs all programs, those too that are added meanwhile, until nothing is left to be done: each has ended, or waits
    /// for a parent that does not run.
    ///
    /// While it runs, SIGINT and SIGTERM stop all of them, and a second one kills at once what is left; the program lives
    /// on. Then they do what they did before. [`.signals(false)`](SuperviseAll::signals) leaves them alone.
    ///
    /// It begins when the future is first polled. If somebody supervises all of them already, it is ready at once. It may be called again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops them all.
    ///
    /// ```
    /// use pm_overseer::{Overseer, Program};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pm_overseer::Error> {
    /// let overseer = Overseer::new();
    /// overseer.add("one", Program::new("true"))?;
    /// overseer.add("two", Program::new("sleep").args(["0.1"]))?;
    /// overseer.supervise_all().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn supervise_all(&self) -> SuperviseAll {
        SuperviseAll::new(self.shared())
    }

    /// Supervises a program in the background. One that is supervised already is left as it is; one that is being stopped
    /// begins anew when that is done.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn start(&self, id: impl AsRef<str>) -> Result<(), Error> {
        self.request(id.as_ref(), Event::Start)
    }

    /// Stops a program and starts it again, whatever its policy says: first what depends on it is stopped. An idle one is
    /// started. It cuts a backoff short, and begins its count anew.
    ///
    /// Ready when the new run is ready, or over: the status tells.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn restart(&self, id: impl AsRef<str>) -> Restarted {
        Restarted::ask(self.shared(), id.as_ref())
    }

    /// Ends the supervision of a program: first what depends on it is stopped; then it gets TERM (and CONT), and after
    /// its [grace](Program::grace) KILL, with its whole process group. What depends on it waits for it from then on.
    ///
    /// Ready when nothing of it is left, or when that cannot be had ([`Outcome::left`]). An idle one is left as it is,
    /// and its last outcome is returned.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn stop(&self, id: impl AsRef<str>) -> Stopped {
        Stopped::ask(self.shared(), id.as_ref(), Event::Stop(Reason::Stopped))
    }

    /// [`stop`](Self::stop), with KILL at once.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn kill(&self, id: impl AsRef<str>) -> Stopped {
        Stopped::ask(self.shared(), id.as_ref(), Event::Kill)
    }

    /// Stops all that are supervised: what depends on others first.
    pub fn stop_all(&self) -> AllStopped {
        self.end_all(Core::stop_all)
    }

    /// Kills all that are supervised.
    pub fn kill_all(&self) -> AllStopped {
        self.end_all(Core::kill_all)
    }

    /// Sends a signal to a program, with its whole process group. That is no stop: if it dies of it, it has failed, and
    /// its policy decides. Nothing is sent to an idle one.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn signal(&self, id: impl AsRef<str>, signal: Signal) -> Result<(), Error> {
        self.request(id.as_ref(), Event::Signal(signal))
    }

    /// What is known of a program. `None` if it is not there.
    pub fn status(&self, id: impl AsRef<str>) -> Option<Status> {
        self.shared().look(|core| core.status(id.as_ref()))
    }

    /// What is known of all of them, by id.
    pub fn list(&self) -> Vec<Status> {
        self.shared().look(|core| core.world.nodes().filter_map(|(id, _)| core.status(id)).collect())
    }

    /// Whether it has been added, and not removed.
    pub fn contains(&self, id: impl AsRef<str>) -> bool {
        self.shared().look(|core| core.world.node(id.as_ref()).is_ok())
    }

    /// How the last supervision of a program ended. `None` if there was none.
    pub fn last_outcome(&self, id: impl AsRef<str>) -> Option<Outcome> {
        self.shared().look(|core| core.last(id.as_ref()))
    }

    /// The last lines that a program has printed, on both outputs, oldest first: 256 of each at most, from all its runs.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn last_lines(&self, id: impl AsRef<str>, lines: usize) -> Result<Vec<String>, Error> {
        let id = id.as_ref();
        let logs = self.shared().look(|core| core.logs_of(id));
        logs.map(|logs| logs.last(lines)).ok_or_else(|| Error::Unknown { id: id.to_string() })
    }

    /// Every change of a state from now on, of a process that lives a millisecond too.
    pub fn watch_state(&self) -> StateChanges {
        StateChanges::of(&self.shared().states)
    }

    /// Every line that is printed from now on.
    pub fn watch_logs(&self) -> LogLines {
        LogLines::of(&self.shared().logs)
    }

    /// Opens all files of output anew: something has moved them. No line is lost.
    pub fn reopen_logs(&self) {
        for logs in self.shared().look(Core::all_logs) {
            logs.reopen();
        }
    }

    fn request(&self, id: &str, event: Event) -> Result<(), Error> {
        self.shared().with(|core| {
            core.check(id)?;
            core.step(id, event);
            Ok(())
        })
    }

    fn end_all(&self, end: fn(&mut Core)) -> AllStopped {
        let waiting = self.shared().with(|core| {
            let ids: Vec<_> = core.world.nodes().map(|(id, _)| Arc::clone(id)).collect();
            let waiting = ids.iter().filter_map(|id| core.until_ended(id)).collect();
            end(core);
            waiting
        });
        AllStopped::new(waiting)
    }
}

impl fmt::Debug for Overseer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> =
            self.list().into_iter().map(|status| format!("{} ({})", status.id, status.state)).collect();
        f.debug_struct("Overseer").field("programs", &ids).finish()
    }
}
