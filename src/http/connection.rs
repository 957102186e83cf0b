//! Connection: one client over a stream, served by hyper.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tower_service::Service as _;

use crate::access::Admitted;
use crate::http::caller::Connected;
use crate::http::fault::Fault;
use crate::http::guard;
use crate::http::service::HttpService;
use crate::server::accept::{Protocol, Refusal, Stream};
use crate::service::{Present, Service};

/// How long the headers of a request may take, and how long a connection may be idle before them.
const HEADERS: Duration = Duration::from_secs(10);

/// Where a token is set, a connection that has not shown one by then is closed: strangers hold no place for longer.
const TOKEN_WITHIN: Duration = Duration::from_secs(10);

/// A client that takes nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client that is turned away has to ask for something, and to take the answer.
const REFUSAL: Duration = Duration::from_secs(2);

/// What of a request is buffered, at most: its head must fit into it.
const BUFFER: usize = 32 * 1024;

/// HTTP/1.
pub(super) struct Connections {
    pub(super) http: HttpService,
    pub(super) service: Arc<Service>,
}

impl Protocol for Connections {
    fn service(&self) -> &Arc<Service> {
        &self.service
    }

    fn serve(&self, stream: impl Stream, admitted: Admitted) -> impl Future<Output = ()> + Send + 'static {
        let (present, client) = (Present::of(&self.service), self.service.renderer.client());
        let is_known = Arc::new(AtomicBool::new(!self.service.access.tokens.are_set()));
        let (peer, known) = (admitted.peer, Arc::clone(&is_known));
        let connected = Connected { role: admitted.role, peer, client, is_known };
        let http = self.http.clone();
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(PATIENCE));
        async move {
            let respond = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(connected.clone());
                http.clone().call(request)
            });
            let mut connection = pin!(builder().serve_connection(TokioIo::new(Box::pin(stream)), respond));
            // A connection that fails has a client that knows.
            if timeout(TOKEN_WITHIN, &mut connection).await.is_err() && known.load(Ordering::Relaxed) {
                _ = connection.await;
            }
            drop(present);
        }
    }

    fn refuse(&self, stream: impl Stream, refusal: Refusal) -> impl Future<Output = ()> + Send + 'static {
        turn_away(stream, refusal)
    }
}

async fn turn_away(stream: impl Stream, refusal: Refusal) {
    let respond = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(refused(&refusal))));
    let mut builder = builder();
    let connection = builder.keep_alive(false).serve_connection(TokioIo::new(Box::pin(stream)), respond);
    _ = timeout(REFUSAL, connection).await;
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(BUFFER);
    builder
}

fn refused(refusal: &Refusal) -> Response<axum::body::Body> {
    let status = match refusal {
        Refusal::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
    };
    let mut response = Fault::new(status, refusal.to_string()).into_response();
    guard::harden(response.headers_mut());
    response
}
