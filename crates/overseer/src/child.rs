//! Child: one run of a program, without supervision.

use std::sync::Arc;

use crate::error::Error;
use crate::future::Stopped;
use crate::overseer::Overseer;
use crate::program::{Program, Restart};
use crate::signal::Signal;
use crate::status::{Outcome, Status};

/// One run of a program, by [`Program::spawn`]. It has no row, and is not started again.
///
/// When it is dropped, what still runs is killed, and waited for, 2 s at most.
///
/// ```
/// use pm_overseer::Program;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pm_overseer::Error> {
/// let output = Program::new("sh").args(["-c", "echo hello; exit 3"]).spawn()?.wait_with_output().await?;
/// assert_eq!(output.stdout, b"hello\n");
/// assert_eq!(output.outcome.exit_code, Some(3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child {
    overseer: Overseer,
    id: String,
}

/// What a run has printed, all of it, and how it ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildOutput {
    /// How it ended.
    pub outcome: Outcome,
    /// All of its standard output, if that was piped.
    pub stdout: Vec<u8>,
    /// All of its errors, if these were piped.
    pub stderr: Vec<u8>,
}

impl Program {
    /// Runs it once, in the background. What it prints is kept in memory until it is
    /// [taken](Child::wait_with_output), so a program that prints without end should have an
    /// [`Output::Null`](crate::Output::Null) or a file.
    ///
    /// # Errors
    ///
    /// It is empty, has a parent, or a probe that can never succeed. That it cannot be started is told by
    /// [`wait`](Child::wait): [`Outcome::error`].
    pub fn spawn(self) -> Result<Child, Error> {
        let id = self.command.clone();
        self.check(&id)?;
        let overseer = Overseer::of(None);
        let program = self.restart(Restart::Never);
        overseer.shared().with(|core| {
            core.add(&id, program, true)?;
            core.step(&id, crate::actor::Event::Start);
            Ok(())
        })?;
        Ok(Child { overseer, id })
    }
}

impl Child {
    /// What is known of it.
    pub fn status(&self) -> Status {
        self.overseer.status(&self.id).expect("a child is never removed")
    }

    /// Ends it: [`Overseer::stop`].
    pub fn stop(&self) -> Stopped {
        self.overseer.stop(&self.id)
    }

    /// Ends it with KILL: [`Overseer::kill`].
    pub fn kill(&self) -> Stopped {
        self.overseer.kill(&self.id)
    }

    /// Sends it a signal: [`Overseer::signal`].
    pub fn signal(&self, signal: Signal) {
        let _ = self.overseer.signal(&self.id, signal);
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// None while it is there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait(&self) -> Result<Outcome, Error> {
        let shared = Arc::clone(self.overseer.shared());
        let (last, ended) = shared.with(|core| (core.last(&self.id), core.until_ended(&self.id)));
        match ended {
            Some(ended) => ended.await.map_err(|_| Error::Closed { id: self.id.clone() }),
            None => last.ok_or_else(|| Error::Closed { id: self.id.clone() }),
        }
    }

    /// Waits for its end, and takes all that it has printed.
    ///
    /// # Errors
    ///
    /// None while it is there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops, and so kills, the child.
    pub async fn wait_with_output(self) -> Result<ChildOutput, Error> {
        let outcome = self.wait().await?;
        let logs = self.overseer.shared().look(|core| core.logs_of(&self.id));
        let [stdout, stderr] = logs.map(|logs| logs.take_captured()).unwrap_or_default();
        Ok(ChildOutput { outcome, stdout, stderr })
    }
}
