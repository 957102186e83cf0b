//! Session: one client. Frames out, commands in, over any stream.

mod answer;
pub(crate) mod command;
pub(crate) mod frame;
mod kills;
mod line;
mod obey;
mod outbox;
mod screen;
mod sets;

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{self, Instant};
use tokio_util::codec::FramedRead;

use crate::access::{Access, Admitted, Desk, Role};
use crate::list::ProcList;
use crate::view::View;
use answer::Answer;
use frame::{Frame, Frames, Shared};
use kills::Kills;
use line::{LONGEST, Line, LineDecoder};
use outbox::Outbox;
use screen::Screen;
use sets::Sets;

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

/// How long a client may take to show a token.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many wrong ones it may show.
const TRIES: u32 = 3;

/// What it is told until then.
const TOKEN_FIRST: &str = "this processlist wants a token: auth <token>";

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

/// The answer to bytes that are no text.
const NOT_TEXT: &str = "invalid command: not text";

/// What all sessions of a server share.
pub(crate) struct Service {
    pub(crate) frames: Frames,
    pub(crate) access: Access,
    pub(crate) desk: Desk,
    /// How often a client gets a frame until it says otherwise.
    pub(crate) delay: Duration,
    /// How many rows a frame has until it says otherwise.
    pub(crate) limit: usize,
    clients: AtomicUsize,
}

impl Service {
    pub(crate) fn new(list: ProcList, access: Access, desk: Desk, delay: Duration, limit: usize) -> Self {
        Service { frames: Frames::new(list), access, desk, delay, limit, clients: AtomicUsize::new(0) }
    }
}

/// A client that counts as long as it is there.
struct Present<'a>(&'a Service);

impl<'a> Present<'a> {
    fn of(service: &'a Service) -> Self {
        service.clients.fetch_add(1, Ordering::Relaxed);
        Present(service)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client and what it has asked for.
struct Session<S> {
    input: FramedRead<ReadHalf<S>, LineDecoder>,
    out: Outbox<WriteHalf<S>>,
    service: Arc<Service>,
    role: Role,
    kills: Kills,
    sets: Sets,
    view: View,
    /// The frames of this view.
    shared: Arc<Shared>,
    /// `top`, while it is on.
    screen: Option<Screen>,
    delay: Duration,
    pace: Pace,
    /// The frame that is being made for this client.
    making: Option<Pin<Box<dyn Future<Output = Frame> + Send>>>,
    /// The answer that is being made for it. Its commands wait for that.
    asking: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    has_sent_a_frame: bool,
    /// A command has asked for one, which is due also to who has frozen the
    /// table, or says no more.
    owes_frame: bool,
    /// From when on commands are read although there is no frame yet.
    listens_from: Instant,
    has_read_a_line: bool,
    /// Faulty lines in a row.
    faults: u32,
    /// Wrong tokens in all.
    wrong_tokens: u32,
}

/// What the client waits for when nothing happens.
enum Pace {
    /// To be let in: until then it is shown nothing.
    Outside { until: Instant },
    /// The next frame.
    Next(Instant),
    /// Frames again; until then there is at most the one that is owed.
    Frozen { until: Instant },
    /// The end: it sends no more, and is sent no more frames.
    Leaving { at_latest: Instant },
}

/// Serves one client until it leaves, or takes nothing for too long.
///
/// # Errors
///
/// The connection failed.
pub(crate) async fn run<S>(stream: S, service: Arc<Service>, admitted: Admitted) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let Admitted { role, who } = admitted;
    let view = View::of_all(service.limit, role == Role::Kill);
    let mut session = Session {
        input: FramedRead::new(reader, LineDecoder::default()),
        out: Outbox::new(writer),
        role,
        kills: Kills::new(service.frames.list().clone(), who),
        sets: Sets::default(),
        shared: service.frames.of(view.clone()),
        view,
        screen: None,
        delay: service.delay,
        pace: match role {
            Role::Nothing => Pace::Outside { until: Instant::now() + PATIENCE },
            Role::See | Role::Kill => Pace::Next(Instant::now()),
        },
        making: None,
        asking: None,
        has_sent_a_frame: false,
        owes_frame: false,
        listens_from: Instant::now() + LATE,
        has_read_a_line: false,
        faults: 0,
        wrong_tokens: 0,
        service,
    };
    if role == Role::Nothing {
        session.out.reply(TOKEN_FIRST);
    }
    let service = Arc::clone(&session.service);
    let _present = Present::of(&service);
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
            let is_idle = self.making.is_none() && self.asking.is_none();
            let (wakes, wake_at) = match self.pace {
                Pace::Frozen { .. } if self.owes_frame => (self.out.is_empty() && is_idle, Instant::now()),
                Pace::Outside { until } => (true, until),
                // A frame is made only when the last one is out: a slow client misses some.
                Pace::Next(at) | Pace::Frozen { until: at } => (self.out.is_empty() && is_idle, at),
                Pace::Leaving { .. } if self.owes_frame && self.out.is_empty() && is_idle => (true, Instant::now()),
                Pace::Leaving { .. } if self.out.is_empty() && self.kills.is_empty() && is_idle => return Ok(()),
                Pace::Leaving { at_latest } => {
                    ((self.owes_frame || !self.kills.is_empty()) && self.out.has_room(), at_latest)
                }
            };
            let expiry = self.sets.expiry();
            // The first frame comes before the first command, unless it is late.
            let is_early = !self.has_sent_a_frame && self.role != Role::Nothing && Instant::now() < self.listens_from;
            let listens =
                !is_early && self.out.has_room() && self.asking.is_none() && !matches!(self.pace, Pace::Leaving { .. });
            tokio::select! {
                biased;
                sent = self.out.send(), if !self.out.is_empty() => sent?,
                news = self.kills.next(), if self.out.has_room() => self.tell_news(&news),
                frame = made(&mut self.making) => self.show(&frame),
                answer = made(&mut self.asking) => self.tell(answer),
                () = time::sleep_until(wake_at), if wakes => self.wake(),
                () = time::sleep_until(self.listens_from), if is_early => {}
                () = time::sleep_until(expiry.unwrap_or(wake_at)), if expiry.is_some() => self.sets.forget_expired(),
                line = self.input.next(), if listens => match line {
                    Some(line) => self.take(line?),
                    None => self.leave(),
                },
            }
        }
    }

    fn wake(&mut self) {
        match self.pace {
            Pace::Outside { .. } => {
                self.reply(format_args!("no token within {} s: closed", PATIENCE.as_secs()));
                self.leave();
            }
            Pace::Next(_) => self.make_frame(),
            Pace::Frozen { .. } if self.owes_frame => self.make_frame(),
            Pace::Frozen { .. } => self.pace = Pace::Next(Instant::now()),
            Pace::Leaving { at_latest } if self.owes_frame && Instant::now() < at_latest => self.make_frame(),
            Pace::Leaving { .. } => {
                self.owes_frame = false;
                self.making = None;
                while self.out.has_room() && !self.kills.is_empty() {
                    if let Some(news) = self.kills.give_up() {
                        self.tell_news(&news);
                    }
                }
            }
        }
    }

    fn make_frame(&mut self) {
        let (service, shared) = (Arc::clone(&self.service), Arc::clone(&self.shared));
        let age = (self.delay / REUSE).min(REUSE_AT_MOST);
        let after = self.out.last_reply();
        self.making = Some(Box::pin(async move { service.frames.get(shared, age, after).await }));
    }

    fn show(&mut self, frame: &Frame) {
        self.making = None;
        let is_old_news = self.out.last_reply().is_some_and(|reply| frame.began < reply);
        if !self.out.is_empty() || is_old_news {
            // A reply came in between. The pace still says that a frame is due.
            return;
        }
        self.out.frame(match &self.screen {
            Some(screen) => screen.table(frame.table()).into(),
            None => frame.bytes(!self.has_sent_a_frame),
        });
        self.has_sent_a_frame = true;
        self.owes_frame = false;
        if let Pace::Next(at) = &mut self.pace {
            *at = frame.next(self.delay);
        }
    }

    /// A frame is due at once, also while the table is frozen: it says that
    /// the command was understood.
    fn show_soon(&mut self) {
        self.making = None;
        self.owes_frame = true;
        if let Pace::Next(at) = &mut self.pace {
            *at = Instant::now();
        }
    }

    fn freeze(&mut self) {
        self.making = None;
        self.owes_frame = false;
        self.pace = Pace::Frozen { until: Instant::now() + FROZEN };
    }

    /// One line or several. Several lines take the place of the table of
    /// `top`, which waits until they have been read.
    fn reply(&mut self, text: impl Display) {
        let Some(screen) = &self.screen else { return self.out.reply(text) };
        let text = text.to_string();
        let drawn = match text.contains('\n') {
            false => screen.reply(&text),
            true => screen.table(&text) + &screen.reply("Enter: back to the table"),
        };
        self.out.draw(&drawn);
        if text.contains('\n') && !matches!(self.pace, Pace::Leaving { .. }) {
            self.freeze();
        }
    }

    /// What became of a kill. It does not take the place of a table that
    /// somebody looks at.
    fn tell_news(&mut self, news: &str) {
        match self.screen {
            None => self.reply(news),
            Some(_) => self.reply(news.lines().last().unwrap_or_default()),
        }
    }

    fn tell(&mut self, answer: Answer) {
        self.asking = None;
        match answer {
            Answer::Fault(reply) => return self.fault(reply),
            Answer::Tried(tried) => self.show_role(tried),
            Answer::Lines(text) if text.is_empty() => {}
            Answer::Lines(text) => self.reply(text.strip_suffix('\n').unwrap_or(&text)),
            Answer::Frame(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                match self.has_sent_a_frame && self.screen.is_none() {
                    true => self.reply(format_args!("\n{text}")),
                    false => self.reply(text),
                }
                self.has_sent_a_frame = true;
            }
            Answer::Victims { table, victims, total } => {
                let them = match victims.len() {
                    1 => "this one".to_string(),
                    n if n < total => format!("the oldest {n} of these {total}"),
                    n => format!("these {n}"),
                };
                let token = self.sets.offer(victims, |token| self.kills.has_set(token));
                let way_on = format!("kill {token} <message> to kill {them}");
                match &self.screen {
                    None => self.reply(format_args!("{table}{way_on}")),
                    Some(screen) => {
                        self.out.draw(&(screen.table(&table) + &screen.reply(&way_on)));
                        self.freeze();
                    }
                }
            }
        }
        self.faults = 0;
    }

    fn take(&mut self, line: Line) {
        let is_first = !self.has_read_a_line;
        if let Line::Text(text) | Line::TooLong(text) | Line::NotText(text) = &line {
            // An empty line says nothing of who sent it.
            self.has_read_a_line |= !text.is_empty();
            if command::is_http(text, is_first) {
                return self.turn_away(NOT_HTTP);
            }
        }
        if is_first && line.is_binary() {
            return self.turn_away(NOT_TEXT);
        }
        if self.screen.is_some() {
            self.out.draw(screen::INPUT);
        }
        if let Pace::Frozen { until } = &mut self.pace {
            *until = Instant::now() + FROZEN;
        }
        let command = match line {
            Line::Text(text) if self.role == Role::Nothing => match command::parse_outside(&text) {
                Some(command) => command.map_err(|invalid| invalid.to_string()),
                None => Err(self.forbidden()),
            },
            Line::Text(text) => command::parse(&text).map_err(|invalid| invalid.to_string()),
            Line::TooLong(_) => Err(format!("line too long: {LONGEST} bytes at most")),
            Line::NotText(_) => Err(NOT_TEXT.to_string()),
            Line::Unfinished => Err("incomplete command: end it with Enter".to_string()),
        };
        let command = command.and_then(|command| match command.role() <= self.role {
            true => Ok(command),
            false => Err(self.forbidden()),
        });
        match command.and_then(|command| self.obey(command)) {
            // Whether a question was at fault shows in its answer.
            Ok(()) if self.asking.is_some() => {}
            Ok(()) => self.faults = 0,
            Err(reply) => self.fault(reply),
        }
    }

    /// Ends the session of a program that does not know where it is: nothing more is executed.
    fn turn_away(&mut self, why: &str) {
        self.kills.clear();
        self.owes_frame = false;
        self.out.reply(why);
        self.leave();
    }

    fn fault(&mut self, reply: String) {
        self.faults += 1;
        self.reply(reply);
        if self.faults == FAULTS {
            self.reply(format_args!("{FAULTS} faulty lines in a row: closed"));
            self.owes_frame = false;
            self.leave();
        }
    }

    fn show_from_now_on(&mut self) {
        self.pace = Pace::Next(Instant::now());
    }

    fn leave(&mut self) {
        self.making = None;
        self.asking = None;
        if let Some(screen) = self.screen.take() {
            self.owes_frame = false;
            self.out.draw(&screen.below());
        }
        self.pace = Pace::Leaving { at_latest: Instant::now() + FAREWELL };
    }
}

/// What is being made, when it is there. Cancel safe: the making goes on at
/// the next call.
async fn made<T>(making: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match making {
        Some(made) => made.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
