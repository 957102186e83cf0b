//! History: the statuses of one task, bounded.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::clock::{Moment, Tick};
use crate::proc::Step;

/// How many statuses, and how many distinct ones of those folded away, are kept.
const KEPT: usize = 32;

/// The name under which the profile sums up what it has no room for.
const OTHERS: &str = "…";

type Status = Cow<'static, str>;

/// What a task does until it says something else.
const INIT: Status = Cow::Borrowed("init");

/// The last [`KEPT`] statuses of a task with their times, and for how long it
/// was in those before them. Never empty.
#[derive(Debug)]
pub(crate) struct History {
    /// Until there are [`KEPT`] in order of time, then a ring. Four fit into
    /// the entry: a short task allocates nothing here.
    steps: SmallVec<[Entered; 4]>,
    /// The index of the oldest step.
    oldest: u8,
    /// What was overwritten, summed up by status.
    folded: Option<Box<Profile>>,
}

/// A status and when it was entered; `None` for the first one, which came with the start.
type Entered = (Status, Option<Tick>);

impl History {
    pub(crate) fn new() -> Self {
        let mut steps = SmallVec::new();
        steps.push((INIT, None));
        History { steps, oldest: 0, folded: None }
    }

    /// As new.
    pub(crate) fn reset(&mut self) {
        if self.steps.spilled() || self.folded.is_some() {
            *self = History::new();
        } else {
            self.steps.truncate(1);
            self.steps[0] = (INIT, None);
        }
    }

    #[inline]
    fn newest(&self) -> usize {
        match self.oldest {
            0 => self.steps.len() - 1,
            n => usize::from(n) - 1,
        }
    }

    /// The current status.
    #[inline]
    pub(crate) fn current(&self) -> &Status {
        &self.steps[self.newest()].0
    }

    /// For how long a task that `started` then has been in its status.
    pub(crate) fn in_status(&self, started: Instant, now: Moment) -> Duration {
        since(self.steps[self.newest()].1, started, now)
    }

    /// Enters `status` of a task that has `started` then. To enter the current one again is no
    /// change: no clock is even read. Returns whether something takes memory of its own since.
    #[inline]
    pub(crate) fn enter(&mut self, status: Status, started: Instant) -> bool {
        if is_same(self.current(), &status) {
            return false;
        }
        let is_owned = matches!(status, Cow::Owned(_));
        let step = (status, Some(Tick::now()));
        if self.steps.len() < KEPT {
            self.steps.push(step);
        } else {
            self.overwrite(step, started);
        }
        is_owned || self.steps.spilled()
    }

    fn overwrite(&mut self, step: Entered, started: Instant) {
        let oldest = usize::from(self.oldest);
        let next = (oldest + 1) % KEPT;
        let spent = match (self.steps[oldest].1, self.steps[next].1) {
            (Some(entered), Some(left)) => left.since(entered),
            // The first status, once in the life of a task.
            (entered, left) => {
                let now = Moment::now();
                since(entered, started, now).saturating_sub(since(left, started, now))
            }
        };
        let (status, _) = std::mem::replace(&mut self.steps[oldest], step);
        self.oldest = next as u8;
        self.folded.get_or_insert_default().add(&status, spent);
    }

    fn in_order(&self) -> impl Iterator<Item = &Entered> {
        let (newer, older) = self.steps.split_at(usize::from(self.oldest));
        older.iter().chain(newer)
    }

    /// Whether it takes memory outside of itself for what is not the current status.
    fn has_past(&self) -> bool {
        let is_owned = |(status, _): &Entered| matches!(status, Cow::Owned(_));
        self.steps.spilled() || self.steps[..self.newest()].iter().any(is_owned)
    }

    /// Forgets all but the current status, if that gives memory back. Returns
    /// what it has forgotten: to be dropped when no lock is held.
    pub(crate) fn forget_past(&mut self) -> Option<History> {
        if !self.has_past() {
            return None;
        }
        let newest = self.newest();
        let current = std::mem::replace(&mut self.steps[newest], (INIT, None));
        Some(std::mem::replace(self, History { steps: SmallVec::from_iter([current]), oldest: 0, folded: None }))
    }

    /// Forgets all but the current status and the time spent in each before it, up to `now`. Returns what it has forgotten:
    /// to be dropped when no lock is held.
    pub(crate) fn fold_past(&mut self, started: Instant, now: Moment) -> Option<History> {
        if !self.has_past() {
            return None;
        }
        let mut folded = self.folded.take().unwrap_or_default();
        let ends = self.in_order().skip(1).map(|(_, entered)| since(*entered, started, now));
        for ((status, entered), end) in self.in_order().zip(ends) {
            folded.add(status, since(*entered, started, now).saturating_sub(end));
        }
        folded.sums.shrink_to_fit();
        let newest = self.newest();
        let current = std::mem::replace(&mut self.steps[newest], (INIT, None));
        let steps = SmallVec::from_iter([current]);
        Some(std::mem::replace(self, History { steps, oldest: 0, folded: Some(folded) }))
    }

    /// The bytes that it holds outside of itself, but for the current status.
    pub(crate) fn past(&self) -> usize {
        let current = if let Cow::Owned(status) = self.current() { status.capacity() } else { 0 };
        self.spilled() - current
    }

    /// The bytes that it holds outside of itself.
    fn spilled(&self) -> usize {
        let steps = if self.steps.spilled() { self.steps.capacity() * size_of::<Entered>() } else { 0 };
        let folded = self.folded.iter().flat_map(|folded| &folded.sums);
        let sums = self.folded.as_ref().map_or(0, |folded| folded.sums.capacity() * size_of::<(Status, Duration)>());
        let owned = |status: &Status| if let Cow::Owned(text) = status { text.capacity() } else { 0 };
        let texts = self.steps.iter().map(|(status, _)| owned(status)).chain(folded.map(|(status, _)| owned(status)));
        steps + sums + texts.sum::<usize>()
    }

    /// When the current status was entered; `None` if it is the one of the start.
    pub(crate) fn entered(&self) -> Option<Tick> {
        self.steps[self.newest()].1
    }

    /// How many statuses came before those that are kept.
    pub(crate) fn folded(&self) -> u64 {
        self.folded.as_ref().map_or(0, |folded| folded.steps)
    }

    /// The statuses with their times since the start.
    pub(crate) fn steps(&self, started: Instant, now: Moment) -> Vec<Step> {
        let age = now.since(started);
        let at = |entered: Option<Tick>| age.saturating_sub(since(entered, started, now));
        self.in_order().map(|(status, entered)| Step { status: status.to_string(), at: at(*entered) }).collect()
    }

    /// The time spent in each distinct status up to `now`.
    pub(crate) fn profile(&self, started: Instant, now: Moment) -> Vec<(String, Duration)> {
        let mut profile = self.folded.as_deref().cloned().unwrap_or_default();
        let since = |(_, entered): &Entered| since(*entered, started, now);
        let ends = self.in_order().skip(1).map(since).chain([Duration::ZERO]);
        for (step, end) in self.in_order().zip(ends) {
            profile.add(&step.0, since(step).saturating_sub(end));
        }
        profile.sums.into_iter().map(|(status, time)| (status.into_owned(), time)).collect()
    }
}

/// How long ago a status was entered: never longer than its task has been there.
fn since(entered: Option<Tick>, started: Instant, now: Moment) -> Duration {
    let age = now.since(started);
    entered.map_or(age, |entered| now.since_tick(entered).min(age))
}

/// Equality that need not read the text of one and the same literal.
#[inline]
fn is_same(a: &Status, b: &Status) -> bool {
    std::ptr::eq::<str>(&**a, &**b) || a == b
}

/// Time by status, in the order of first sight.
#[derive(Debug, Clone, Default)]
struct Profile {
    sums: Vec<(Status, Duration)>,
    /// How many steps are summed up.
    steps: u64,
}

impl Profile {
    fn add(&mut self, status: &Status, time: Duration) {
        self.steps += 1;
        if let Some((_, sum)) = self.sums.iter_mut().find(|(known, _)| is_same(known, status)) {
            *sum += time;
        } else if self.sums.len() < KEPT {
            self.sums.push((status.clone(), time));
        } else if let Some((_, sum)) = self.sums.get_mut(KEPT) {
            *sum += time;
        } else {
            self.sums.push((Cow::Borrowed(OTHERS), time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history that entered these statuses, one behind the other.
    fn history(statuses: impl IntoIterator<Item = String>) -> (History, Instant) {
        let started = Instant::now();
        let mut history = History::new();
        statuses.into_iter().for_each(|status| _ = history.enter(status.into(), started));
        (history, started)
    }

    #[test]
    fn the_last_32_are_kept_in_order() {
        let (history, started) = history((1..=40).map(|n| format!("s{n}")));
        let now = Moment::now();
        let steps = history.steps(started, now);
        assert_eq!(steps.len(), 32);
        assert_eq!((steps[0].status.as_str(), steps[31].status.as_str()), ("s9", "s40"));
        assert!(steps.is_sorted_by_key(|step| step.at) && steps[31].at <= now.since(started));
        assert_eq!((history.current().as_ref(), history.folded()), ("s40", 9));
    }

    #[test]
    fn a_past_that_is_folded_keeps_the_time_in_each_status() {
        for statuses in [3, 30, 70] {
            let (mut history, started) = history((0..statuses).map(|n| format!("s{}", n % 5)));
            let now = Moment::now();
            let before = (history.profile(started, now), history.in_status(started, now));
            let forgotten = history.fold_past(started, now).expect("it has a past");
            assert_eq!((history.profile(started, now), history.in_status(started, now)), before);
            assert_eq!((history.steps(started, now).len(), forgotten.spilled() > 0), (1, true));
        }
    }

    #[test]
    fn the_first_status_came_with_the_start() {
        let (mut history, started) = history([]);
        let now = Moment::now();
        assert_eq!(history.in_status(started, now), now.since(started));
        history.enter("busy".into(), started);
        let steps = history.steps(started, Moment::now());
        assert_eq!((steps[0].status.as_str(), steps[0].at), ("init", Duration::ZERO));
    }

    /// The sum of a profile is the age of the task, up to what rounding takes.
    fn adds_up(profile: &[(String, Duration)], age: Duration) {
        let sum: Duration = profile.iter().map(|(_, time)| *time).sum();
        assert!(sum.abs_diff(age) < Duration::from_millis(1), "{sum:?} {age:?}");
    }

    #[test]
    fn the_profile_keeps_the_time_of_what_was_overwritten() {
        let (history, started) = history((0..100).map(|n| if n % 2 == 0 { "even" } else { "odd" }.to_string()));
        let now = Moment::now();
        let profile = history.profile(started, now);
        assert_eq!(profile.iter().map(|(status, _)| status.as_str()).collect::<Vec<_>>(), ["init", "even", "odd"]);
        adds_up(&profile, now.since(started));
    }

    #[test]
    fn a_profile_of_ever_new_statuses_is_bounded_and_loses_no_time() {
        let (history, started) = history((1..=1000).map(|n| format!("s{n}")));
        let now = Moment::now();
        let profile = history.profile(started, now);
        assert_eq!((profile.len(), profile[32].0.as_str()), (33, "…"));
        adds_up(&profile, now.since(started));
    }

    #[test]
    fn the_past_is_forgotten_and_the_present_is_not() {
        let (mut history, started) = history((1..=40).map(|n| format!("s{n}")));
        let now = Moment::now();
        let in_status = history.in_status(started, now);
        assert!(history.spilled() > 1000 && history.forget_past().is_some());
        assert_eq!((history.current().as_ref(), history.in_status(started, now)), ("s40", in_status));
        assert!(history.spilled() < 16 && history.past() == 0);
        assert_eq!(history.steps(started, now).len(), 1);
        assert!(history.forget_past().is_none());
    }

    #[test]
    fn a_short_past_of_long_texts_is_forgotten_too() {
        let (mut history, _) = history(["x".repeat(200), "y".repeat(200), "z".to_string()]);
        assert!(history.spilled() > 400 && history.forget_past().is_some());
        assert_eq!((history.spilled(), history.current().as_ref()), (1, "z"));
        let (mut literals, _) = history_of_literals();
        assert!(literals.forget_past().is_none());
        literals.reset();
        assert_eq!((literals.current().as_ref(), literals.steps.len()), ("init", 1));
    }

    fn history_of_literals() -> (History, Instant) {
        let (mut history, started) = history([]);
        for status in ["a", "b", "c"] {
            history.enter(Cow::Borrowed(status), started);
        }
        (history, started)
    }

    #[test]
    fn the_same_status_again_is_no_change() {
        let (mut history, started) = history(["busy".to_string()]);
        assert!(!history.enter("busy".into(), started));
        assert_eq!(history.steps(started, Moment::now()).len(), 2);
    }
}
