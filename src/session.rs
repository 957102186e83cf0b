//! Session: one client. Frames out, commands in, over any stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{self, Instant};
use tokio_util::codec::FramedRead;

use crate::command::{self, Command, HELP};
use crate::frame::{Frame, Frames};
use crate::kills::Kills;
use crate::line::{LONGEST, Line, LineDecoder};
use crate::outbox::Outbox;

/// A frozen table thaws by itself: who froze it may have gone for coffee.
const FROZEN: Duration = Duration::from_secs(30);

/// How long a client that wants to leave is kept for the outcome of its kills.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long input that nobody will read is taken in after the end: closing a
/// TCP connection over unread input would make the client lose our last words.
const LINGER: Duration = Duration::from_secs(1);

/// A first frame that takes longer than this keeps nobody from a kill.
const LATE: Duration = Duration::from_secs(1);

/// This many faulty lines in a row, and it is no person at a keyboard.
const FAULTS: u32 = 10;

/// A frame is used again while it is younger than this part of the delay ..
const REUSE: u32 = 10;

/// .. and than this.
const REUSE_AT_MOST: Duration = Duration::from_millis(100);

/// The answer to a browser.
const NOT_HTTP: &str = "\
HTTP/1.1 400 Bad Request\r
Content-Type: text/plain; charset=utf-8\r
Content-Length: 51\r
Connection: close\r
\r
this is a processlist for netcat, not a web server";

/// One client and what it has asked for.
struct Session<S> {
    input: FramedRead<ReadHalf<S>, LineDecoder>,
    out: Outbox<WriteHalf<S>>,
    kills: Kills,
    frames: Arc<Frames>,
    delay: Duration,
    pace: Pace,
    /// The frame that is being made for this client.
    making: Option<Pin<Box<dyn Future<Output = Frame> + Send>>>,
    has_sent_a_frame: bool,
    /// From when on commands are read although there is no frame yet.
    listens_from: Instant,
    has_read_a_line: bool,
    /// Faulty lines in a row.
    faults: u32,
}

/// What the client waits for when nothing happens.
enum Pace {
    /// The next frame.
    Next(Instant),
    /// Frames again; until then there is at most the one that is owed.
    Frozen { until: Instant, owes_frame: bool },
    /// The end: it sends no more, and is sent no more frames.
    Leaving { at_latest: Instant },
}

/// Serves one client until it leaves, or takes nothing for too long.
///
/// # Errors
///
/// The connection failed.
pub(crate) async fn run<S>(stream: S, frames: Arc<Frames>, delay: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut session = Session {
        input: FramedRead::new(reader, LineDecoder::default()),
        out: Outbox::new(writer),
        kills: Kills::default(),
        frames,
        delay,
        pace: Pace::Next(Instant::now()),
        making: None,
        has_sent_a_frame: false,
        listens_from: Instant::now() + LATE,
        has_read_a_line: false,
        faults: 0,
    };
    session.converse().await?;
    close(session.input.into_inner(), session.out.into_inner()).await
}

/// Says that no more comes, and takes in what the client has still to say.
pub(crate) async fn close(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let farewell = async {
        writer.shutdown().await?;
        let mut unread = [0; 1024];
        while reader.read(&mut unread).await? > 0 {}
        Ok(())
    };
    time::timeout(LINGER, farewell).await.unwrap_or(Ok(()))
}

impl<S: AsyncRead + AsyncWrite> Session<S> {
    async fn converse(&mut self) -> io::Result<()> {
        loop {
            let (wakes, wake_at) = match self.pace {
                Pace::Frozen { owes_frame: true, .. } => (self.out.is_empty() && self.making.is_none(), Instant::now()),
                // A frame is made only when the last one is out: a slow client misses some.
                Pace::Next(at) | Pace::Frozen { until: at, .. } => (self.out.is_empty() && self.making.is_none(), at),
                Pace::Leaving { .. } if self.out.is_empty() && self.kills.is_empty() => return Ok(()),
                Pace::Leaving { at_latest } => (!self.kills.is_empty() && self.out.has_room(), at_latest),
            };
            // The first frame comes before the first command, unless it is late.
            let is_early = !self.has_sent_a_frame && Instant::now() < self.listens_from;
            let listens = !is_early && self.out.has_room() && !matches!(self.pace, Pace::Leaving { .. });
            tokio::select! {
                biased;
                sent = self.out.send(), if !self.out.is_empty() => sent?,
                news = self.kills.next(), if self.out.has_room() => self.out.reply(news),
                frame = made(&mut self.making) => self.show(&frame),
                () = time::sleep_until(wake_at), if wakes => self.wake(),
                () = time::sleep_until(self.listens_from), if is_early => {}
                line = self.input.next(), if listens => match line {
                    Some(line) => self.take(line?),
                    None => self.leave(),
                },
            }
        }
    }

    fn wake(&mut self) {
        match self.pace {
            Pace::Next(_) | Pace::Frozen { owes_frame: true, .. } => self.make_frame(),
            Pace::Frozen { .. } => self.pace = Pace::Next(Instant::now()),
            Pace::Leaving { .. } => {
                while self.out.has_room() && !self.kills.is_empty() {
                    if let Some(news) = self.kills.give_up() {
                        self.out.reply(news);
                    }
                }
            }
        }
    }

    fn make_frame(&mut self) {
        let frames = Arc::clone(&self.frames);
        let age = (self.delay / REUSE).min(REUSE_AT_MOST);
        let after = self.out.last_reply();
        self.making = Some(Box::pin(async move { frames.get(age, after).await }));
    }

    fn show(&mut self, frame: &Frame) {
        self.making = None;
        let is_old_news = self.out.last_reply().is_some_and(|reply| frame.began < reply);
        if !self.out.is_empty() || is_old_news {
            // A reply came in between. The pace still says that a frame is due.
            return;
        }
        self.out.frame(frame.bytes(!self.has_sent_a_frame));
        self.has_sent_a_frame = true;
        match &mut self.pace {
            Pace::Next(at) => *at = frame.next(self.delay),
            Pace::Frozen { owes_frame, .. } => *owes_frame = false,
            Pace::Leaving { .. } => {}
        }
    }

    fn take(&mut self, line: Line) {
        let is_first = !std::mem::replace(&mut self.has_read_a_line, true);
        if let Line::Text(text) | Line::TooLong(text) | Line::NotText(text) = &line
            && command::is_http(text, is_first)
        {
            self.kills = Kills::default();
            self.out.reply(NOT_HTTP);
            return self.leave();
        }
        if let Pace::Frozen { until, .. } = &mut self.pace {
            *until = Instant::now() + FROZEN;
        }
        let command = match line {
            Line::Text(text) => command::parse(&text).map_err(|invalid| invalid.to_string()),
            Line::TooLong(_) => Err(format!("line too long: {LONGEST} bytes at most")),
            Line::NotText(_) => Err("invalid command: not text".to_string()),
            Line::Unfinished => Err("incomplete command: end it with Enter".to_string()),
        };
        match command {
            Ok(command) => {
                self.faults = 0;
                self.obey(command);
            }
            Err(reply) => {
                self.faults += 1;
                self.out.reply(reply);
                if self.faults == FAULTS {
                    self.out.reply(format_args!("{FAULTS} faulty lines in a row: closed"));
                    self.leave();
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Kill { name, message } => {
                let reply = self.kills.ask(self.frames.list(), &name, message);
                self.out.reply(reply);
            }
            Command::Delay(delay) => {
                self.delay = delay;
                match &mut self.pace {
                    Pace::Next(at) => *at = Instant::now(),
                    // It says that the delay was understood.
                    Pace::Frozen { owes_frame, .. } => *owes_frame = true,
                    Pace::Leaving { .. } => {}
                }
            }
            Command::Enter => match self.pace {
                Pace::Next(_) => {
                    self.making = None;
                    self.pace = Pace::Frozen { until: Instant::now() + FROZEN, owes_frame: false };
                    self.out.reply("frozen: type a command, or Enter to go on");
                }
                Pace::Frozen { .. } => self.pace = Pace::Next(Instant::now()),
                Pace::Leaving { .. } => {}
            },
            Command::Help => self.out.reply(HELP),
            Command::Quit => self.leave(),
        }
    }

    fn leave(&mut self) {
        self.making = None;
        self.pace = Pace::Leaving { at_latest: Instant::now() + FAREWELL };
    }
}

/// The frame that is being made, when it is there. Cancel safe: the making
/// goes on at the next call.
async fn made(making: &mut Option<Pin<Box<dyn Future<Output = Frame> + Send>>>) -> Frame {
    match making {
        Some(frame) => frame.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
