//! Http: the list as JSON for programs, and as a page for people. Adds `Server::{http, bind_http, spawn_http}`,
//! `ProcList::spawn_http`.
//!
//! One more face of [`Server`](crate::Server), with the same settings, roles and audit. The paths and objects are those of the
//! Go package VividCortex/pm, so clients and pages that were written for it work here; [the
//! manual](crate::_documentation::http) has each of them, with `curl`.
//!
//! A browser lets strangers send requests. What is refused to them, and why, is in the same manual.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let addr = pm::spawn_http(":8082")?; // and open http://localhost:8082/
//! # Ok(())
//! # }
//! ```
//!
//! In a server of one's own:
//!
//! ```
//! use axum::Router;
//!
//! let list = pm::ProcList::new();
//! let pm = list.server().kill_token_file("/etc/shop/pm-token").allow_host("shop.example").http();
//! let app: Router = Router::new().nest_service("/pm", pm);
//! // axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # drop(app);
//! ```

mod bind;
mod body;
mod caller;
mod commands;
mod connection;
mod done;
mod events;
mod fault;
mod feed;
mod guard;
mod metrics;
mod page;
mod procs;
#[cfg(any(test, fuzzing))]
#[allow(missing_docs)]
#[doc(hidden)]
pub mod properties;
mod query;
mod reply;
mod router;
mod service;
mod settings;
mod shared;
mod strangers;
mod target;

pub use bind::{BoundHttpServer, spawn_http};
pub use service::{HttpService, ResponseBody, ResponseFuture};
