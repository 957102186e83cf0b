//! Tree: `tree`. The tasks that a view shows, each below its parent.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::clock::Moment;
use crate::entry::Entry;
use crate::list::ProcList;
use crate::pace::Pace;
use crate::view::field::Field;
use crate::view::{Selection, View, table};

/// What is deeper is not set off any further: the lines of a long chain would be as long as it.
const DEEPEST: usize = 16;

/// How far a task is set off from its parent, in columns.
const INDENT: usize = 2;

pub(crate) async fn render(list: &ProcList, view: &View, pace: &mut Pace) -> String {
    let now = Moment::now();
    let Selection { tasks, total } = view.select(list, now);
    pace.breathe().await;
    let rows = below_parents(tasks);
    let mut fields = table::fields(list, view);
    if !fields.contains(&Field::Id) {
        fields.insert(0, Field::Id);
    }
    let shown = rows.len();
    let mut text = table::indented_rows(list, &fields, &rows, now, view, pace).await;
    table::push_rest(&mut text, shown, total);
    text
}

/// The tasks in the order in which they print, each with its indentation. One whose parent is not among them stands by itself.
fn below_parents(tasks: Vec<Arc<Entry>>) -> Vec<(usize, Arc<Entry>)> {
    let places: HashMap<*const Entry, usize> =
        tasks.iter().enumerate().map(|(at, task)| (Arc::as_ptr(task), at)).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut next = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        let parent = task.with(|row| row.parent.map(|parent| Weak::as_ptr(&parent.entry)));
        match parent.and_then(|parent| places.get(&parent)) {
            Some(parent) => children[*parent].push(at),
            None => next.push((0, at)),
        }
    }
    next.reverse();
    let mut rows = Vec::with_capacity(tasks.len());
    while let Some((depth, at)) = next.pop() {
        rows.push((depth.min(DEEPEST) * INDENT, Arc::clone(&tasks[at])));
        next.extend(children[at].iter().rev().map(|child| (depth + 1, *child)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Handle;

    fn rows(tasks: &[&Handle]) -> Vec<(usize, String)> {
        let tasks = tasks.iter().map(|task| Arc::clone(&task.entry)).collect();
        below_parents(tasks).into_iter().map(|(indent, task)| (indent, task.id().to_string())).collect()
    }

    #[test]
    fn each_stands_below_its_parent_in_the_order_of_the_view() {
        let list = ProcList::new();
        let (a, b) = (list.start("a"), list.start("b"));
        let (x, y) = (b.child("x"), b.child("y"));
        let deep = x.child("deep");
        let row = |indent, id: &str| (indent, id.to_string());
        assert_eq!(
            rows(&[&y, &a, &deep, &b, &x]),
            [row(0, "a"), row(0, "b"), row(2, "b/y"), row(2, "b/x"), row(4, "b/x/deep")]
        );
        assert_eq!(rows(&[&deep, &a]), [row(0, "b/x/deep"), row(0, "a")], "its parent is not shown");
        drop(b);
        let other = list.start("b");
        assert_eq!(rows(&[&other, &x]), [row(0, "b"), row(0, "b/x")], "another one has the id of its parent");
    }
}
