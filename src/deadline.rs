//! Deadline: a task that is killed when its time is over. Adds `Handle::deadline`.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::entry::{Entry, KillReply};
use crate::kill::Request;
use crate::task::Handle;
use crate::timer::{self, Timed};

const NOT_TO_BE_KILLED: &str = "it may not be killed";

impl Handle {
    /// Kills the task when so much time has passed from now, with the message `deadline of 2s`.
    ///
    /// It is a kill like any other: it ends the task at its next kill point or await, reaches the tasks below it, and
    /// is in the audit, as one by the program. A later call replaces an earlier one, and the end of the task forgets
    /// it. A task that [refuses kills](crate::Task::forbid_kill) runs on, with a [note](crate::Proc::note) of that.
    ///
    /// It needs no runtime: a thread of this crate waits for the deadlines of all tasks, as long as there are any. One
    /// that is further away than the clock reaches is none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let list = pm::ProcList::new();
    /// let task = list.start("req1");
    /// task.deadline(Duration::from_millis(20));
    /// let killed = task.run(std::future::pending::<()>()).await.unwrap_err();
    /// assert_eq!(killed.message(), "deadline of 20ms");
    /// # }
    /// ```
    pub fn deadline(&self, after: Duration) {
        let key = Instant::now().checked_add(after).map(|at| {
            let entry: Weak<Entry> = Arc::downgrade(&self.entry);
            timer::set(at, entry, after).ok_or("no thread is to be had")
        });
        match key.transpose() {
            Ok(key) => {
                if !self.entry.set_deadline(key) {
                    self.entry.refuse_deadline(after, NOT_TO_BE_KILLED);
                }
                // It may have been over before the task knew of it.
                if let Some(key) = key.filter(|(at, _)| *at <= Instant::now()) {
                    self.entry.time_is_over(key, after);
                }
            }
            Err(why) => self.entry.refuse_deadline(after, why),
        }
    }
}

impl Timed for Entry {
    /// A deadline that has been replaced since is none.
    fn time_is_over(&self, key: timer::Key, after: Duration) {
        let message = format!("deadline of {}", humantime::format_duration(after));
        let reply = match self.list() {
            Some(list) => list.kill_at_deadline(self, message, key),
            None => self.kill_unlisted(Request { message, deadline: Some(key), ..Request::default() }),
        };
        if let KillReply::Forbidden = reply {
            self.refuse_deadline(after, NOT_TO_BE_KILLED);
        }
    }
}

impl Entry {
    /// Refuses kills, and the deadline with them.
    pub(crate) fn refuse_kills(&self) {
        if let Some(after) = self.forbid_kill().and_then(timer::forget) {
            self.refuse_deadline(after, NOT_TO_BE_KILLED);
        }
    }

    fn refuse_deadline(&self, after: Duration, why: &str) {
        self.set_note(format!("deadline of {} refused: {why}", humantime::format_duration(after)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcList;
    use crate::clock::Moment;
    use crate::columns::Clearance;
    use crate::entry::Depth;

    #[test]
    fn nothing_waits_for_a_task_that_has_ended_or_has_another_deadline() {
        let list = ProcList::new();
        let task = list.start("a");
        let entry = Arc::clone(&task.entry);
        let hour = Duration::from_secs(3600);
        task.deadline(hour);
        task.deadline(2 * hour);
        assert_eq!(Arc::weak_count(&entry), 1);
        drop(task);
        assert_eq!(Arc::weak_count(&entry), 0);
        // It has ended: that is no refusal.
        let handle = Handle { entry };
        handle.deadline(hour);
        assert_eq!((Arc::weak_count(&handle.entry), handle.entry.proc().note), (0, None));
    }

    #[test]
    fn one_that_is_due_when_it_is_replaced_kills_nobody() {
        let list = ProcList::new();
        let task = list.start("a");
        let hour = Duration::from_secs(3600);
        let deadline =
            || task.entry.snapshot(Clearance::Public, Depth::Row, Moment::now()).deadline.expect("it has one");
        task.deadline(hour);
        let first = deadline();
        task.deadline(2 * hour);
        // The timer has taken the first one before, and comes to it now.
        let key = |at| (at, 0);
        task.entry.time_is_over(key(first), hour);
        assert!(task.check().is_ok());
        task.deadline(Duration::ZERO);
        assert_eq!(task.check().expect_err("it is over").message(), "deadline of 0s");
    }

    #[test]
    fn a_task_that_refuses_kills_has_no_deadline_any_more() {
        let list = ProcList::new();
        let task = list.start("a");
        let deadline = || task.entry.snapshot(Clearance::Public, Depth::Row, Moment::now()).deadline;
        task.deadline(Duration::from_secs(3600));
        let key = deadline().expect("it has one");
        assert!(task.entry.forbid_kill().is_some_and(|(at, _)| at == key));
        // The timer has taken it before, and comes to it now.
        task.entry.time_is_over((key, 0), Duration::from_secs(3600));
        assert_eq!(
            (deadline(), task.entry.proc().note.as_deref()),
            (None, Some("deadline of 1h refused: it may not be killed"))
        );
        let task = list.start("b");
        task.deadline(Duration::from_secs(60));
        let task = task.forbid_kill();
        assert_eq!(task.entry.proc().note.as_deref(), Some("deadline of 1m refused: it may not be killed"));
    }
}
