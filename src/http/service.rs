//! HttpService: the list over HTTP, as a service of tower.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service as TowerService;

use crate::access::PeerLookup;
use crate::http::router;
use crate::http::shared::Http;
use crate::server::Server;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A list over HTTP: a service of tower, to nest in a server of one's own.
///
/// [`Server::http`] makes it. Where it is nested, everything is `403` unless there is a
/// [token](Server::see_token) and the peer is known by axum's
/// [`ConnectInfo`](axum::extract::ConnectInfo): the user at the other end is never looked up there. The host name
/// of that server must be [allowed](Server::allow_host).
///
/// A clone is the same service. It must be called in a tokio runtime, with timers.
#[derive(Clone)]
pub struct HttpService {
    router: Router,
    pub(super) http: Arc<Http>,
}

impl Server {
    /// This server as a service of tower, over HTTP: `Router::new().nest_service("/pm", list.server()..http())`.
    ///
    /// If what is set cannot be served, for example a token that nobody can type, each request is answered with
    /// `500` and the reason; [`bind_http`](Self::bind_http) fails with it.
    pub fn http(self) -> HttpService {
        let fault = self.check_http().err().map(|error| error.to_string());
        HttpService::new(self, PeerLookup::open(), fault)
    }
}

impl HttpService {
    pub(super) fn new(server: Server, lookup: PeerLookup, fault: Option<String>) -> Self {
        let http = Arc::new(Http::new(server, lookup, fault));
        HttpService { router: router::new(Arc::clone(&http)), http }
    }
}

#[cfg(any(test, fuzzing))]
impl HttpService {
    /// A request as if it came over a connection from a client of this role.
    pub(crate) fn as_if_from<B>(&self, mut request: Request<B>, role: crate::access::Role) -> Request<B> {
        let peer = Arc::new(crate::peer::Peer { user: None, address: None });
        let client = self.http.service.renderer.client();
        request.extensions_mut().insert(crate::http::caller::Connected {
            role: Some(role),
            peer,
            client,
            is_known: Arc::default(),
        });
        request
    }
}

impl<B> TowerService<Request<B>> for HttpService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        ResponseFuture(self.router.call(request.map(axum::body::Body::new)))
    }
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("list", &self.http.service.list).finish_non_exhaustive()
    }
}

/// The future of [`HttpService`].
#[must_use = "futures do nothing unless they are polled"]
pub struct ResponseFuture(RouteFuture<Infallible>);

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(response.map(|response| response.map(ResponseBody)))
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

/// The body of an answer of [`HttpService`].
#[derive(Debug)]
pub struct ResponseBody(axum::body::Body);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
