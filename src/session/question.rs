//! Question: what a client asks about the list, and what it is answered. Runs where rendering does.

use std::fmt::Write;
use std::sync::Arc;

use crate::clock::Moment;
use crate::entry::Entry;
use crate::escape;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::render::Lane;
use crate::session::kills::MOST;
use crate::view::done::Which;
use crate::view::expr::Expr;
use crate::view::field::Field;
use crate::view::{Selection, View, by, done, json, kinds, show, stats, table, tree};

/// How many tasks `kill where` prints.
const VICTIMS: usize = 50;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    /// What the view is from now on, when a part of it is changed.
    Where(String),
    Sort(String),
    Cols(String),
    By(String),
    Show(String),
    Done(Which),
    Slow(Which),
    Odd,
    Kinds,
    Stats,
    Audit,
    Json,
    Tree,
    /// The tasks for which an expression holds, for the command of that name.
    Tasks {
        verb: String,
        expr: String,
    },
}

pub(super) enum Answer {
    /// Whole lines.
    Lines(String),
    /// The same, and the last of them matter most.
    Log(String),
    /// One printout, in the place of a frame.
    Table(String),
    /// What is shown from now on.
    View(View),
    /// The tasks that match, as a table, and how many more there are.
    Tasks { verb: String, table: String, tasks: Vec<Arc<Entry>>, total: usize },
    /// The question was at fault.
    Fault(String),
}

impl Question {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Question::Show(_) | Question::Audit => Lane::Quick,
            Question::Tasks { .. } => Lane::Urgent,
            _ => Lane::Asked,
        }
    }

    /// How many tasks it looks at.
    pub(super) fn size(&self, list: &ProcList) -> usize {
        match self {
            Question::Show(_) | Question::Audit => 1,
            Question::Done(_) | Question::Slow(_) => list.finished().len(),
            Question::Stats => list.len() + list.finished().len(),
            _ => list.len(),
        }
    }

    /// The answer to a client that has this view, one of so many.
    pub(super) async fn answer(self, list: ProcList, view: View, clients: usize) -> Answer {
        let (list, pace) = (&list, &mut Pace::in_pieces());
        self.try_answer(list, view, clients, pace).await.unwrap_or_else(Answer::Fault)
    }

    async fn try_answer(
        self,
        list: &ProcList,
        mut view: View,
        clients: usize,
        pace: &mut Pace,
    ) -> Result<Answer, String> {
        Ok(match self {
            Question::Where(expr) => {
                view.filter_by(&expr, list)?;
                Answer::View(view)
            }
            Question::Sort(column) => {
                view.sort_by(&column, list)?;
                Answer::View(view)
            }
            Question::Cols(columns) => {
                view.choose_columns(&columns, list)?;
                Answer::View(view)
            }
            Question::By(column) => {
                let field = view.field(&column, list)?;
                if field.is_time() || field == Field::Progress {
                    return Err(format!("invalid column '{}': by counts texts that are equal", field.name()));
                }
                Answer::Table(by::render(list, &view, &field))
            }
            Question::Show(name) => Answer::Lines(
                show::render(list, &name, view.clearance)
                    .unwrap_or_else(|| format!("no such process '{}'\n", escape::echo(&name))),
            ),
            Question::Done(which) => Answer::Lines(done::done(list, &which, &view)?),
            Question::Slow(which) => Answer::Lines(done::slow(list, &which, &view)?),
            Question::Odd => Answer::Lines(kinds::odd(list, &view)?),
            Question::Kinds => Answer::Lines(kinds::render(list, &view)?),
            Question::Stats => Answer::Lines(stats::render(list, clients)),
            Question::Audit => Answer::Log(list.audit().render()),
            Question::Tree => Answer::Table(tree::render(list, &view, pace).await),
            Question::Json => Answer::Lines(json::render(list, &view, pace).await),
            Question::Tasks { verb, expr } => {
                let filter = Expr::parse(&expr, view.fields(list)).map_err(|invalid| invalid.to_string())?;
                tasks(verb, list, filter, &view, pace).await
            }
        })
    }
}

/// The oldest tasks for which `filter` holds, as the columns of `view` show them.
async fn tasks(verb: String, list: &ProcList, filter: Expr, view: &View, pace: &mut Pace) -> Answer {
    let now = Moment::now();
    let mut all = View { filter: Some(filter), sort: None, limit: MOST, ..view.clone() };
    // A task that is to be killed must have a name.
    if let Some(columns) = all.columns.as_mut().filter(|columns| !columns.contains(&Field::Id)) {
        columns.insert(0, Field::Id);
    }
    let Selection { tasks, total } = all.select(list, now);
    if tasks.is_empty() {
        return Answer::Lines("no task matches\n".to_string());
    }
    pace.breathe().await;
    let shown = &tasks[..tasks.len().min(VICTIMS)];
    let mut table = table::rows(list, &table::fields(list, &all), shown, now, &all, pace).await;
    if shown.len() < total {
        let written = writeln!(table, "... {} more", total - shown.len());
        debug_assert!(written.is_ok(), "a String takes whatever is written to it");
    }
    Answer::Tasks { verb, table, tasks, total }
}
