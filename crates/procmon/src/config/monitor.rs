//! Monitor: what is asked of a task, or must hold before anything starts.

use std::time::Duration;

use super::duration;
use super::fault::Source;
use super::read::At;

const NO_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// All of these can be bound.
    PortAvailable { ports: Vec<u16> },
    /// All of these accept a connection.
    PortInUse { ports: Vec<u16>, timeout: Duration },
    /// The directory is there, or can be made.
    EnsureDir { path: String, mode: u32 },
    /// PING is answered by PONG.
    Redis { addr: String, timeout: Duration },
    /// The last answer has a status from 200 to 299.
    Http { url: String, verb: String, timeout: Duration },
}

/// The parameters of a monitor, of which each is taken once. What is left is unknown.
pub(crate) struct Parameters {
    pub(crate) at: std::ops::Range<usize>,
    pub(crate) texts: Vec<(String, At<String>)>,
}

impl Parameters {
    pub(crate) fn take(&mut self, key: &str) -> Option<At<String>> {
        let at = self.texts.iter().position(|(name, _)| name == key)?;
        Some(self.texts.remove(at).1)
    }

    /// One that may be left out. Empty, it is left out.
    pub(crate) fn duration(&mut self, key: &str, unless: Duration, source: &mut Source<'_>) -> Duration {
        let Some(text) = self.take(key).filter(|text| !text.value.is_empty()) else { return unless };
        duration::parse(&text.value).unwrap_or_else(|why| {
            source.fault(&text.at, format!("{key}: {why}"));
            unless
        })
    }

    /// None at all is written as 0, as in Go.
    fn timeout(&mut self, unless: Duration, source: &mut Source<'_>) -> Duration {
        let timeout = self.duration("timeout", unless, source);
        if timeout.is_zero() { NO_TIMEOUT } else { timeout }
    }

    fn needed(&mut self, of: &str, key: &str, source: &mut Source<'_>) -> Option<At<String>> {
        let text = self.take(key).filter(|text| !text.value.is_empty());
        if text.is_none() {
            source.fault(&self.at, format!("a monitor of the type {of} needs {key}"));
        }
        text
    }

    fn ports(&mut self, of: &str, source: &mut Source<'_>) -> Option<Vec<u16>> {
        let text = self.needed(of, "port", source)?;
        let ports: Result<Vec<u16>, _> = text.value.split_whitespace().map(str::parse).collect();
        match ports {
            Ok(ports) if !ports.is_empty() && !ports.contains(&0) => Some(ports),
            _ => {
                let shown = text.value.escape_debug().to_string();
                source.fault(&text.at, format!("port is '{shown}': use a number from 1 to 65535, or several"));
                None
            }
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ports: &[u16]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match self {
            Check::PortAvailable { ports } => write!(f, "portavailable {}", list(ports)),
            Check::PortInUse { ports, .. } => write!(f, "portinuse {}", list(ports)),
            Check::EnsureDir { path, mode } => write!(f, "ensuredir {path} {mode:04o}"),
            Check::Redis { addr, .. } => write!(f, "redis {addr}"),
            Check::Http { url, verb, .. } => write!(f, "http {verb} {url}"),
        }
    }
}

impl Check {
    /// Reads it, and takes what belongs to it.
    pub(crate) fn read(parameters: &mut Parameters, source: &mut Source<'_>) -> Option<Self> {
        const TYPES: &str = "use portavailable, portinuse, ensuredir, redis or http";
        let Some(of) = parameters.take("type").filter(|of| !of.value.is_empty()) else {
            source.fault(&parameters.at, format!("a monitor needs a type: {TYPES}"));
            return None;
        };
        let kind = of.value.as_str();
        match kind {
            "portavailable" => Some(Check::PortAvailable { ports: parameters.ports(kind, source)? }),
            "portinuse" => {
                let timeout = parameters.timeout(Duration::from_millis(100), source);
                Some(Check::PortInUse { ports: parameters.ports(kind, source)?, timeout })
            }
            "ensuredir" => {
                let path = parameters.needed(kind, "path", source);
                let perm = parameters.take("perm").filter(|perm| !perm.value.is_empty());
                let mode = perm.map_or(Some(0o755), |perm| {
                    let mode = u32::from_str_radix(&perm.value, 8).ok().filter(|mode| *mode <= 0o7777);
                    if mode.is_none() {
                        let shown = perm.value.escape_debug().to_string();
                        source.fault(&perm.at, format!("perm is '{shown}': use an octal number like 0755"));
                    }
                    mode
                });
                Some(Check::EnsureDir { path: path?.value, mode: mode? })
            }
            "redis" => {
                let timeout = parameters.timeout(Duration::from_secs(3), source);
                let addr = parameters.take("addr").filter(|addr| !addr.value.is_empty());
                let Some(addr) = addr else { return Some(Check::Redis { addr: "localhost:6379".into(), timeout }) };
                let is_addr = addr.value.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                if !is_addr {
                    let shown = addr.value.escape_debug().to_string();
                    source.fault(&addr.at, format!("addr is '{shown}': use host:port"));
                    return None;
                }
                // Without a host it is this one, as in Go.
                let addr = if addr.value.starts_with(':') { format!("localhost{}", addr.value) } else { addr.value };
                Some(Check::Redis { addr, timeout })
            }
            "http" => {
                let timeout = parameters.timeout(Duration::from_secs(1), source);
                let verb = parameters.take("verb").map(|verb| verb.value).filter(|verb| !verb.is_empty());
                let url = parameters.needed(kind, "url", source)?;
                let scheme = url.value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
                if !matches!(scheme.as_deref(), Some("http" | "https")) {
                    let shown = url.value.escape_debug().to_string();
                    source.fault(&url.at, format!("url is '{shown}': use one that begins with http:// or https://"));
                    return None;
                }
                Some(Check::Http { url: url.value, verb: verb.unwrap_or_else(|| "GET".into()), timeout })
            }
            _ => {
                let shown = kind.escape_debug().to_string();
                source.fault(&of.at, format!("there is no monitor of the type '{shown}': {TYPES}"));
                None
            }
        }
    }
}
