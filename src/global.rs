//! The process-wide list: what the free functions work on.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;

use crate::killed::{KillError, Killed};
use crate::list::ProcList;
use crate::pending_kill::PendingKill;
use crate::proc::Proc;
use crate::server::Address;
use crate::task::Task;

static GLOBAL: LazyLock<ProcList> = LazyLock::new(ProcList::new);

/// The process-wide list, on which the free functions of this crate work.
pub fn global() -> &'static ProcList {
    &GLOBAL
}

/// [`ProcList::set_cols`] of the [global] list.
pub fn set_cols(names: impl IntoIterator<Item: AsRef<str>>) {
    global().set_cols(names);
}

/// [`ProcList::start`] on the [global] list.
pub fn start(id: impl Into<String>) -> Task {
    global().start(id)
}

/// [`ProcList::start_numbered`] on the [global] list.
pub fn start_numbered(prefix: &str) -> Task {
    global().start_numbered(prefix)
}

/// [`ProcList::status`] on the [global] list.
#[track_caller]
pub fn status<S: Into<Cow<'static, str>>>(id: &str, status: S) -> impl FnOnce() + use<S> {
    global().status(id, status)
}

/// [`ProcList::set_status`] on the [global] list.
#[track_caller]
pub fn set_status(id: &str, status: impl Into<Cow<'static, str>>) {
    global().set_status(id, status);
}

/// [`ProcList::try_status`] on the [global] list.
///
/// # Errors
///
/// Those of that method.
#[track_caller]
pub fn try_status(id: &str, status: impl Into<Cow<'static, str>>) -> Result<(), Killed> {
    global().try_status(id, status)
}

/// [`ProcList::check`] on the [global] list.
///
/// # Errors
///
/// Those of that method.
#[track_caller]
pub fn check(id: &str) -> Result<(), Killed> {
    global().check(id)
}

/// [`ProcList::done`] on the [global] list.
pub fn done(id: &str) -> Option<Proc> {
    global().done(id)
}

/// [`ProcList::kill`] on the [global] list.
///
/// # Errors
///
/// Those of that method.
pub fn kill(id: &str, message: impl Into<String>) -> Result<(), KillError> {
    global().kill(id, message)
}

/// [`ProcList::request_kill`] on the [global] list.
///
/// # Errors
///
/// Those of that method.
pub fn request_kill(id: &str, message: impl Into<String>) -> Result<PendingKill, KillError> {
    global().request_kill(id, message)
}

/// [`ProcList::contents`] of the [global] list.
pub fn contents() -> String {
    global().contents()
}

/// [`ProcList::spawn`] of the [global] list.
///
/// # Errors
///
/// Those of that method.
pub fn spawn(addr: impl Into<Address>) -> io::Result<SocketAddr> {
    global().spawn(addr)
}

/// [`ProcList::listen_and_serve`] of the [global] list.
///
/// # Errors
///
/// Those of that method.
pub async fn listen_and_serve(addr: impl Into<Address>) -> io::Result<Infallible> {
    global().listen_and_serve(addr).await
}
