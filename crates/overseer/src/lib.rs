//! Child processes in [`pm`]'s list: an Overseer starts them, starts them again, stops them, and leaves nothing behind.
//!
//! ```text
//! $ nc localhost 8081
//! id     status               time  pid   ready  restarts  last
//! web    running            3.0412  4711  yes    0
//! clock  waiting (backoff)  3.0409        no     2         exit code 1
//! req7   querying           0.2071
//! kill web a new one is coming
//! killing web in "running", 3.9s old
//! killed web after 0.1s in "running": SIGTERM
//! ```
//!
//! In the program:
//!
//! ```no_run
//! use pm_overseer::{Overseer, Program, Restart};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let overseer = Overseer::new();
//! overseer.add("web", Program::new("python3").args(["-m", "http.server", "8000"]))?;
//! overseer.add("clock", Program::new("./clock").restart(Restart::Always).parent("web"))?;
//!
//! pm::set_cols(pm_overseer::COLS);
//! pm::global().server().commands(overseer.commands()).spawn(":8081")?;
//!
//! overseer.supervise_all().await;       // SIGINT and SIGTERM stop them all
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! - A [`Program`] says what is to be run: command, environment, [`Output`], [`Restart`] and [`Backoff`], [`Probe`]s, the
//!   parent that it needs. [`Program::spawn`] runs it once, as a [`Child`].
//! - An [`Overseer`] keeps programs running. Its methods start and stop them; [`Status`], [`StateChanges`] and
//!   [`LogLines`] tell of them.
//! - [`commands`](commands()) are for the operator at the port of the list: `restart`, `start`, `stop`, `signal`, `logs`.
//! - [`adopt_orphans`] and [`reap_orphans`] are for a program that is the first of a container.
//!
//! "Stopped" means that nothing of a program is left: its whole process group has ended, and was reaped. docs/overseer.md
//! says how, and what differs from the Go library Overseer, which is the model.

#[cfg(not(target_os = "linux"))]
compile_error!("pm-overseer needs Linux, 5.10 or later: it watches its children by pidfds and /proc");

mod actor;
mod child;
mod commands;
mod driver;
mod error;
mod exec;
pub mod future;
mod group;
mod hub;
mod interrupts;
mod lines;
mod logs;
mod output;
mod overseer;
mod pidfd;
mod probe;
mod probing;
mod program;
mod row;
mod run;
mod shared;
mod signal;
mod sink;
mod spawner;
mod status;
mod warden;
mod watch;
mod world;

pub use child::{Child, ChildOutput};
pub use commands::commands;
pub use error::Error;
pub use hub::{adopt_orphans, reap_orphans};
pub use output::{Output, Rotation};
pub use overseer::Overseer;
pub use probe::Probe;
pub use program::{Backoff, Program, Restart};
pub use row::COLS;
pub use signal::{Signal, UnknownSignal};
pub use sink::copied;
pub use status::{LogLine, Outcome, OutputStream, Reason, State, StateChange, Status};
pub use watch::{LogLines, StateChanges};
