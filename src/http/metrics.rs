//! Metrics: the counts of the list, as JSON and in the format that Prometheus reads.
//!
//! Both are pulled from the statistics of the list; nothing is counted here.

use std::fmt;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::http::caller::Caller;
use crate::http::fault::Fault;
use crate::http::reply;
use crate::http::shared::Http;
use crate::render::Lane;
use crate::stats::Stats;
use crate::wire;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /stats`.
pub(super) async fn stats(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Fault> {
    let counts = counts(&http, &caller).await?;
    Ok(reply::json(&wire::Counts::new(&counts.stats, counts.clients)))
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(http): State<Arc<Http>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Fault> {
    let mut registry = Registry::with_prefix("pm");
    registry.register_collector(Box::new(counts(&http, &caller).await?));
    let mut text = String::new();
    text::encode(&mut text, &registry).map_err(|_| Fault::not_made())?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], text).into_response())
}

async fn counts(http: &Http, caller: &Caller) -> Result<Counts, Fault> {
    let list = http.service.list.clone();
    let (size, clients) = (list.len() + list.finished().len(), http.service.clients());
    let rendering = async move { Counts { stats: list.stats(), clients } };
    http.service.renderer.make(caller.client, Lane::Asked, size, rendering).await.ok_or_else(Fault::not_made)
}

/// The counts of a list, which serves so many clients.
#[derive(Debug)]
struct Counts {
    stats: Stats,
    clients: usize,
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Counts { stats, clients } = self;
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let encoder = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            ConstGauge::new(value).encode(encoder)
        };
        let oldest = stats.oldest.as_ref().map_or(0.0, |(_, age)| age.as_secs_f64());
        gauge("tasks_running", "Tasks that are running", None, stats.running as f64)?;
        gauge(
            "tasks_being_killed",
            "Tasks that are running and have been asked to stop",
            None,
            stats.being_killed as f64,
        )?;
        gauge("oldest_task", "The age of the task that has been running for longest", Some(&Unit::Seconds), oldest)?;
        gauge("memory", "What the list holds", Some(&Unit::Bytes), stats.memory as f64)?;
        gauge("clients", "Connections to this server", None, *clients as f64)?;
        let encoder_of_started =
            encoder.encode_descriptor("tasks_started", "Tasks that were started", None, MetricType::Counter)?;
        ConstCounter::new(stats.started).encode(encoder_of_started)?;
        let mut by_outcome =
            encoder.encode_descriptor("tasks_ended", "Tasks that ended, by outcome", None, MetricType::Counter)?;
        for (outcome, n) in [("ended", stats.ended), ("killed", stats.killed), ("panicked", stats.panicked)] {
            ConstCounter::new(n).encode(by_outcome.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}
