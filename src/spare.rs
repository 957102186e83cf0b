//! Spare: the entry of a task that is forgotten. Each thread keeps one for the next task that it starts.

use std::cell::Cell;
use std::sync::Arc;

use crate::entry::{Entry, Fresh, Start};

thread_local! {
    static SPARE: Cell<Option<Arc<Entry>>> = const { Cell::new(None) };
}

/// An entry for a new task, described by `describe`: the spare one, if there is one.
#[inline]
pub(crate) fn entry(start: Start<'_>, describe: impl FnOnce(Fresh<'_>)) -> Arc<Entry> {
    // A thread that is being torn down has none.
    if let Some(mut spare) = SPARE.try_with(Cell::take).ok().flatten()
        && let Some(entry) = Arc::get_mut(&mut spare)
    {
        entry.reuse(start);
        describe(entry.fresh());
        return spare;
    }
    let mut entry = Entry::new(start);
    describe(entry.fresh());
    Arc::new(entry)
}

/// Keeps `entry` if nobody else holds it.
#[inline]
pub(crate) fn put(entry: Arc<Entry>) {
    if Arc::strong_count(&entry) == 1 {
        let before = SPARE.try_with(|spare| spare.replace(Some(entry)));
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;
    use std::time::Instant;

    use crate::ProcList;
    use crate::entry::{Cause, Guards, Id, Name};
    use crate::kill::Request;
    use crate::value::Text;

    #[test]
    fn the_next_task_is_as_new_in_the_entry_of_one_that_is_forgotten() {
        let list = ProcList::new();
        let entry = |id, list: &ProcList| {
            let name = Name::Id(id);
            entry(Start { name, started: Instant::now(), forbidden: false, list: list.stripe() }, |_| {})
        };
        let request = |message: &str| Request { message: message.to_string(), ..Request::default() };
        let old = entry(Id { hash: 1, id: "old" }, &list);
        let place = Arc::as_ptr(&old);
        old.set_col("token", Text::new().format("8e2b"), true);
        for n in 0..40 {
            old.set_status(format!("step {n}").into(), Some(Location::caller()));
        }
        old.kill_unlisted(request("too slow"));
        old.kill_point(Location::caller()).expect("was killed");
        old.abandon();
        old.forbid_kill();
        old.id_was_cut();
        let _snapshot = old.proc();
        old.add_guard().expect("it is running");
        assert!(!old.give_up(Guards::One, Cause::Panic, None) && old.give_up(Guards::One, Cause::Dropped, None));
        put(old);

        let new = entry(Id { hash: 2, id: "new" }, &list);
        assert_eq!(Arc::as_ptr(&new), place);
        assert!(!new.is_killed() && new.kill_point(Location::caller()).is_none());
        let proc = new.proc();
        assert_eq!((proc.id.as_str(), proc.status.as_str(), proc.cols, proc.site), ("new", "init", vec![], None));
        assert_eq!(new.hash(), 2);
        assert_eq!(
            (proc.history.len(), proc.profile.len(), proc.killing, proc.note, proc.outcome),
            (1, 1, None, None, None)
        );
        assert!(proc.elapsed < std::time::Duration::from_secs(60) && new.memory() == size_of::<Entry>());
        new.set_col("token", Text::new().format("public"), false);
        assert_eq!(new.proc().cols[0].1, "public");
        assert!(matches!(new.kill_unlisted(request("")), crate::entry::KillReply::Accepted(..)), "it may be killed");
        assert!(new.give_up(Guards::One, Cause::Done, None) && new.proc().outcome == Some(crate::Outcome::Ended));
    }

    #[test]
    fn an_entry_that_somebody_holds_is_not_reused() {
        let list = ProcList::new();
        list.keep_done(1);
        let handle = list.start("old").handle();
        drop(list.start("the last one that is kept"));
        let new = list.start("new");
        assert_eq!((handle.id(), new.id()), ("old", "new"));
    }
}
