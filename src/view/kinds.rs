//! Kinds: `kinds` and `odd`. How long each kind of work takes, and what takes too long for its kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::columns::Clearance;
use crate::duration::seconds;
use crate::entry::{Depth, Entry, EntryRef};
use crate::escape;
use crate::kinds::{self, Kinds, Known};
use crate::list::ProcList;
use crate::view::field::{self, Field};
use crate::view::grid::Grid;
use crate::view::{View, table};

/// How long a kind is taken for that has not ended yet.
const NONE: Known = Known {
    counted: 0,
    per_second: 0.0,
    p50: Duration::ZERO,
    p99: Duration::ZERO,
    max: Duration::ZERO,
    killed: 0,
    panicked: 0,
};

/// A row a kind: most of all in a second first.
///
/// # Errors
///
/// The program names no kinds.
pub(crate) fn render(list: &ProcList, view: &View) -> Result<String, String> {
    let kinds = known_to(list, view.clearance)?;
    let mut rows: HashMap<&str, (usize, &Known)> =
        kinds.iter().map(|(name, known)| (name.as_str(), (0, known))).collect();
    let running = list.filter_map(true, |_, row| kinds::name(row, &kinds.column));
    let is_known = |is_secret: bool| view.clearance == Clearance::Secret || !is_secret;
    for (name, _) in running.iter().filter(|(_, is_secret)| is_known(*is_secret)) {
        rows.entry(name).or_insert((0, &NONE)).0 += 1;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable_by(|(a, (n, x)), (b, (m, y))| {
        y.per_second.total_cmp(&x.per_second).then_with(|| m.cmp(n)).then_with(|| a.cmp(b))
    });
    let total = rows.len();
    rows.truncate(view.limit);
    let name = escape::echo(&kinds.column).to_string();
    let header = [&name, ">running", ">ended/s", ">p50", ">p99", ">max", ">killed", ">panicked"];
    let mut grid = Grid::new(header);
    let shown = rows.len();
    let others = kinds.others.as_ref().map(|others| ("(others)".to_string(), "".to_string(), others));
    let rows = rows.into_iter().map(|(name, (n, known))| (escape::echo(name).to_string(), n.to_string(), known));
    for (name, running, known) in rows.chain(others) {
        let or_dash = |time| if known.counted == 0 { "-".to_string() } else { seconds(time) };
        let [p50, p99, max] = [known.p50, known.p99, known.max].map(or_dash);
        let (killed, panicked) = (known.killed.to_string(), known.panicked.to_string());
        grid.push([name, running, format!("{:.1}", known.per_second), p50, p99, max, killed, panicked]);
    }
    let mut text = grid.fit(view.width).finish();
    table::push_rest(&mut text, shown, total);
    Ok(text)
}

/// The running tasks that `view` shows and that are odd for their kind, the worst first.
///
/// # Errors
///
/// The program names no kinds.
pub(crate) fn odd(list: &ProcList, view: &View) -> Result<String, String> {
    let kinds = known_to(list, view.clearance)?;
    let now = Moment::now();
    let mut odd: Vec<(f64, Arc<Entry>)> = list.filter_map(false, |task, row| {
        let times = kinds.oddness(row, row.age(now), view.clearance).filter(|_| view.shows(row, now))?;
        Some((times, Arc::clone(task)))
    });
    if odd.is_empty() {
        return Ok(nothing_odd(list, &kinds, view, now));
    }
    odd.sort_unstable_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.by_age(y)));
    let total = odd.len();
    odd.truncate(view.limit);
    let shown = odd.len();
    let columns = view.own_columns(list);
    let is_kind = |field: &Field| *field == Field::Column(kinds.column.clone());
    let kind = (!columns.iter().any(is_kind)).then(|| Field::Column(kinds.column.clone()));
    let columns: Vec<Field> = kind.into_iter().chain(columns).collect();
    let mut header: Vec<String> = ["id", "status", ">time", ">of median"].map(String::from).into();
    header.extend(columns.iter().map(|column| escape::echo(column.name()).to_string()));
    let mut grid = Grid::new(header.iter().map(String::as_str));
    for (times, task) in odd {
        let proc = task.snapshot(view.clearance, Depth::Row, now).without_secrets();
        let mut row = vec![
            escape::id(&proc.id).to_string(),
            escape::echo(&proc.status).to_string(),
            seconds(proc.elapsed),
            format!("{times:.0} x"),
        ];
        row.extend(field::texts(&columns, &proc));
        grid.push(row);
    }
    let mut text = grid.fit(view.width).finish();
    table::push_rest(&mut text, shown, total);
    Ok(text)
}

/// Why there is nothing to list.
fn nothing_odd(list: &ProcList, kinds: &Kinds, view: &View, now: Moment) -> String {
    if !kinds.iter().any(|(_, known)| known.is_judged()) {
        return "no kind is known yet: it takes 100 of it that ended\n".to_string();
    }
    let is_unknown =
        |_: &_, row: &EntryRef<'_>| (view.shows(row, now) && !kinds.is_judged(row, view.clearance)).then_some(());
    let unknown = match list.filter_map(false, is_unknown).len() {
        0 => String::new(),
        1 => "; of the kind of 1 task fewer than 100 have ended: that is not known".to_string(),
        n => format!("; of the kinds of {n} tasks fewer than 100 have ended: those are not known"),
    };
    match view.filter {
        Some(_) => format!("nothing is odd among the tasks that where shows; where alone shows all{unknown}\n"),
        None => format!("nothing is odd: nothing runs for twice as long as 99 of 100 of its kind{unknown}\n"),
    }
}

/// The kinds, as far as this reader may know of them.
fn known_to(list: &ProcList, clearance: Clearance) -> Result<Arc<Kinds>, String> {
    let is_known =
        |kinds: &Arc<Kinds>| clearance == Clearance::Secret || !kinds.has_secrets && !list.is_secret(&kinds.column);
    list.kinds()
        .filter(is_known)
        .ok_or_else(|| "this program does not say which column tells kinds of work apart (ProcList::kind)".to_string())
}
