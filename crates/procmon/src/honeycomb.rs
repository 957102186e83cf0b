//! Honeycomb: the log and the output of the tasks as events, by its HTTP API.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

/// Events that wait to be sent. More are lost, and counted.
const WAITING: usize = 10_000;
/// What is sent at once, and how long the first of it waits for the others.
const BATCH: usize = 50;
const WAIT: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name that procmon's own log has there.
const OWN: &str = "procmon";

/// A handle to the thread that sends.
#[derive(Debug, Clone)]
pub(crate) struct Honeycomb {
    /// `None` is the last.
    events: SyncSender<Option<Value>>,
    node: Option<String>,
    lost: Arc<AtomicU64>,
}

/// Where to, and with which key.
#[derive(Debug, Clone)]
struct Account {
    url: String,
    key: String,
}

impl Honeycomb {
    /// `None`, if the environment names no key and no dataset.
    ///
    /// # Errors
    ///
    /// There is no thread to send.
    pub(crate) fn of(env: &BTreeMap<String, String>) -> io::Result<Option<(Self, Receiver<()>)>> {
        let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
        let (Some(key), Some(dataset)) = (named("HONEYCOMB_KEY"), named("HONEYCOMB_DATASET")) else { return Ok(None) };
        let host = named("HONEYCOMB_API_HOST").unwrap_or_else(|| "https://api.honeycomb.io".to_string());
        let account = Account { url: format!("{}/1/batch/{}", host.trim_end_matches('/'), escaped(&dataset)), key };
        let (events, waiting) = sync_channel(WAITING);
        let (done, is_done) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new().name("honeycomb".into()).spawn(move || {
            send_all(&account, &waiting, &counted);
            let _ = done.send(());
        })?;
        Ok(Some((Honeycomb { events, node: named("NODE_ID"), lost }, is_done)))
    }

    /// A line of the log.
    pub(crate) fn log(&self, fields: Map<String, Value>) {
        self.send(OWN, fields);
    }

    /// A line that a task has printed.
    pub(crate) fn line(&self, task: &str, text: &[u8]) {
        let fields = match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::from_iter([("_other".to_string(), String::from_utf8_lossy(text).into())]),
        };
        self.send(task, fields);
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        let _ = self.events.try_send(None);
    }

    /// Lines that came too fast.
    pub(crate) fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    fn send(&self, bin: &str, mut data: Map<String, Value>) {
        data.entry("bin").or_insert_with(|| bin.into());
        if let Some(node) = &self.node {
            data.entry("node_id").or_insert_with(|| node.as_str().into());
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        if self.events.try_send(Some(json!({ "time": time, "data": data }))).is_err() {
            self.lose(1);
        }
    }
}

/// Until the last.
fn send_all(account: &Account, waiting: &Receiver<Option<Value>>, lost: &AtomicU64) {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
            .build(),
    );
    let mut told = String::new();
    let mut told_lost = 0;
    let mut is_last = false;
    while !is_last && let Ok(Some(first)) = waiting.recv() {
        let deadline = Instant::now() + WAIT;
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match waiting.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(event)) => batch.push(event),
                Ok(None) => {
                    is_last = true;
                    break;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let n = batch.len() as u64;
        if let Err(why) = post(&agent, account, &Value::Array(batch)) {
            lost.fetch_add(n, Ordering::Relaxed);
            // Each reason once: it may hold for a million events.
            if why != told {
                warn(&format!("honeycomb takes no events: {why}"));
                told = why;
            }
        }
        let all_lost = lost.load(Ordering::Relaxed);
        if all_lost >= told_lost + 1000 {
            warn(&format!("{all_lost} events for honeycomb are lost so far"));
            told_lost = all_lost;
        }
    }
}

fn post(agent: &ureq::Agent, account: &Account, batch: &Value) -> Result<(), String> {
    let request = agent.post(&account.url).header("X-Honeycomb-Team", &account.key);
    let request = request.header("Content-Type", "application/json");
    let answer = request.send(batch.to_string()).map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        401 => Err("the key is refused (401): see HONEYCOMB_KEY".to_string()),
        status => Err(format!("the answer is {status}")),
    }
}

/// Nobody may be there to read it.
fn warn(what: &str) {
    let _ = writeln!(io::stderr(), "procmon: warning: {what}");
}

/// As a part of a path.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
