//! Row: a program in the list, as a task.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pm::Task;
use tokio::task::JoinHandle;

use crate::program::Program;
use crate::status::{State, Status};

/// The columns of a program for the table, for [`pm::set_cols`], as many as a terminal of 80 columns has room for: `last`
/// is how the last run ended.
///
/// The row has more, for `show` and `cols`: `kind`, which is `process`; `cmd`; `next`, when it starts next; and at times
/// `group`, `dir`, and `dropped`, the lines that a file did not take.
pub const COLS: [&str; 4] = ["pid", "ready", "restarts", "last"];

pub(crate) struct Row {
    task: Task,
    shown: BTreeMap<&'static str, String>,
    status: String,
    /// What it did before it was stopped.
    before: String,
    /// Waits for a kill.
    pub(crate) waits: JoinHandle<()>,
}

impl Row {
    pub(crate) fn new(task: Task, program: &Program, waits: JoinHandle<()>) -> Self {
        task.set_col("kind", "process");
        if let Some(group) = &program.group {
            task.set_col("group", group);
        }
        if let Some(dir) = &program.dir {
            task.set_col("dir", dir.display());
        }
        task.set_col("cmd", program.shown().join(" "));
        Row { task, shown: BTreeMap::new(), status: String::new(), before: String::new(), waits }
    }

    pub(crate) fn update(&mut self, status: &Status, text: String, last: Option<&str>) {
        if !matches!(status.state, State::Stopping | State::Finished | State::Interrupted) {
            self.before.clone_from(&text);
        }
        if text != self.status {
            self.task.set_status(text.clone());
            self.status = text;
        }
        self.show("pid", status.pid.map(|pid| pid.to_string()));
        self.show("ready", Some(if status.ready { "yes" } else { "no" }.to_string()));
        self.show("restarts", Some(status.restarts.to_string()));
        self.show("last", Some(last.unwrap_or_default().to_string()));
        // Always there, so that it can be asked for: `cols` knows the columns that a task has.
        self.show("next", Some(status.next_start.map(next).unwrap_or_default()));
        self.show("dropped", Some(status.lines_dropped).filter(|lines| *lines > 0).map(|lines| lines.to_string()));
    }

    fn show(&mut self, name: &'static str, value: Option<String>) {
        if self.shown.get(name) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => {
                self.task.set_col(name, &value);
                self.shown.insert(name, value);
            }
            None => {
                self.task.remove_col(name);
                self.shown.remove(name);
            }
        }
    }

    pub(crate) fn end(self, note: String) {
        self.waits.abort();
        // `killed web after 0.3s in "running"`: how it met its end, not how that went on.
        self.task.set_status(self.before);
        self.task.done_with(note);
    }
}

fn next(wait: Duration) -> String {
    // Rounded, so that it is the same text each time.
    let at = SystemTime::now() + wait + Duration::from_millis(500);
    humantime::format_rfc3339_seconds(at).to_string()
}
