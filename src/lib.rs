//! A processlist inside your program: `nc localhost 8081` shows every request
//! or job that is running right now, how long it has run and what it is doing,
//! and `kill <id> <why>` ends one without a restart.
//!
//! ```text
//! $ nc localhost 8081
//! id    status       time  host             method  uri
//! req1  merging   12.0418  127.0.0.1:18364  GET     /report
//! req2  querying   0.2071  127.0.0.1:55780  GET     /users/5/friends
//! kill req1 houston, we have a problem
//! killing req1 in "merging", 13.1s old
//! killed req1 after 0.1s in "merging"
//! ```
//!
//! In the program:
//!
//! ```no_run
//! # fn authenticate() {} fn query() {}
//! pm::set_cols(["host", "method", "uri"]);                // once
//! pm::spawn(":8081")?;                                    // once
//!
//! let task = pm::start("req1").col("method", "GET").col("uri", "/users/5/friends");
//! task.status("authenticating")();                        // a kill ends the task here ..
//! authenticate();
//! task.status("querying")();                              // .. or here
//! query();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! In async code the task goes along with its future, and a kill reaches every await in it:
//!
//! ```
//! # async fn import() {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let job = tokio::spawn(pm::start("import7").col("kind", "import").scope(import()));
//! if let Ok(Err(killed)) = job.await {
//!     eprintln!("{:?} {killed}", killed.id());            // the operator's reason
//! }
//! # }
//! ```
//!
//! A server that speaks tower (axum, tonic, hyper) needs one line, with the feature `axum` or `tower`:
//! `Router::new()..layer(pm::layer())`. Code below it reports by [`current`]. A program that is
//! instrumented with `tracing` needs one line too: `pm::tracing_layer()`, with the feature `tracing-layer`.
//!
//! With the feature `http`, `pm::spawn_http(":8082")` shows the same list in a browser, and as JSON to programs.
//!
//! # From one line to all of it
//!
//! 1. [`start`], [`set_cols`] and [`spawn`], as above: one list for the
//!    process, served from a thread of its own. No async runtime is needed.
//! 2. The guard that `start` returns is a [`Task`]: it is in the list until it
//!    is dropped. Its documentation says which kill point fits which code. In
//!    async code one line does it all: [`task.scope(future)`](Task::scope).
//! 3. [`ProcList`] is the list as a value: for tests, and programs with several.
//!    Its snapshots are [`Proc`]s, and [`ProcList::contents`] is just the text.
//! 4. [`ProcList::server`] sets the pace and the limits of what is served, and
//!    which clients may see and kill: users, tokens, a Unix socket;
//!    [`ProcList::serve`] takes a listener of yours, into a runtime of yours. A [`PortCommand`] adds a command
//!    of the program's own.
//!
//! # How a kill works
//!
//! A kill marks the task and wakes it. The task ends at its next kill point, or at the await where it is
//! parked, and has the operator's reason: a [`Killed`], as an error or as the payload of an unwinding. Its
//! row stays in the list until it has really ended, and the client that asked is told what became of it. A
//! program learns the same from [`request_kill`]. Code that has neither a kill point nor an await cannot be
//! stopped, by this or anything else short of ending the process.
//! [What a kill cannot do](_documentation::kill) has the list, each with the remedy.
//!
//! A program that forks after [`spawn`] has a port that is not served in the child, as no thread
//! survives a fork: spawn after daemonising, in each process.
//!
//! # Further reading
//!
//! - [The line protocol](_documentation::protocol): every byte that `nc` sees.
//! - [Requests](_documentation::requests): axum, tonic and hyper, and what a kill does to a request.
//! - HTTP, with the feature `http`: JSON for programs, a page for people; the module `http` has it.
//! - [The kill](_documentation::kill): how it works, and what it cannot do, each with the remedy.
//! - [What a kill reaches](_documentation::what_a_kill_reaches): a query in a database, a spawned task, a lock, a file,
//!   and what to write for each.
//! - `stack <id>` at the port tells where a task is parked, with the feature `stack`.
//! - [Expressions](_documentation::expressions): the manual of `where` and `kill where`.
//! - [Reliability](_documentation::reliability): what was done to break it.
//! - [The design](_documentation::design): decisions, and what was rejected.

mod access;
mod audit;
mod blocking;
mod buffer;
mod call;
mod child;
#[cfg(feature = "client")]
pub mod client;
mod clock;
mod columns;
mod current;
mod deadline;
mod drain;
mod duration;
mod entry;
mod escape;
mod finished;
mod global;
mod history;
mod hook;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod kill;
mod killed;
mod kinds;
#[cfg(feature = "tower")]
pub mod layer;
mod limits;
mod list;
mod numbers;
mod on_kill;
mod own_thread;
mod pace;
mod peer;
mod pending_kill;
mod port_command;
mod probe;
mod proc;
mod progress;
#[cfg(any(test, fuzzing))]
#[allow(missing_docs)]
#[doc(hidden)]
pub mod properties;
mod rates;
mod render;
mod request;
mod run;
mod server;
mod service;
mod session;
mod sketch;
mod slots;
#[cfg(feature = "tracing-layer")]
mod spans;
mod spare;
#[cfg(feature = "stack")]
mod stack;
#[cfg(not(feature = "stack"))]
#[path = "no_stack.rs"]
mod stack;
mod stats;
mod task;
mod timer;
mod unwinding;
mod value;
mod view;
mod wait;
mod waiters;
#[cfg(any(feature = "http", feature = "client"))]
mod wire;
mod workers;

pub use access::Role;
pub use current::{current, try_current};
pub use drain::{Drained, Left};
pub use global::{
    check, contents, done, global, kill, listen_and_serve, request_kill, set_cols, set_status, spawn, start,
    start_numbered, status, try_status,
};
#[cfg(feature = "http")]
pub use http::spawn_http;
pub use kill::Ending;
pub use killed::{KillError, Killed};
#[cfg(feature = "tower")]
pub use layer::layer;
pub use list::ProcList;
pub use on_kill::OnKill;
pub use peer::{Peer, User};
pub use pending_kill::PendingKill;
pub use port_command::{Invocation, PortCommand, Reply};
pub use proc::{Killing, Outcome, Proc, Site, Step};
pub use progress::Progress;
pub use rates::Rates;
#[cfg(unix)]
pub use server::BoundUnixServer;
pub use server::{Address, BoundServer, Server};
#[cfg(feature = "tracing-layer")]
pub use spans::{TracingLayer, tracing_layer};
pub use stats::Stats;
pub use task::{Handle, Task};
pub use unwinding::catch;

/// The futures that this crate returns, by name: for a struct that holds one.
pub mod future {
    pub use crate::blocking::SpawnBlocking;
    pub use crate::drain::{Drain, WaitIdle};
    pub use crate::pending_kill::WaitOutcome;
    pub use crate::run::{Run, Scope};
    pub use crate::wait::{WaitEnded, WaitKilled};
}

/// The longer texts, as in the folder `docs` of the project.
pub mod _documentation {
    #[doc = include_str!("../docs/protocol.md")]
    pub mod protocol {}
    #[doc = include_str!("../docs/kill.md")]
    pub mod kill {}
    #[doc = include_str!("../docs/what-a-kill-reaches.md")]
    pub mod what_a_kill_reaches {}
    #[doc = include_str!("../docs/tower.md")]
    pub mod requests {}
    #[cfg(feature = "http")]
    #[doc = include_str!("../docs/http.md")]
    pub mod http {}
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}
    #[doc = include_str!("../docs/expressions.md")]
    pub mod expressions {}
    #[doc = include_str!("../docs/reliability.md")]
    pub mod reliability {}
    #[doc = include_str!("../docs/design.md")]
    pub mod design {}
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
