//! Printer: the lines of the programs, each with the name of its own, on a thread that may block.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use futures_util::StreamExt;
use pm_overseer::{LogLine, LogLines, OutputStream};

use crate::args::Color;

/// As many as there are colours that can be read on dark and on light.
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

pub(crate) struct Printer {
    names: Vec<String>,
    width: usize,
    has_prefix: bool,
    has_color: bool,
}

/// Tells when all is printed.
pub(crate) struct Printing(Receiver<()>);

impl Printing {
    /// Waits for what is left, not for ever: a reader may have stopped reading.
    pub(crate) fn finish(self) {
        let _ = self.0.recv_timeout(Duration::from_secs(1));
    }
}

impl Printer {
    pub(crate) fn new(names: Vec<String>, has_prefix: bool, color: Color) -> Self {
        let has_color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("overseer".len());
        Printer { names, width, has_prefix, has_color }
    }

    /// Prints what comes, until it ends.
    pub(crate) fn spawn(self, mut lines: LogLines) -> io::Result<Printing> {
        let (done, printing) = channel();
        std::thread::Builder::new().name("printer".into()).spawn(move || {
            let mut missed = 0;
            while let Some(line) =
                futures_util::FutureExt::now_or_never(lines.next()).unwrap_or_else(|| block_on(lines.next()))
            {
                let lost = std::mem::replace(&mut missed, lines.missed());
                if missed > lost {
                    let _ = writeln!(io::stderr(), "... {} lines missed", missed - lost);
                }
                let bytes = self.format(&line);
                let _ = match line.stream {
                    OutputStream::Stdout => io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush()),
                    OutputStream::Stderr => io::stderr().write_all(&bytes),
                };
            }
            let _ = done.send(());
        })?;
        Ok(Printing(printing))
    }

    fn format(&self, line: &LogLine) -> Vec<u8> {
        let mut bytes = if self.has_prefix { self.prefix(&line.id).into_bytes() } else { Vec::new() };
        bytes.extend_from_slice(&line.text);
        bytes.push(b'\n');
        bytes
    }

    fn prefix(&self, name: &str) -> String {
        let padded = format!("{name:<width$} | ", width = self.width);
        match self.names.iter().position(|known| known == name) {
            Some(at) if self.has_color => format!("\x1b[{}m{padded}\x1b[0m", COLORS[at % COLORS.len()]),
            _ => padded,
        }
    }
}

/// What the supervisor itself has to say, on a thread of its own: to write to a terminal that is stopped may take for
/// ever, and must hold up no signal.
#[derive(Clone)]
pub(crate) struct Notes(SyncSender<String>);

impl Notes {
    pub(crate) fn spawn() -> io::Result<Self> {
        let (sender, notes) = sync_channel::<String>(1024);
        std::thread::Builder::new().name("notes".into()).spawn(move || {
            for note in notes {
                let _ = io::stderr().write_all(note.as_bytes());
            }
        })?;
        Ok(Notes(sender))
    }

    /// Lost when nobody reads.
    pub(crate) fn say(&self, note: &str) {
        let _ = self.0.try_send(format!("overseer: {note}\n"));
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers").block_on(future)
}
