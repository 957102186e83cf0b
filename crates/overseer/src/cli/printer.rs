//! Printer: what stands before the lines of a program; and what overseer itself has to say.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use crate::args::Color;

/// As many as there are colours that can be read on dark and on light.
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The name of each of these programs, as it stands before its lines.
pub(crate) fn prefixes(names: &[String], color: Color) -> Vec<String> {
    let has_color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("overseer".len());
    let prefix = |(at, name): (usize, &String)| {
        let padded = format!("{name:<width$} | ");
        if has_color { format!("\x1b[{}m{padded}\x1b[0m", COLORS[at % COLORS.len()]) } else { padded }
    };
    names.iter().enumerate().map(prefix).collect()
}

/// What the supervisor itself has to say, on a thread of its own: to write to a terminal that is stopped may take for
/// ever, and must hold up no signal.
#[derive(Clone)]
pub(crate) struct Notes(SyncSender<String>);

/// Tells when all is said.
pub(crate) struct Saying(Receiver<()>);

impl Notes {
    pub(crate) fn spawn() -> io::Result<(Self, Saying)> {
        let (sender, notes) = sync_channel::<String>(1024);
        let (done, saying) = channel();
        std::thread::Builder::new().name("notes".into()).spawn(move || {
            for note in notes {
                let _ = io::stderr().write_all(note.as_bytes());
            }
            let _ = done.send(());
        })?;
        Ok((Notes(sender), Saying(saying)))
    }

    /// Lost when nobody reads.
    pub(crate) fn say(&self, note: &str) {
        let _ = self.0.try_send(format!("overseer: {note}\n"));
    }
}

impl Saying {
    /// Waits for what is left to say when no [`Notes`] are left: not for ever, a reader may have stopped reading.
    pub(crate) fn finish(self) {
        let _ = self.0.recv_timeout(Duration::from_secs(1));
    }
}
