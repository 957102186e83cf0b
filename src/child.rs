//! Child: tasks below a task. Adds `Handle::child`, `Task::independent`.

use std::sync::Arc;

use crate::entry::Entry;
use crate::task::{Handle, Task};
use crate::unwinding;

impl Handle {
    /// Starts a task whose parent is this one: its id is `req1/fetch`.
    ///
    /// It has no columns of its own accord: give it those that the table prints, where they say what it works on.
    ///
    /// A kill of a task reaches everything below it, with the same message: each of them is killed as if the operator
    /// had named it, and the reply counts them. One that is [`independent`](Task::independent) is left alone, which the
    /// reply says, and one that [refuses](Task::forbid_kill) is named in the reply, while those below it are killed. A child of a task that is being
    /// killed, or was, is born killed: it is killed as soon as it looks.
    ///
    /// The end of a parent does not end its children: they go on below its own parent, if it has one. After the end of
    /// this task the child is in no list, as there is nothing to list it below. It is a task all the same: it reports the
    /// kill of its parent, if there was one, and its handle, its deadline and the kill of a task above it can kill it.
    ///
    /// A task counts as killed when a kill point of its own has reported that, when it ends after its
    /// [call](Self::on_kill) has been begun, or when the kill of a task above it has
    /// dropped it, or its [`run`](Self::run). So one that waits for its children
    /// [looks](Self::check) before it passes their error on.
    ///
    /// `tree` at the port prints the rows below their parents; `where parent=req1` shows the children of one.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// let fetch = task.child("fetch").col("host", "db1");
    /// let rollback = task.child("rollback").independent();
    /// assert_eq!(fetch.id(), "req1/fetch");
    ///
    /// list.kill("req1", "too slow")?;
    /// assert_eq!(fetch.check().unwrap_err().message(), "too slow");
    /// assert!(task.child("retry").check().is_err());
    /// assert!(rollback.check().is_ok());
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn child(&self, name: impl AsRef<str>) -> Task {
        unwinding::clear_mark();
        let parent = &self.entry;
        let name = match name.as_ref() {
            "" => "task",
            name => name,
        };
        let (id, list) = (format!("{}/{name}", parent.id()), parent.list());
        let child = parent.bear(|birth| match list {
            Some(list) => list.start(&id, &|mut fresh| fresh.set_parent(birth.clone())),
            None => Arc::new(Entry::unlisted(&id, birth)),
        });
        Task::new(child.unwrap_or_else(|| Arc::new(Entry::orphan(&id, parent))))
    }
}

impl Task {
    /// Makes this child one that the kill of its parent does not reach: for work that must be done all the same, such
    /// as a rollback. If the parent is being killed already, this child is spared, unless it has looked; a kill that is
    /// accepted between the two calls stands.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// let task = list.start("import1");
    /// list.kill("import1", "disk is full")?;
    /// let rollback = task.child("rollback").independent();
    /// assert!(rollback.check().is_ok());
    /// # Ok::<(), pm::KillError>(())
    /// ```
    pub fn independent(self) -> Self {
        self.entry.set_independent();
        self
    }
}
