//! A processlist inside your program.
mod command;
mod entry;
mod escape;
mod frame;
mod global;
mod history;
mod kill;
mod killed;
mod line;
mod list;
mod outbox;
mod proc;
mod run;
mod server;
mod session;
mod table;
mod task;

pub use global::{contents, done, global, kill, listen_and_serve, set_cols, set_status, spawn, start, status};
pub use killed::{KillError, Killed, catch};
pub use list::ProcList;
pub use proc::{Killing, Outcome, Proc, Step};
pub use server::{Address, BoundServer, Server};
pub use task::{Handle, Task};
