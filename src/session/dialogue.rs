//! Dialogue: the conversation with one client, without I/O.
//!
//! Events come in: a [line](Dialogue::on_line), the end of the input, a [job](Dialogue::on_made) that is
//! done, a kill that has ended, a [time](Dialogue::on_time). After each of them the dialogue is asked
//! what it wants next: to [read](Dialogue::wants_line), to be [woken](Dialogue::wake_at), to have a
//! [job](Dialogue::next_job) done; and what it has to say is in its [outbox](Dialogue::out).
//!
//! Commands are executed one after the other. One whose answer has to be made is `pending` until the
//! answer is there, and the next line is not read before. So the answers are the same, in the same
//! order, however the lines arrive. The table is not an answer: it comes when it is due, in between,
//! and waits for no line.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::access::{Admitted, AuthResult, Role};
use crate::call::{Call, Called, STILL_RUNNING};
use crate::escape;
use crate::kill::Kill;
use crate::peer::Peer;
use crate::port_command::PortCommand;
use crate::render::{Frame, Wish};
use crate::service::Service;
use crate::session::command::{self, Action, Fault};
use crate::session::kills::{Kills, News};
use crate::session::line::{LONGEST, Line, word};
use crate::session::outbox::Outbox;
use crate::session::question::{Answer, Question};
use crate::session::screen::{self, Screen};
use crate::session::sets::Sets;
use crate::view::View;

/// A first frame that takes longer than this does not hold up a kill.
const LATE: Duration = Duration::from_secs(1);

/// A frozen table thaws by itself: the operator may have gone for coffee.
const FROZEN: Duration = Duration::from_secs(30);

/// How long a client that wants to leave is kept for the outcome of its kills.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a client may take to show a token, and how many wrong ones it may show.
const TOKEN_WITHIN: Duration = Duration::from_secs(10);
const WRONG_TOKENS: u32 = 3;

/// This many faulty lines in a row, and it is no person at a keyboard.
const FAULTS: u32 = 10;

/// Lines are read at a limited rate (GCRA), because each of them costs: so many at once ..
const BURST: u32 = 1000;

/// .. and then one in so long.
const LINE_EVERY: Duration = Duration::from_millis(5);

const TOKEN_FIRST: &str = "this processlist wants a token: auth <token>";
const STANDS_STILL: &str = "frozen: type a command, or Enter to go on";
const NOT_TEXT: &str = "invalid command: not text";

/// The answer to a browser.
const NOT_HTTP: &str = "\
HTTP/1.1 400 Bad Request\r
Content-Type: text/plain; charset=utf-8\r
Content-Length: 51\r
Connection: close\r
\r
this is a processlist for netcat, not a web server";

pub(super) struct Dialogue {
    service: Arc<Service>,
    peer: Arc<Peer>,
    role: Option<Role>,
    phase: Phase,
    /// The command whose answer is being made.
    pending: Option<Pending>,
    view: View,
    /// `top`, while it is on.
    screen: Option<Screen>,
    /// How wide a row is that scrolls, if it is cut.
    width: Option<usize>,
    delay: Duration,
    sets: Sets,
    pub(super) kills: Kills,
    pub(super) out: Outbox,
    last_job: JobId,
    has_sent_a_frame: bool,
    has_read_a_line: bool,
    /// The theoretical arrival time of the rate limit: when it would have sent all its lines, had it sent
    /// one every [`LINE_EVERY`].
    lines_until: Instant,
    /// Faulty lines in a row.
    faults: u32,
    wrong_tokens: u32,
}

/// What comes next for the client if it types nothing. A variant that has its frame `making` forgets that
/// job when the phase changes, and the session drops it.
enum Phase {
    /// To show a token. Until then it is shown nothing.
    Locked { until: Instant },
    /// Its first frame. Commands wait for it, but not for long.
    Opening { until: Instant, making: Option<JobId> },
    /// The next frame, which is being made or comes then.
    Streaming { next: Instant, making: Option<JobId> },
    /// Nothing.
    Frozen { until: Instant, why: Why },
    /// The lines of a reply of a command of the program's own.
    Following { was_frozen: bool },
    /// The outcome of its kills. It says no more, and gets no more frames.
    Leaving { until: Instant },
}

/// Why the table stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The client has frozen it.
    Asked,
    /// An answer stands in its place.
    Answer,
    /// The same, about a set that is being killed: the table goes on when the outcomes are in.
    Set,
}

struct Pending {
    id: JobId,
    /// Until it is taken.
    job: Option<Job>,
    kind: PendingKind,
}

enum PendingKind {
    /// A table that was asked for. When it is made again, no outcome comes in between.
    Frame {
        is_again: bool,
    },
    Answer,
    /// A command of the program's own. When the client is told that it is still running.
    Call {
        verb: String,
        still_running_at: Option<Instant>,
    },
}

/// There are at most two jobs at a time: that of the phase, a scheduled frame, and that of `pending`.
pub(super) type JobId = u64;

/// What is to be done elsewhere.
pub(super) enum Job {
    Frame(View, Wish),
    Answer(Question, View),
    Auth(String),
    Call(Call),
    /// The task is asked where it is parked, and waited for.
    Stack(String),
}

/// What came of a job.
pub(super) enum Made {
    Frame(Frame),
    Answer(Answer),
    Auth(AuthResult),
    Called(Called),
    /// Nothing, because of a bug of ours.
    Failed,
}

impl Dialogue {
    pub(super) fn new(service: Arc<Service>, admitted: Admitted, now: Instant) -> Self {
        let Admitted { role, peer } = admitted;
        let phase = match role {
            None => Phase::Locked { until: now + TOKEN_WITHIN },
            Some(_) => Phase::Opening { until: now + LATE, making: None },
        };
        let mut dialogue = Dialogue {
            role,
            phase,
            pending: None,
            view: View::new(service.limit, Role::clearance(role)),
            screen: None,
            width: None,
            delay: service.delay,
            sets: Sets::default(),
            kills: Kills::new(service.list.clone(), Arc::clone(&peer)),
            out: Outbox::new(now),
            last_job: 0,
            has_sent_a_frame: false,
            has_read_a_line: false,
            lines_until: now,
            faults: 0,
            wrong_tokens: 0,
            service,
            peer,
        };
        if role.is_none() {
            dialogue.reply(TOKEN_FIRST, now);
        }
        dialogue
    }

    // What it wants next.

    /// Whether it wants the next line.
    pub(super) fn wants_line(&self, now: Instant) -> bool {
        self.may_read() && self.line_delay(now).is_zero()
    }

    fn may_read(&self) -> bool {
        let waits = matches!(self.phase, Phase::Opening { .. } | Phase::Leaving { .. });
        !waits && self.pending.is_none() && self.out.has_room()
    }

    /// How long the next line has to wait.
    fn line_delay(&self, now: Instant) -> Duration {
        self.lines_until.saturating_duration_since(now).saturating_sub(LINE_EVERY * (BURST - 1))
    }

    /// Whether it wants to hear of kills that have ended.
    pub(super) fn wants_outcomes(&self) -> bool {
        let is_again = matches!(&self.pending, Some(Pending { kind: PendingKind::Frame { is_again: true }, .. }));
        self.out.has_room() && !is_again
    }

    /// Whether it waits for a command of the program's own, for a client that may say more.
    pub(super) fn is_calling(&self) -> bool {
        let is_call = matches!(&self.pending, Some(Pending { kind: PendingKind::Call { .. }, .. }));
        is_call && !matches!(self.phase, Phase::Leaving { .. })
    }

    /// Whether it follows the lines of a reply.
    pub(super) fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following { .. })
    }

    /// Whether it wants the next of these lines.
    pub(super) fn wants_followed(&self) -> bool {
        self.is_following() && self.out.has_room()
    }

    /// When it wants to be woken, if nothing happens before.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Locked { until } | Phase::Opening { until, .. } => Some(until),
            Phase::Streaming { next: at, making: None } | Phase::Frozen { until: at, .. } => {
                Some(at).filter(|_| self.wants_frames())
            }
            Phase::Leaving { until } => {
                let is_call = matches!(&self.pending, Some(Pending { kind: PendingKind::Call { .. }, .. }));
                Some(until).filter(|_| (!self.kills.is_empty() || is_call) && self.out.has_room())
            }
            Phase::Streaming { .. } | Phase::Following { .. } => None,
        };
        let call = match &self.pending {
            Some(Pending { kind: PendingKind::Call { still_running_at, .. }, .. }) => *still_running_at,
            _ => None,
        };
        let kills = self.kills.wake_at().filter(|_| self.wants_outcomes());
        let line = Some(self.line_delay(now)).filter(|delay| self.may_read() && !delay.is_zero());
        let line = line.map(|delay| now + delay);
        [phase, call, self.sets.expire_at(), kills, line].into_iter().flatten().min()
    }

    /// A job that is to be begun.
    pub(super) fn next_job(&mut self, now: Instant) -> Option<(JobId, Job)> {
        if let Some(Pending { id, job, .. }) = &mut self.pending
            && let Some(job) = job.take()
        {
            return Some((*id, job));
        }
        let is_due = match &self.phase {
            Phase::Opening { making: None, .. } => true,
            Phase::Streaming { next, making: None } => *next <= now && self.wants_frames(),
            _ => false,
        };
        if !is_due {
            return None;
        }
        let (id, job) = (self.new_job(), self.frame_job(false));
        if let Phase::Opening { making, .. } | Phase::Streaming { making, .. } = &mut self.phase {
            *making = Some(id);
        }
        Some((id, job))
    }

    /// Whether it still waits for this job.
    pub(super) fn awaits(&self, id: JobId) -> bool {
        self.making() == Some(id) || self.pending.as_ref().is_some_and(|pending| pending.id == id)
    }

    /// Whether all has been said.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Leaving { .. })
            && self.out.is_empty()
            && self.kills.is_empty()
            && self.pending.is_none()
    }

    /// Frames come only when the last one is out, so a slow client misses some, and not while an
    /// answer is being made.
    fn wants_frames(&self) -> bool {
        let is_free = matches!(&self.pending, None | Some(Pending { kind: PendingKind::Call { .. }, .. }));
        self.out.is_empty() && is_free
    }

    fn making(&self) -> Option<JobId> {
        match self.phase {
            Phase::Opening { making, .. } | Phase::Streaming { making, .. } => making,
            _ => None,
        }
    }

    // What happens.

    /// Does what is due by now.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.sets.forget_expired(now);
        match self.phase {
            Phase::Locked { until } if until <= now => {
                self.pending = None;
                self.reply(format_args!("no token within {} s: closed", TOKEN_WITHIN.as_secs()), now);
                self.leave(now);
            }
            Phase::Opening { until, making } if until <= now => self.phase = Phase::Streaming { next: now, making },
            Phase::Frozen { until, .. } if until <= now && self.wants_frames() => {
                if let Some(screen) = &mut self.screen {
                    // What was said about the table that stood still.
                    self.out.draw(&screen.reply(""), now);
                }
                self.stream(now);
            }
            Phase::Leaving { until } if until <= now && self.out.has_room() => {
                // A table that was asked for is waited for, a command of the program's own is not.
                self.pending.take_if(|pending| matches!(pending.kind, PendingKind::Call { .. }));
                for text in self.kills.give_up(now) {
                    self.tell_news(&News { text, is_asked: false }, now);
                }
            }
            _ => {}
        }
        if let Some(Pending { kind: PendingKind::Call { verb, still_running_at }, .. }) = &mut self.pending
            && still_running_at.take_if(|at| *at <= now).is_some()
        {
            let text = format!("{} is still running after {}s", escape::echo(verb), STILL_RUNNING.as_secs());
            self.tell_news(&News { text, is_asked: true }, now);
        }
        if self.wants_outcomes() {
            for news in self.kills.on_time(now) {
                self.tell_news(&news, now);
            }
        }
    }

    /// A line has been read.
    pub(super) fn on_line(&mut self, line: Line, now: Instant) {
        self.lines_until = self.lines_until.max(now) + LINE_EVERY;
        let is_first = !self.has_read_a_line;
        self.has_read_a_line |= !line.is_empty();
        if line.is_http(is_first) {
            return self.turn_away(NOT_HTTP, now);
        }
        if is_first && line.is_binary() {
            return self.turn_away(NOT_TEXT, now);
        }
        if let Some(screen) = &mut self.screen {
            self.out.draw(&screen.input(), now);
            self.redraw(now);
        }
        match &mut self.phase {
            Phase::Frozen { until, why } => {
                *until = now + FROZEN;
                if *why == Why::Set {
                    *why = Why::Answer;
                }
            }
            Phase::Following { .. } => {
                self.stream(now);
                if line.is_empty() {
                    return;
                }
            }
            _ => {}
        }
        let executed = match line {
            Line::Text(text) => self.execute(&text, now),
            Line::TooLong(_) => Err(format!("line too long: {LONGEST} bytes at most")),
            Line::NotText(_) => Err(NOT_TEXT.to_string()),
            Line::Unfinished => Err("incomplete command: end it with Enter".to_string()),
        };
        match executed {
            // Whether it is at fault is in its answer.
            Ok(()) if self.pending.is_some() => {}
            Ok(()) => self.faults = 0,
            Err(reply) => self.fault(reply, now),
        }
    }

    /// The input has ended.
    pub(super) fn on_end_of_input(&mut self, now: Instant) {
        // Never nothing, with success.
        if !self.has_sent_a_frame && self.role.is_some() && self.pending.is_none() {
            self.ask_for_frame();
        }
        self.leave(now);
    }

    /// A kill that this client waits for has ended.
    pub(super) fn on_kill_ended(&mut self, kill: &Arc<Kill>, now: Instant) {
        let news = self.kills.on_ended(kill);
        let is_through = matches!(self.phase, Phase::Frozen { why: Why::Set, .. }) && !self.kills.has_sets();
        if let Some(screen) = self.screen.as_mut().filter(|_| is_through) {
            screen.fold();
        }
        if let Some(news) = news {
            self.tell_news(&news, now);
        }
        // On a screen the table is all that is looked at: it is not to list the dead.
        if is_through || self.screen.is_some() && matches!(self.phase, Phase::Streaming { .. }) {
            self.stream(now);
        }
    }

    /// A job is done.
    pub(super) fn on_made(&mut self, id: JobId, made: Made, now: Instant) {
        if self.making() == Some(id) {
            return self.on_frame(made, now);
        }
        let Some(Pending { kind, .. }) = self.pending.take_if(|pending| pending.id == id) else { return };
        match made {
            // A row that was reported dead meanwhile must not come back.
            Made::Frame(frame) if self.is_old(&frame) => {
                self.pend(self.frame_job(true), PendingKind::Frame { is_again: true });
            }
            Made::Frame(frame) => self.show_answer(&frame, now),
            Made::Answer(answer) => return self.on_answer(answer, now),
            Made::Auth(result) => self.on_auth(result, now),
            Made::Called(called) => return self.on_called(kind, called, now),
            Made::Failed => self.reply("internal error: this could not be made, the rest goes on", now),
        }
        self.faults = 0;
    }

    /// The reply that is followed has another line, or has ended.
    pub(super) fn on_followed(&mut self, line: Option<String>, now: Instant) {
        match (line, &self.phase) {
            (Some(line), _) if self.screen.is_none() => self.reply_lines(&line, now),
            // There is one row for them.
            (Some(line), _) => {
                let last = escape::plain(line.lines().last().unwrap_or_default()).to_string();
                if let Some(screen) = &mut self.screen {
                    self.out.draw(&screen.reply_in_a_row(if last.is_empty() { "-" } else { &last }), now);
                    self.redraw(now);
                }
            }
            (None, Phase::Following { was_frozen: true }) => self.freeze(Why::Asked, now),
            (None, _) => self.stream(now),
        }
    }

    // How frames are shown.

    fn on_frame(&mut self, made: Made, now: Instant) {
        let Made::Frame(frame) = made else {
            return self.phase = Phase::Streaming { next: now + self.delay, making: None };
        };
        if let Phase::Opening { making, .. } | Phase::Streaming { making, .. } = &mut self.phase {
            *making = None;
        }
        // A reply came in between: another frame is due at once.
        if !self.out.is_empty() || self.is_old(&frame) {
            return;
        }
        let bytes = match &mut self.screen {
            Some(screen) => screen.table(frame.table()).into(),
            None => frame.bytes(!self.has_sent_a_frame),
        };
        self.out.frame(bytes, frame.began);
        self.has_sent_a_frame = true;
        self.phase = Phase::Streaming { next: frame.next(self.delay), making: None };
    }

    fn is_old(&self, frame: &Frame) -> bool {
        self.out.last_reply().is_some_and(|reply| frame.began < reply)
    }

    /// Shows a frame that was asked for, in its place among the answers.
    fn show_answer(&mut self, frame: &Frame, now: Instant) {
        match &mut self.screen {
            Some(screen) => self.out.draw(&screen.table(frame.table()), now),
            None => self.out.bytes(frame.bytes(!self.has_sent_a_frame), now),
        }
        self.has_sent_a_frame = true;
        match self.phase {
            // What looks like the table is the table.
            Phase::Frozen { why: Why::Answer | Why::Set, .. } if self.screen.is_some() => {}
            Phase::Opening { .. } | Phase::Streaming { .. } => {}
            Phase::Frozen { .. } if self.screen.is_some() => return self.reply(STANDS_STILL, now),
            _ => return,
        }
        self.phase = Phase::Streaming { next: frame.next(self.delay), making: None };
    }

    /// On a screen, the tasks of a set stay to be read until their outcomes are in.
    fn freeze_for_set(&mut self, now: Instant) {
        if self.screen.is_none() || !matches!(self.phase, Phase::Frozen { .. }) {
            return;
        }
        if self.kills.has_sets() {
            self.freeze(Why::Set, now);
        } else {
            self.stream(now);
        }
    }

    /// Frames come again, the first at once.
    fn stream(&mut self, now: Instant) {
        self.phase = Phase::Streaming { next: now, making: None };
    }

    fn freeze(&mut self, why: Why, now: Instant) {
        self.phase = Phase::Frozen { until: now + FROZEN, why };
    }

    // How answers are told.

    /// One line or several. On a screen several lines take the place of the table, which waits until
    /// they have been read.
    fn reply(&mut self, text: impl Display, now: Instant) {
        let Some(screen) = &mut self.screen else { return self.out.reply(text, now) };
        let text = text.to_string();
        if !screen.has_room_for(&text) {
            return self.read(|screen| screen.text(&text), now);
        }
        let drawn = match self.phase {
            Phase::Frozen { why: Why::Answer, .. } => screen.reply_above_hint(&text),
            _ => screen.reply(&text),
        };
        self.out.draw(&drawn, now);
        self.redraw(now);
    }

    /// What a question is answered. On a screen it does not stand above the answer to an earlier one.
    fn answer(&mut self, text: &str, now: Instant) {
        match self.screen.is_some() && matches!(self.phase, Phase::Frozen { .. }) {
            true => self.read(|screen| screen.text(text), now),
            false => self.reply(text, now),
        }
    }

    /// Shows something on the screen, in the place of the table, until it has been read.
    fn read(&mut self, draw: impl FnOnce(&mut Screen) -> String, now: Instant) {
        let Some(screen) = &mut self.screen else { return };
        let back = screen.hint("Enter: back to the table");
        let drawn = draw(screen);
        self.out.draw(&(drawn + &back), now);
        if !matches!(self.phase, Phase::Leaving { .. }) {
            self.freeze(Why::Answer, now);
        }
    }

    /// A reply may take more rows than the last one, and the table less.
    fn redraw(&mut self, now: Instant) {
        if let Some(drawn) = self.screen.as_mut().and_then(Screen::redrawn) {
            self.out.draw(&drawn, now);
        }
    }

    /// Something that happens by itself. It does not take the place of a table that somebody reads.
    fn tell_news(&mut self, news: &News, now: Instant) {
        let Some(screen) = &mut self.screen else { return self.reply(&news.text, now) };
        if matches!(self.phase, Phase::Frozen { why: Why::Set, .. })
            && let Some(drawn) = screen.append(&news.text)
        {
            return self.out.draw(&drawn, now);
        }
        self.out.draw(&screen.news(news.text.lines().last().unwrap_or_default(), news.is_asked), now);
        self.redraw(now);
    }

    /// Lines that are not ours.
    fn reply_lines(&mut self, text: &str, now: Instant) {
        let lines: Vec<_> = text.lines().map(|line| escape::plain(line).to_string()).collect();
        // No empty line is ever sent: a script splits on those.
        let lines = lines.iter().map(|line| if line.is_empty() { "-" } else { line.as_str() });
        let text = lines.collect::<Vec<_>>().join("\n");
        self.reply(if text.is_empty() { "-" } else { &text }, now);
    }

    fn on_answer(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Fault(reply) => return self.fault(reply, now),
            Answer::Lines(text) if text.is_empty() => {}
            Answer::Lines(text) => self.answer(text.strip_suffix('\n').unwrap_or(&text), now),
            Answer::Log(text) if text.contains('\n') && self.screen.is_some() => {
                self.read(|screen| screen.end_of(&text), now);
            }
            Answer::Log(text) => self.answer(&text, now),
            Answer::Table(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                match self.has_sent_a_frame && self.screen.is_none() {
                    true => self.reply(format_args!("\n{text}"), now),
                    false => self.reply(text, now),
                }
                self.has_sent_a_frame = true;
            }
            Answer::View(view) => {
                // Its width and its clearance may have changed since.
                self.view = View { width: self.view.width, clearance: self.view.clearance, ..view };
                // The table of it is the answer.
                self.ask_for_frame();
            }
            Answer::Tasks { verb, table, tasks, total } => {
                let those = match tasks.len() {
                    1 => "this one".to_string(),
                    n if n < total => format!("the oldest {n} of these {total}"),
                    n => format!("these {n}"),
                };
                let token = self.sets.offer(&verb, tasks, |token| self.kills.has_set(token), now);
                let rest = if verb == "kill" { " <message>" } else { "" };
                let next = format!("{verb} {token}{rest} to {verb} {those}");
                match &mut self.screen {
                    None => self.reply(format_args!("{table}{next}"), now),
                    Some(screen) => {
                        let next = screen.hint(&next);
                        let rows: Vec<&str> = table.lines().collect();
                        let table = match rows.get(..=screen.rows()).filter(|seen| seen.len() < rows.len()) {
                            Some(seen) => format!("{}\n... {} more", seen.join("\n"), total + 1 - seen.len()),
                            None => table,
                        };
                        self.out.draw(&(screen.table(&table) + &next), now);
                        self.freeze(Why::Answer, now);
                    }
                }
            }
        }
        self.faults = 0;
    }

    fn on_auth(&mut self, result: AuthResult, now: Instant) {
        let may = |role| match role {
            Some(Role::Kill) => "you may see and kill",
            Some(Role::See) => "you may see",
            None => "you may not see anything",
        };
        match result {
            AuthResult::Right(role) if Some(role) > self.role => {
                let had_none = self.role.is_none();
                self.role = Some(role);
                self.view.clearance = Role::clearance(self.role);
                self.reply(may(self.role), now);
                if had_none {
                    self.phase = Phase::Opening { until: now + LATE, making: None };
                } else {
                    self.ask_for_frame();
                }
            }
            AuthResult::Right(_) => self.reply(may(self.role), now),
            AuthResult::None => self.reply(format_args!("no token is set: {}", may(self.role)), now),
            AuthResult::Wrong => {
                self.wrong_tokens += 1;
                self.reply("wrong token", now);
                if self.wrong_tokens == WRONG_TOKENS {
                    self.reply(format_args!("{WRONG_TOKENS} wrong tokens: closed"), now);
                    self.leave(now);
                }
            }
        }
    }

    fn on_called(&mut self, kind: PendingKind, called: Called, now: Instant) {
        let verb = if let PendingKind::Call { verb, .. } = kind { verb } else { String::new() };
        match called {
            Called::Text(text) => self.reply_lines(&text, now),
            Called::Lines if matches!(self.phase, Phase::Leaving { .. }) => {}
            Called::Lines => {
                let was_frozen = matches!(self.phase, Phase::Frozen { .. });
                self.phase = Phase::Following { was_frozen };
            }
            Called::Error(error) => return self.fault(escape::plain(&error).to_string(), now),
            Called::Panicked => return self.fault(format!("{} panicked", escape::echo(&verb)), now),
        }
        self.faults = 0;
    }

    fn fault(&mut self, reply: String, now: Instant) {
        self.faults += 1;
        self.reply(&reply, now);
        if self.faults == FAULTS {
            self.reply(format_args!("{FAULTS} faulty lines in a row: closed"), now);
            self.leave(now);
        }
    }

    /// Ends the session of a program that does not know where it is: nothing more is executed.
    fn turn_away(&mut self, why: &str, now: Instant) {
        self.kills.clear();
        self.out.reply(why, now);
        self.leave(now);
    }

    // How commands are executed.

    /// Executes one line of text.
    ///
    /// # Errors
    ///
    /// The reply to a line that is at fault.
    fn execute(&mut self, line: &str, now: Instant) -> Result<(), String> {
        let (verb, args) = word(line);
        let meant = || command::find_meant(line).filter(|_| self.service.command(verb).is_none());
        if let Some((command, rest)) = command::find(line).or_else(meant) {
            self.check_role(command.role)?;
            let action = (command.action)(rest).map_err(|fault| match fault {
                Fault::Usage => usage(verb, command.usage),
                Fault::Reply(reply) => reply,
            });
            return self.act(action?, now);
        }
        self.check_role(Some(Role::See))?;
        match self.service.command(verb).cloned() {
            Some(command) => {
                self.check_role(Some(command.role))?;
                self.call(command, args, now)
            }
            None => Err(format!("invalid command '{}': try help", escape::echo(verb))),
        }
    }

    fn act(&mut self, action: Action, now: Instant) -> Result<(), String> {
        match action {
            Action::Ask(Question::Json) if self.screen.is_some() => {
                return Err("json is for a pipe: type plain before it".to_string());
            }
            Action::Ask(question) => self.pend(Job::Answer(question, self.view.clone()), PendingKind::Answer),
            Action::ShowTable => self.ask_for_frame(),
            Action::Stack(name) => self.pend(Job::Stack(name), PendingKind::Answer),
            Action::Limit(rows) => {
                self.view.limit = rows;
                self.ask_for_frame();
            }
            Action::Delay(delay) => {
                self.delay = delay;
                self.ask_for_frame();
            }
            Action::Kill { name, message } => self.kill(&name, &message, now),
            Action::DrawInPlace(size) => self.set_screen(Some(Screen::new(size)), now),
            Action::Scroll => self.set_screen(None, now),
            Action::Width(width) => {
                self.width = width;
                if self.screen.is_none() {
                    self.view.width = width;
                }
                self.ask_for_frame();
            }
            Action::Authenticate(token) => self.pend(Job::Auth(token), PendingKind::Answer),
            Action::FreezeOrThaw if matches!(self.phase, Phase::Frozen { .. }) => {
                self.stream(now);
                self.ask_for_frame();
            }
            Action::FreezeOrThaw => {
                self.freeze(Why::Asked, now);
                self.reply(STANDS_STILL, now);
            }
            Action::Help => self.help(now),
            Action::Quit => self.on_end_of_input(now),
        }
        Ok(())
    }

    fn check_role(&self, needed: Option<Role>) -> Result<(), String> {
        match self.role {
            role if needed <= role => Ok(()),
            None => Err(TOKEN_FIRST.to_string()),
            _ if self.service.access.read_only => Err("forbidden: this processlist is read-only".to_string()),
            _ if self.service.access.tokens.are_set() => {
                Err("forbidden: you may see, not kill: auth <token> may help".to_string())
            }
            _ => Err("forbidden: you may see, not kill".to_string()),
        }
    }

    fn new_job(&mut self) -> JobId {
        self.last_job += 1;
        self.last_job
    }

    fn pend(&mut self, job: Job, kind: PendingKind) {
        // A frame that is being made would be older than the answer.
        if !matches!(kind, PendingKind::Call { .. })
            && let Phase::Streaming { making, .. } = &mut self.phase
        {
            *making = None;
        }
        self.pending = Some(Pending { id: self.new_job(), job: Some(job), kind });
    }

    fn frame_job(&self, is_asked: bool) -> Job {
        let rows = self.screen.as_ref().map_or(usize::MAX, Screen::rows);
        let view = View { limit: self.view.limit.min(rows), ..self.view.clone() };
        Job::Frame(view, Wish { newer_than: self.out.last_reply(), delay: self.delay, is_asked })
    }

    /// A table, as an answer.
    fn ask_for_frame(&mut self) {
        self.pend(self.frame_job(true), PendingKind::Frame { is_again: false });
    }

    /// Draws in place, or scrolls again.
    fn set_screen(&mut self, screen: Option<Screen>, now: Instant) {
        self.view.width = screen.as_ref().map_or(self.width, |screen| Some(screen.width()));
        if screen.is_some() || self.screen.is_some() {
            self.out.draw(screen::CLEAR, now);
        }
        self.screen = screen;
        self.stream(now);
        self.ask_for_frame();
    }

    fn help(&mut self, now: Instant) {
        let mut lines = command::help();
        if self.screen.is_none() {
            lines.push(command::help_line("Ctrl-R", "reprint a half-typed line that has scrolled away"));
        }
        let own = &self.service.commands;
        if !own.is_empty() && self.role.is_some() {
            lines.push("commands of this program:".to_string());
            let line = |command: &PortCommand| {
                let (usage, help) = (escape::plain(&command.usage), escape::plain(&command.help));
                command::help_line(&usage.to_string(), &help.to_string()).trim_end().to_string()
            };
            lines.extend(own.iter().map(line));
        }
        self.reply(lines.join("\n"), now);
    }

    /// `kill <id>` and `kill @<token>`.
    fn kill(&mut self, name: &str, message: &str, now: Instant) {
        if !name.starts_with('@') {
            let reply = self.kills.request(name, message, now);
            let has_lines = reply.contains('\n');
            if !has_lines && self.screen.is_some() && matches!(self.phase, Phase::Frozen { why: Why::Answer, .. }) {
                // An answer in which the task is alive would contradict the outcome.
                self.stream(now);
            }
            self.reply(reply, now);
            if has_lines {
                self.freeze_for_set(now);
            }
            return;
        }
        let tasks = match self.sets.get("kill", name, now) {
            Ok(tasks) => tasks,
            Err(reply) => return self.reply(reply, now),
        };
        match self.kills.request_set(&name.to_ascii_lowercase(), tasks, message, now) {
            Ok(reply) => {
                self.sets.forget(name);
                if let Some(screen) = &mut self.screen {
                    screen.forget_hint();
                }
                self.reply(reply, now);
                self.freeze_for_set(now);
            }
            Err(reply) => self.reply(reply, now),
        }
    }

    /// A command of the program's own.
    fn call(&mut self, command: PortCommand, args: &str, now: Instant) -> Result<(), String> {
        let verb = command.name.clone();
        let mut tasks = None;
        let mut args = args;
        if command.is_on_rows {
            let (name, rest) = word(args);
            let of_rows = || usage(&verb, &command.usage);
            match name {
                "" => return Err(of_rows()),
                _ if name.eq_ignore_ascii_case("where") && rest.is_empty() => return Err(of_rows()),
                _ if name.eq_ignore_ascii_case("where") => {
                    return self.act(Action::Ask(Question::Tasks { verb, expr: rest.to_string() }), now);
                }
                _ if name.starts_with('@') => {
                    tasks = Some(self.sets.get(&verb, name, now)?.to_vec());
                    self.sets.forget(name);
                }
                _ => match escape::parse_id(name).and_then(|id| self.service.list.find(&id)) {
                    Some(task) => tasks = Some(vec![task]),
                    None if command.is_row_optional => {}
                    None => return Err(format!("no such process '{}'", escape::echo(name))),
                },
            }
            if tasks.is_some() {
                args = rest;
            }
        }
        let call = Call {
            command,
            args: args.to_string(),
            peer: Arc::clone(&self.peer),
            role: self.role.unwrap_or(Role::See),
            tasks,
            list: self.service.list.clone(),
        };
        self.pend(Job::Call(call), PendingKind::Call { verb, still_running_at: Some(now + STILL_RUNNING) });
        Ok(())
    }

    /// `quit`, and the end of the session for any other reason.
    fn leave(&mut self, now: Instant) {
        if let Some(screen) = self.screen.take() {
            self.pending = None;
            self.out.draw(&screen.below(), now);
        }
        self.phase = Phase::Leaving { until: now + FAREWELL };
    }
}

fn usage(verb: &str, usage: &str) -> String {
    let verb = escape::echo(verb).to_string();
    let only = if usage.eq_ignore_ascii_case(&verb) { ", and nothing after it" } else { "" };
    format!("invalid command '{verb}': {}{only}", escape::plain(usage))
}

#[cfg(test)]
mod tests;
