//! History: the statuses of one task, bounded.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::proc::Step;

/// How many statuses, and how many distinct ones of those folded away, are kept.
const KEPT: usize = 32;

/// The name under which the profile sums up what it has no room for.
const OTHERS: &str = "…";

type Status = Cow<'static, str>;

/// The last [`KEPT`] statuses of a task with their times, and for how long it
/// was in those before them. Never empty.
#[derive(Debug)]
pub(crate) struct History {
    /// Until there are [`KEPT`] in order of time, then a ring. Four fit into
    /// the entry: a short task allocates nothing here.
    steps: SmallVec<[(Status, Instant); 4]>,
    /// The index of the oldest step.
    oldest: u8,
    /// What was overwritten, summed up by status.
    folded: Option<Box<Profile>>,
}

impl History {
    pub(crate) fn new(started: Instant) -> Self {
        let mut steps = SmallVec::new();
        steps.push((Cow::Borrowed("init"), started));
        History { steps, oldest: 0, folded: None }
    }

    #[inline]
    fn newest(&self) -> usize {
        match self.oldest {
            0 => self.steps.len() - 1,
            n => usize::from(n) - 1,
        }
    }

    /// The current status and when it was entered.
    #[inline]
    pub(crate) fn current(&self) -> (&Status, Instant) {
        let (status, at) = &self.steps[self.newest()];
        (status, *at)
    }

    /// Enters `status`. To enter the current one again is no change: the
    /// clock `now` is not even read.
    #[inline]
    pub(crate) fn enter(&mut self, status: Status, now: impl FnOnce() -> Instant) {
        if is_same(self.current().0, &status) {
            return;
        }
        let step = (status, now());
        if self.steps.len() < KEPT {
            self.steps.push(step);
        } else {
            self.overwrite(step);
        }
    }

    fn overwrite(&mut self, step: (Status, Instant)) {
        let oldest = usize::from(self.oldest);
        let next = (oldest + 1) % KEPT;
        let until = self.steps[next].1;
        let (status, at) = std::mem::replace(&mut self.steps[oldest], step);
        self.oldest = next as u8;
        self.folded.get_or_insert_default().add(&status, until.saturating_duration_since(at));
    }

    fn in_order(&self) -> impl Iterator<Item = &(Status, Instant)> {
        let (newer, older) = self.steps.split_at(usize::from(self.oldest));
        older.iter().chain(newer)
    }

    /// Whether it takes memory outside of itself.
    #[inline]
    pub(crate) fn has_spilled(&self) -> bool {
        self.steps.spilled()
    }

    /// Forgets all but the current status, if that gives memory back. Returns
    /// what it has forgotten: to be dropped when no lock is held.
    pub(crate) fn forget_past(&mut self) -> Option<History> {
        if !self.has_spilled() {
            return None;
        }
        let (status, at) = self.current();
        let current = SmallVec::from_iter([(status.clone(), at)]);
        Some(std::mem::replace(self, History { steps: current, oldest: 0, folded: None }))
    }

    /// The bytes that it holds outside of itself.
    pub(crate) fn spilled(&self) -> usize {
        let steps = if self.steps.spilled() { self.steps.capacity() * size_of::<(Status, Instant)>() } else { 0 };
        let folded = self.folded.iter().flat_map(|folded| &folded.0);
        let sums = self.folded.as_ref().map_or(0, |folded| folded.0.capacity() * size_of::<(Status, Duration)>());
        let owned = |status: &Status| if let Cow::Owned(text) = status { text.capacity() } else { 0 };
        let texts = self.steps.iter().map(|(status, _)| owned(status)).chain(folded.map(|(status, _)| owned(status)));
        steps + sums + texts.sum::<usize>()
    }

    /// The statuses with their times since `started`.
    pub(crate) fn steps(&self, started: Instant) -> Vec<Step> {
        let since = |at: &Instant| at.saturating_duration_since(started);
        self.in_order().map(|(status, at)| Step { status: status.to_string(), at: since(at) }).collect()
    }

    /// The time spent in each distinct status up to `now`.
    pub(crate) fn profile(&self, now: Instant) -> Vec<(String, Duration)> {
        let mut profile = self.folded.as_deref().cloned().unwrap_or_default();
        let ends = self.in_order().skip(1).map(|(_, at)| *at).chain([now]);
        for ((status, at), end) in self.in_order().zip(ends) {
            profile.add(status, end.saturating_duration_since(*at));
        }
        profile.0.into_iter().map(|(status, time)| (status.into_owned(), time)).collect()
    }
}

/// Equality that need not read the text of one and the same literal.
#[inline]
fn is_same(a: &Status, b: &Status) -> bool {
    std::ptr::eq::<str>(&**a, &**b) || a == b
}

/// Time by status, in the order of first sight.
#[derive(Debug, Clone, Default)]
struct Profile(Vec<(Status, Duration)>);

impl Profile {
    fn add(&mut self, status: &Status, time: Duration) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| is_same(known, status)) {
            *sum += time;
        } else if self.0.len() < KEPT {
            self.0.push((status.clone(), time));
        } else if let Some((_, sum)) = self.0.get_mut(KEPT) {
            *sum += time;
        } else {
            self.0.push((Cow::Borrowed(OTHERS), time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history that entered one status a second, the first at second 1, and its start.
    fn history(statuses: impl IntoIterator<Item = String>) -> (History, Instant) {
        let started = Instant::now();
        let mut history = History::new(started);
        for (second, status) in (1..).zip(statuses) {
            history.enter(status.into(), || started + Duration::from_secs(second));
        }
        (history, started)
    }

    #[test]
    fn the_last_32_are_kept_in_order() {
        let (history, started) = history((1..=40).map(|n| format!("s{n}")));
        let steps = history.steps(started);
        assert_eq!(steps.len(), 32);
        assert_eq!((steps[0].status.as_str(), steps[0].at.as_secs()), ("s9", 9));
        assert_eq!((steps[31].status.as_str(), steps[31].at.as_secs()), ("s40", 40));
        assert_eq!(history.current().0, "s40");
    }

    #[test]
    fn the_profile_keeps_the_time_of_what_was_overwritten() {
        let (history, started) = history((0..100).map(|n| if n % 2 == 0 { "even" } else { "odd" }.to_string()));
        let profile = history.profile(started + Duration::from_secs(101));
        let seconds: Vec<_> = profile.iter().map(|(status, time)| (status.as_str(), time.as_secs())).collect();
        assert_eq!(seconds, [("init", 1), ("even", 50), ("odd", 50)]);
    }

    #[test]
    fn a_profile_of_ever_new_statuses_is_bounded_and_loses_no_time() {
        let (history, started) = history((1..=1000).map(|n| format!("s{n}")));
        let profile = history.profile(started + Duration::from_secs(1001));
        assert_eq!(profile.len(), 33);
        assert_eq!(profile[32].0, "…");
        assert_eq!(profile.iter().map(|(_, time)| time.as_secs()).sum::<u64>(), 1001);
    }

    #[test]
    fn the_past_is_forgotten_and_the_present_is_not() {
        let (mut history, started) = history((1..=40).map(|n| format!("s{n}")));
        let entered = history.current().1;
        assert!(history.spilled() > 1000 && history.forget_past().is_some());
        assert_eq!(
            (history.spilled(), history.current().0.as_ref(), history.current().1),
            ("s40".len(), "s40", entered)
        );
        assert_eq!(history.steps(started).len(), 1);
        assert!(history.forget_past().is_none());
    }

    #[test]
    fn the_same_status_again_is_no_change() {
        let (mut history, started) = history(["busy".to_string()]);
        history.enter("busy".into(), || unreachable!("no clock needed"));
        assert_eq!(history.steps(started).len(), 2);
    }
}
