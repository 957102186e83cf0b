//! A gRPC server whose calls can be watched and killed, and a client that waits.
//!
//! ```text
//! cargo run --example grpc --features tower                  # -- [APP_ADDR [PM_ADDR]]
//!
//! nc localhost 8081                          # watch it, and type: kill req1 maintenance
//! ```
//!
//! The service is the health check of gRPC. A client in the same program watches it, as a load balancer would; when
//! its call is killed it is told the status, and watches again.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Endpoint, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        eprintln!("grpc: {error}");
        std::process::exit(1);
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let app_addr = args.next().unwrap_or_else(|| "127.0.0.1:50051".to_string());
    let pm_addr = pm::spawn(args.next().unwrap_or_else(|| "127.0.0.1:8081".to_string()))?;

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("orders", ServingStatus::Serving).await;
    let incoming =
        TcpIncoming::bind(app_addr.parse()?).map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    let app_addr = incoming.local_addr()?;
    println!("gRPC:        {app_addr}");
    println!("processlist: nc {} {}                      # then: kill req1 maintenance", pm_addr.ip(), pm_addr.port());
    tokio::spawn(watch(app_addr));
    let layer = pm::layer()
        .show_message(true)
        // tonic knows the peer in its own way.
        .peer(|parts| parts.extensions.get::<TcpConnectInfo>()?.remote_addr());
    Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming).await?;
    Ok(())
}

/// The client: one call after the other that never ends by itself.
async fn watch(addr: SocketAddr) {
    loop {
        if let Err(status) = watch_once(addr).await {
            eprintln!("client: {status}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn watch_once(addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::try_from(format!("http://{addr}"))?.connect().await?;
    let request = HealthCheckRequest { service: "orders".to_string() };
    let mut changes = HealthClient::new(channel).watch(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        println!("client: orders is {:?}", change.status());
    }
    Ok(())
}
