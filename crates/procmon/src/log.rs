//! Log: what procmon itself has to say, a line each, as JSON or text.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::config::{Format, Level, Logger, Output};
use crate::honeycomb::Honeycomb;

/// Lines that wait to be written. What is written to may be a terminal that is stopped.
const WAITING: usize = 4096;

/// A handle to the thread that writes. A line is lost when too many wait.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    lines: SyncSender<Order>,
    honeycomb: Option<Honeycomb>,
    format: Format,
    level: Level,
}

#[derive(Debug)]
enum Order {
    Line(String),
    /// Write to this file from now on.
    Open(String),
    /// Nothing more comes.
    End,
}

#[derive(Debug)]
enum Target {
    Stdout,
    Stderr,
    Nothing,
    File(File),
}

/// Tells when all is written.
#[derive(Debug)]
pub(crate) struct Writing(Receiver<()>);

impl Writing {
    /// Writes what is left. Waits for it, but not for ever.
    pub(crate) fn finish(self, log: &Log) {
        let _ = log.lines.try_send(Order::End);
        let _ = self.0.recv_timeout(Duration::from_secs(1));
    }
}

impl Log {
    /// A file that cannot be opened yet is left for [`open`](Self::open). Until then standard error is written to.
    /// To honeycomb, all goes there, and not to the file.
    pub(crate) fn spawn(logger: &Logger, honeycomb: Option<Honeycomb>) -> io::Result<(Self, Writing)> {
        let (lines, orders) = sync_channel(WAITING);
        let (done, writing) = channel();
        let output = logger.output.clone();
        let is_elsewhere = honeycomb.is_some();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            // Here, since it may be a FIFO that nobody reads yet.
            let mut target = match &output {
                Output::Stdout => Target::Stdout,
                Output::Stderr => Target::Stderr,
                Output::Suppress => Target::Nothing,
                Output::File(_) if is_elsewhere => Target::Nothing,
                Output::File(path) => open(path).map_or(Target::Stderr, Target::File),
            };
            for order in orders {
                match order {
                    Order::Open(path) => match open(&path) {
                        Ok(file) => target = Target::File(file),
                        Err(error) => _ = writeln!(io::stderr(), "procmon: the log {path} cannot be opened: {error}"),
                    },
                    Order::End => break,
                    Order::Line(line) => {
                        let _ = match &mut target {
                            Target::Stdout => io::stdout().write_all(line.as_bytes()),
                            Target::Stderr => io::stderr().write_all(line.as_bytes()),
                            Target::File(file) => file.write_all(line.as_bytes()),
                            Target::Nothing => Ok(()),
                        };
                    }
                }
            }
            let _ = done.send(());
        })?;
        Ok((Log { lines, honeycomb, format: logger.format, level: logger.level }, Writing(writing)))
    }

    /// Opens the file of the log, after the prologue, which may have made its directory.
    pub(crate) fn open(&self, output: &Output) {
        if let (Output::File(path), None) = (output, &self.honeycomb) {
            let _ = self.lines.try_send(Order::Open(path.clone()));
        }
    }

    pub(crate) fn debug(&self, msg: impl std::fmt::Display) -> Line<'_> {
        Line::new(self, Level::Debug, msg)
    }

    pub(crate) fn info(&self, msg: impl std::fmt::Display) -> Line<'_> {
        Line::new(self, Level::Info, msg)
    }

    pub(crate) fn warn(&self, msg: impl std::fmt::Display) -> Line<'_> {
        Line::new(self, Level::Warn, msg)
    }

    pub(crate) fn error(&self, msg: impl std::fmt::Display) -> Line<'_> {
        Line::new(self, Level::Error, msg)
    }
}

fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// A line that is being put together.
#[must_use = "it is not written yet"]
pub(crate) struct Line<'a> {
    log: &'a Log,
    level: Level,
    fields: Map<String, Value>,
}

impl<'a> Line<'a> {
    fn new(log: &'a Log, level: Level, msg: impl std::fmt::Display) -> Self {
        let mut fields = Map::new();
        let level_name = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warning",
            Level::Error => "error",
        };
        fields.insert("level".into(), level_name.into());
        fields.insert("msg".into(), msg.to_string().into());
        Line { log, level, fields }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    pub(crate) fn task(self, name: &str) -> Self {
        self.with("task", name)
    }

    pub(crate) fn write(mut self) {
        if self.level < self.log.level {
            return;
        }
        if let Some(honeycomb) = &self.log.honeycomb {
            return honeycomb.log(self.fields);
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.fields.insert("time".into(), time.into());
        let line = match self.log.format {
            Format::Json => Value::Object(self.fields).to_string(),
            Format::Text => as_text(&self.fields),
        };
        let _ = self.log.lines.try_send(Order::Line(line + "\n"));
    }
}

/// `key=value`: time, level and message first. A value that is not one plain word is in quotes.
fn as_text(fields: &Map<String, Value>) -> String {
    let rank = |name: &str| ["time", "level", "msg"].iter().position(|first| *first == name).unwrap_or(3);
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| rank(name));
    let words = sorted.into_iter().map(|(name, value)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+:,".contains(c);
        match value {
            Value::String(text) if !text.is_empty() && text.chars().all(plain) => format!("{name}={text}"),
            Value::String(_) => format!("{name}={value}"),
            _ => format!("{name}={value}"),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_or_words_with_their_names() {
        let file = std::env::temp_dir().join(format!("procmon-log-{}", std::process::id()));
        let path = file.to_str().expect("text").to_string();
        for (format, level) in [(Format::Json, Level::Info), (Format::Text, Level::Warn)] {
            let (log, writing) =
                Log::spawn(&Logger { output: Output::File(path.clone()), format, level }, None).expect("a thread");
            log.debug("not this").write();
            log.info("pidinfo").with("pids", vec![1, 2]).with("npids", 2).write();
            log.warn("it \"died\"\n").task("redis").with("pid", 4711).write();
            writing.finish(&log);
        }
        let text = std::fs::read_to_string(&file).expect("a log");
        std::fs::remove_file(&file).expect("it goes");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let first: Value = serde_json::from_str(lines[0]).expect("an object");
        assert_eq!((&first["msg"], &first["level"], &first["npids"]), (&"pidinfo".into(), &"info".into(), &2.into()));
        assert_eq!(first["pids"], serde_json::json!([1, 2]));
        let time = first["time"].as_str().expect("a time");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert!(
            lines[2].starts_with("time=")
                && lines[2].ends_with(" level=warning msg=\"it \\\"died\\\"\\n\" pid=4711 task=redis"),
            "{text}"
        );
    }
}
