//! The layer, and its settings as a user names them.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Response};
use http_body::Body;
use tower_layer::Layer;

use super::BoxError;
use super::service::ProcListService;
use super::settings::{Id, Settings};
use crate::killed::Killed;
use crate::list::ProcList;
use crate::task::Handle;

/// Makes each request of a server a task of the [global](crate::global) list: a layer for axum, tonic,
/// hyper, and all else that speaks tower.
///
/// ```
/// # #[cfg(feature = "axum")]
/// # fn serve() {
/// use axum::{Router, routing::get};
///
/// async fn report() -> String {
///     pm::current().set_status("querying");   // the task of this request
///     // .. a kill ends it at any await
///     "done".to_string()
/// }
///
/// let app: Router = Router::new().route("/report", get(report)).layer(pm::layer());
/// # }
/// ```
///
/// A request is in the list until its response body has been handed to the connection, or dropped. While the body
/// is sent, its status is `streaming`. Its id is `req1`, `req2`, .., unique and not gapless.
///
/// # Columns
///
/// | column | holds |
/// |---|---|
/// | `host` | the peer: what [`peer`](ProcListLayer::peer) says; with the feature `axum` the address from `ConnectInfo<SocketAddr>`; else the Host header |
/// | `method` | the method |
/// | `uri` | the path; with its query only if [`show_query`](ProcListLayer::show_query) says so, because queries hold secrets |
/// | `route` | with the feature `axum`: the route that matched, `/users/{id}`. Not printed unless [named](crate::set_cols) |
///
/// The first three are printed if no columns have been named.
///
/// # When a request is killed
///
/// The kill reaches it where it is parked, and at each kill point below. Its future is dropped, and the
/// client gets `503 Service Unavailable` with `process killed` as its text, or what [`on_kill`](ProcListLayer::on_kill)
/// says; a gRPC client gets the status `UNAVAILABLE`. A response that is ready in the same moment is sent. While the body is sent, the kill ends it with an error, so that
/// the client does not take it for whole: at its next poll, and hyper does not poll while a client that
/// does not read blocks the connection. A time limit on writes is what helps there.
///
/// Any other panic passes through, and the task has panicked.
///
/// # When the client goes away
///
/// The task has ended, with the note `client went away`. Whoever else drops the future of a request before it is
/// ready reads the same: let this be the outermost layer, the last one that is added to a `Router`.
///
/// # What outlives the response
///
/// A websocket goes on when its response is over, and so does work that is spawned. Take another guard:
/// [`pm::current().keep()`](Handle::keep) before the upgrade, and `task.run(..)` inside.
///
/// The manual, with axum, tonic and hyper: [Requests](crate::_documentation::requests).
#[track_caller]
pub fn layer() -> ProcListLayer {
    ProcListLayer { settings: None, location: Location::caller() }
}

/// The layer that [`layer()`](crate::layer()) returns, and its settings.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is added to a service"]
pub struct ProcListLayer {
    /// None as long as all is as usual: then requests share nothing.
    settings: Option<Arc<Settings>>,
    /// The call of `layer()`, for [`Killed::location`].
    location: &'static Location<'static>,
}

impl ProcListLayer {
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(self.settings.get_or_insert_default()));
        self
    }

    /// Lists the requests in `list` instead of the global one.
    pub fn list(self, list: &ProcList) -> Self {
        self.set(|settings| settings.list = Some(list.clone()))
    }

    /// Says who has sent a request, for the column `host`. `None`: as usual.
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// // Behind a proxy that is trusted.
    /// let layer = pm::layer().peer(|parts| parts.headers.get("x-forwarded-for")?.to_str().ok().map(String::from));
    /// // What a server of one's own has put into the request.
    /// let layer = pm::layer().peer(|parts| parts.extensions.get::<SocketAddr>().copied());
    /// ```
    pub fn peer<P: fmt::Display>(self, peer: impl Fn(&Parts) -> Option<P> + Send + Sync + 'static) -> Self {
        let peer = move |parts: &Parts| peer(parts).map(|peer| peer.to_string());
        self.set(|settings| settings.peer = Some(Arc::new(peer)))
    }

    /// Sets more columns, [secret ones](Handle::set_secret_col) too. It is called before the request is handled, and
    /// costs each request some 20 ns for its `Parts`.
    ///
    /// ```
    /// let layer = pm::layer().columns(|parts, task| {
    ///     if let Some(user) = parts.headers.get("x-user").and_then(|user| user.to_str().ok()) {
    ///         task.set_secret_col("user", user);
    ///     }
    /// });
    /// ```
    pub fn columns(self, columns: impl Fn(&Parts, &Handle) + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.columns = Some(Arc::new(columns)))
    }

    /// Takes the id from this header of the request, if it has at most 64 letters, digits and `-_.:=`; else it is
    /// `req1`, `req2`, .. as usual.
    ///
    /// Clients choose it, so an operator may see one id twice: the second is listed as `id+2`.
    ///
    /// # Panics
    ///
    /// If `header` is no name of a header.
    ///
    /// ```
    /// let layer = pm::layer().request_id("x-request-id");
    /// ```
    pub fn request_id(self, header: &str) -> Self {
        let Ok(header) = HeaderName::from_bytes(header.as_bytes()) else {
            panic!("request_id: {header:?} is no name of a header");
        };
        self.set(|settings| settings.id = Id::Header(header))
    }

    /// Makes the id. It replaces [`request_id`](Self::request_id).
    ///
    /// ```
    /// let layer = pm::layer().id(|parts| format!("{}-{}", parts.method, parts.uri.path().len()));
    /// ```
    pub fn id<I: Into<String>>(self, id: impl Fn(&Parts) -> I + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.id = Id::Made(Arc::new(move |parts| id(parts).into())))
    }

    /// Lists only the requests for which `filter` returns true. The others pass through, and have no task.
    ///
    /// ```
    /// let layer = pm::layer().filter(|parts| parts.uri.path() != "/health");
    /// ```
    pub fn filter(self, filter: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.filter = Some(Arc::new(filter)))
    }

    /// Whether the column `uri` has the query, which may hold secrets. No, unless changed.
    pub fn show_query(self, yes: bool) -> Self {
        self.set(|settings| settings.show_query = yes)
    }

    /// Whether the client of a killed request is told the operator's message: `process killed: "too slow"`. No, unless
    /// changed.
    pub fn show_message(self, yes: bool) -> Self {
        self.set(|settings| settings.show_message = yes)
    }

    /// Makes the response to the client of a killed request, in the error format of the program's API, instead
    /// of the 503. For a gRPC request, too.
    ///
    /// What it needs to know of the request is in the columns; the task is the [current](crate::current) one.
    ///
    /// It is called once for each request that a kill has cut off, also for one whose body was being sent: then its
    /// response goes nowhere. So it is the place to log the kill. A handler that saw the kill and answered, and work
    /// that has [a guard of its own](Handle::keep), have the [`Killed`] themselves.
    ///
    /// If it unwinds by a kill point, the client gets the usual answer.
    ///
    /// ```
    /// let layer = pm::layer().on_kill(|killed, task| {
    ///     eprintln!("{:?} {killed}", task.id());
    ///     let mut response = http::Response::new(r#"{"error":"killed"}"#.to_string());
    ///     *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    ///     response
    /// });
    /// ```
    pub fn on_kill<B>(self, respond: impl Fn(&Killed, &Handle) -> Response<B> + Send + Sync + 'static) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let respond = move |killed: &Killed, task: &Handle| respond(killed, task).map(super::boxed);
        self.set(|settings| settings.on_kill = Some(Arc::new(respond)))
    }
}

impl<S> Layer<S> for ProcListLayer {
    type Service = ProcListService<S>;

    fn layer(&self, inner: S) -> ProcListService<S> {
        ProcListService::new(inner, self.settings.clone(), self.location)
    }
}

impl fmt::Debug for ProcListLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcListLayer").finish_non_exhaustive()
    }
}
