//! Answer: what a question about the whole list is answered.

use std::fmt::Write;
use std::sync::Arc;

use crate::access::Tried;
use crate::clock::Moment;
use crate::entry::Entry;
use crate::escape;
use crate::list::ProcList;
use crate::session::command::Question;
use crate::session::kills::MOST;
use crate::view::expr::Expr;
use crate::view::field::{Field, Fields};
use crate::view::{Selection, View, detail, endings, groups, json, quoted, stats, table};

/// How many victims `kill where` prints.
const VICTIMS: usize = 50;

pub(crate) enum Answer {
    /// Whole lines.
    Lines(String),
    /// One printout, in the place of a frame.
    Frame(String),
    /// Somebody to be killed: the table of them, and how many more there are.
    Victims { table: String, victims: Vec<Arc<Entry>>, total: usize },
    /// What came of showing a token.
    Tried(Tried),
    /// The question was at fault.
    Fault(String),
}

/// What may be asked about.
pub(crate) struct Context {
    pub(crate) view: View,
    pub(crate) clients: usize,
}

pub(crate) fn answer(question: &Question, list: &ProcList, context: &Context) -> Answer {
    let Context { view, clients } = context;
    match question {
        Question::By(text) => match named(list, view, text) {
            Ok(field) if field.is_time() => {
                Answer::Fault(format!("invalid column '{}': by counts texts that are equal", field.name()))
            }
            Ok(field) => Answer::Frame(groups::render(list, view, &field)),
            Err(fault) => Answer::Fault(fault),
        },
        Question::Show(name) => match detail::render(list, name, view.reveal) {
            Some(text) => Answer::Lines(text),
            None => Answer::Lines(format!("no such process '{}'\n", escape::echo(name))),
        },
        Question::Done(n) => Answer::Lines(endings::done(list, *n, view)),
        Question::Slow(n) => Answer::Lines(endings::slow(list, *n, view)),
        Question::Stats => Answer::Lines(stats::render(list, *clients)),
        Question::Audit => Answer::Lines(list.audit().render()),
        Question::Json => Answer::Lines(json::render(list, view)),
        Question::KillWhere(text) => match Expr::parse(text, &Fields::of(list, view.reveal)) {
            Ok(filter) => victims(list, filter, view),
            Err(invalid) => Answer::Fault(invalid.to_string()),
        },
    }
}

/// The column that a client has named, by itself or between quotes.
///
/// # Errors
///
/// The reply.
pub(super) fn named(list: &ProcList, view: &View, text: &str) -> Result<Field, String> {
    let invalid = |why: String| format!("invalid column '{}': {why}", escape::echo(text));
    let name = quoted::name(text).map_err(|fault| invalid(fault.to_string()))?;
    Fields::of(list, view.reveal).find(&name).map_err(invalid)
}

/// The oldest tasks for which `filter` holds, as the columns of `view` show them.
fn victims(list: &ProcList, filter: Expr, view: &View) -> Answer {
    let now = Moment::now();
    // Whoever is to be killed must have a name.
    let mut columns = view.columns.clone();
    if let Some(columns) = columns.as_mut().filter(|columns| !columns.contains(&Field::Id)) {
        columns.insert(0, Field::Id);
    }
    let all = View { filter: Some(filter), sort: None, limit: MOST, columns, reveal: view.reveal, width: view.width };
    let Selection { tasks: victims, total } = all.select(list, now);
    if victims.is_empty() {
        return Answer::Lines("nobody: no task matches\n".to_string());
    }
    let shown = &victims[..victims.len().min(VICTIMS)];
    let mut table = table::rows(&table::fields(list, &all), shown, now, &all);
    if shown.len() < total {
        let written = writeln!(table, "... {} more", total - shown.len());
        debug_assert!(written.is_ok(), "a String takes whatever is written to it");
    }
    Answer::Victims { table, victims, total }
}
