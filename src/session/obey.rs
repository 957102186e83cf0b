//! Obey: what each command does to a session, and who may give it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::access::{Role, Tried};
use crate::escape;
use crate::list::ProcList;
use crate::session::answer::{self, Answer, Context};
use crate::session::command::{Command, HELP, HELP_SCROLLING, Question};
use crate::session::screen::{self, Screen};
use crate::session::{LATE, Pace, Session, TOKEN_FIRST, TRIES};
use crate::view::expr::Expr;
use crate::view::field::{Field, Fields};
use crate::view::{Sort, View, quoted};

impl<S: AsyncRead + AsyncWrite> Session<S> {
    /// Does what `command` says.
    ///
    /// # Errors
    ///
    /// The reply to a command that cannot be obeyed.
    pub(super) fn obey(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Enter => match self.pace {
                Pace::Next(_) => {
                    self.freeze();
                    self.reply("frozen: type a command, or Enter to go on");
                }
                Pace::Frozen { .. } => self.show_from_now_on(),
                Pace::Outside { .. } | Pace::Leaving { .. } => {}
            },
            Command::List => self.show_soon(),
            Command::Where(text) => {
                self.view.filter = match text.as_str() {
                    "" => None,
                    text => Some(Expr::parse(text, &self.fields()).map_err(|invalid| invalid.to_string())?),
                };
                self.look_again();
            }
            Command::Sort(text) => {
                let (name, descending) = match text.strip_prefix('-') {
                    Some(name) => (name, true),
                    None => (text.as_str(), false),
                };
                self.view.sort = match name {
                    "" => None,
                    name => {
                        Some(Sort { field: answer::named(self.service.frames.list(), &self.view, name)?, descending })
                    }
                };
                self.look_again();
            }
            Command::Limit(rows) => {
                self.view.limit = rows;
                self.look_again();
            }
            Command::Cols(text) => {
                let names = quoted::names(&text)
                    .map_err(|fault| format!("invalid column '{}': {fault}", escape::echo(&text)))?;
                let fields = self.fields();
                let find = |name: &String| {
                    fields.find(name).map_err(|why| format!("invalid column '{}': {why}", escape::echo(name)))
                };
                let columns: Vec<Field> = names.iter().map(find).collect::<Result<_, _>>()?;
                if let Some((_, twice)) =
                    columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column))
                {
                    return Err(format!("invalid column '{}': it is there already", escape::echo(twice.name())));
                }
                self.view.columns = Some(columns).filter(|columns| !columns.is_empty());
                self.look_again();
            }
            Command::Ask(Question::Json) if self.screen.is_some() => {
                return Err("json is for a pipe: type plain before it".to_string());
            }
            Command::Ask(question) => self.ask(question),
            Command::Top(size) => {
                self.screen = Some(Screen::new(size));
                self.out.draw(screen::CLEAR);
                self.look_again();
                self.show_from_now_on();
            }
            Command::Plain => {
                if self.screen.take().is_some() {
                    self.out.draw(screen::CLEAR);
                }
                self.look_again();
                self.show_from_now_on();
            }
            Command::Kill { name, message } => {
                let reply = self.kills.ask(&name, message);
                self.reply(reply);
            }
            Command::KillSet { token, message } => match self.sets.get(&token) {
                Ok(victims) => match self.kills.ask_all(&token, victims, &message) {
                    Ok(reply) => {
                        self.sets.forget(&token);
                        self.reply(reply);
                    }
                    Err(reply) => self.reply(reply),
                },
                Err(reply) => self.reply(reply),
            },
            Command::Delay(delay) => {
                self.delay = delay;
                self.show_soon();
            }
            Command::Auth(token) => {
                let service = Arc::clone(&self.service);
                self.asking = Some(Box::pin(async move { Answer::Tried(service.access.auth(token).await) }));
            }
            Command::Help => match self.screen {
                Some(_) => self.reply(HELP),
                None => self.reply(format_args!("{HELP}\n{HELP_SCROLLING}")),
            },
            Command::Quit => self.leave(),
        }
        Ok(())
    }

    /// What a client is told that asks for more than its role.
    pub(super) fn forbidden(&self) -> String {
        match self.role {
            Role::Nothing => TOKEN_FIRST.to_string(),
            _ if self.service.access.read_only => "forbidden: this processlist is read-only".to_string(),
            _ if self.service.access.tokens.are_set() => {
                "forbidden: you may see, not kill: auth <token> may help".to_string()
            }
            _ => "forbidden: you may see, not kill".to_string(),
        }
    }

    /// What came of an `auth`.
    pub(super) fn show_role(&mut self, tried: Tried) {
        let may = |role| if role == Role::Kill { "you may see and kill" } else { "you may see" };
        match tried {
            Tried::Right(role) if role > self.role => {
                if self.role == Role::Nothing {
                    self.pace = Pace::Next(Instant::now());
                    self.listens_from = Instant::now() + LATE;
                }
                self.role = role;
                self.view.reveal = role == Role::Kill;
                self.reply(may(role));
                self.look_again();
            }
            Tried::Right(_) => self.reply(may(self.role)),
            Tried::None => self.reply(format_args!("no token is set: {}", may(self.role))),
            Tried::Wrong => {
                self.wrong_tokens += 1;
                self.reply("wrong token");
                if self.wrong_tokens == TRIES {
                    self.reply(format_args!("{TRIES} wrong tokens: closed"));
                    self.leave();
                }
            }
        }
    }

    /// Shows the view as it is from now on.
    fn look_again(&mut self) {
        let rows = self.screen.as_ref().map_or(usize::MAX, Screen::rows);
        let view = View { limit: self.view.limit.min(rows), ..self.wide_view() };
        self.shared = self.service.frames.of(view);
        self.show_soon();
    }

    fn ask(&mut self, question: Question) {
        let service = Arc::clone(&self.service);
        let clients = service.clients.load(Ordering::Relaxed);
        let context = Context { view: self.wide_view(), clients };
        let urgent = question.is_urgent();
        let make = move |list: &ProcList| answer::answer(&question, list, &context);
        self.asking = Some(Box::pin(async move { service.frames.make(urgent, make).await }));
    }

    /// The view, with the width of the screen if there is one.
    fn wide_view(&self) -> View {
        View { width: self.screen.as_ref().map(Screen::width), ..self.view.clone() }
    }

    /// The columns that this client may name.
    fn fields(&self) -> Fields {
        Fields::of(self.service.frames.list(), self.view.reveal)
    }
}
