//! The layer in tonic, over a real socket.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use pm::{Outcome, Proc, ProcList};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, body::Body};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer, Service};

/// What parks before the service is reached, for `Check`.
#[derive(Clone)]
struct Park;

#[derive(Clone)]
struct Parked<S>(S);

impl<S> Layer<S> for Park {
    type Service = Parked<S>;

    fn layer(&self, inner: S) -> Parked<S> {
        Parked(inner)
    }
}

impl<S> Service<Request<Body>> for Parked<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Future: Send + 'static>,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().ends_with("/Watch") {
            return Box::pin(self.0.call(request));
        }
        Box::pin(async {
            pm::current().set_status("parked");
            std::future::pending().await
        })
    }
}

async fn serve(list: &ProcList) -> HealthClient<Channel> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("orders", ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = |parts: &http::request::Parts| parts.extensions.get::<TcpConnectInfo>()?.remote_addr();
    let server = Server::builder()
        .layer(pm::layer().list(list).show_message(true).peer(peer))
        .layer(Park)
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(async move {
        let _reporter = reporter;
        server.await
    });
    let channel = Endpoint::try_from(format!("http://{addr}")).unwrap().connect().await.unwrap();
    HealthClient::new(channel)
}

/// Looks again and again, for 20 s at most.
async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn listed(list: &ProcList, status: &str) -> Proc {
    until(status, || list.procs().into_iter().find(|proc| proc.status == status)).await
}

fn orders() -> HealthCheckRequest {
    HealthCheckRequest { service: "orders".to_string() }
}

#[tokio::test]
async fn a_killed_call_has_the_status_unavailable_with_the_reason() {
    let list = ProcList::new();
    let mut client = serve(&list).await;
    let called = tokio::spawn(async move { client.check(orders()).await });
    let proc = listed(&list, "parked").await;
    assert_eq!((proc.cols[1].1.as_str(), proc.cols[2].1.as_str()), ("POST", "/grpc.health.v1.Health/Check"));
    assert!(proc.cols[0].1.parse::<SocketAddr>().unwrap().ip().is_loopback());
    let pending = list.request_kill(&proc.id, "100 % too slow, é").unwrap();
    let status = called.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "process killed: \"100 % too slow, é\""));
    assert_eq!(pending.outcome().await.outcome, Outcome::Killed);
}

#[tokio::test]
async fn a_killed_stream_ends_with_the_status_unavailable() {
    let list = ProcList::new();
    let mut client = serve(&list).await;
    let mut watching = client.watch(orders()).await.unwrap().into_inner();
    assert!(watching.next().await.unwrap().is_ok());
    let proc = listed(&list, "streaming").await;
    list.kill(&proc.id, "maintenance").unwrap();
    let status = watching.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "process killed: \"maintenance\""));
    assert!(watching.next().await.is_none() && list.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_ends_its_task() {
    let list = ProcList::new();
    let mut client = serve(&list).await;
    let mut watching = client.watch(orders()).await.unwrap().into_inner();
    assert!(watching.next().await.unwrap().is_ok());
    listed(&list, "streaming").await;
    drop(watching);
    until("an empty list", || list.is_empty().then_some(())).await;
    assert_eq!((list.stats().ended, list.stats().killed), (1, 0));
}
