//! Kinds: how long each kind of work takes, and so what takes too long for its kind. Adds `ProcList::kind`.
//!
//! Each stripe has its own sketches of what its threads ended. They are merged when somebody asks, once a second at most.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ahash::RandomState;
use compact_str::CompactString;

use crate::columns::Clearance;
use crate::entry::{End, EntryRef};
use crate::list::ProcList;
use crate::proc::Outcome;
use crate::sketch::Sketch;

/// How many kinds have a sketch of their own; the others share one.
const KINDS: usize = 256;

/// The longest name of a kind, in bytes: those that begin alike are one.
const NAME: usize = 80;

/// When a sketch has so many, what was counts half of what is new.
const MANY: u32 = 1 << 16;

/// A kind is known when so many of it have ended.
const KNOWN: u64 = 100;

/// What has run for so many times the p99 of its kind is odd.
const ODD: u32 = 2;

/// How long a slot of the pace is, in seconds.
const SLOT: u64 = 10;

impl ProcList {
    /// Names the column that says what kind of work a task is, such as `route`. From then on the list learns how long each
    /// kind takes: at the port, a task that runs for more than twice as long as 99 of 100 of its kind has `!` before its
    /// time, `odd` lists those, and `kinds` has a row for each kind.
    ///
    /// 256 kinds are told apart, in half a kilobyte each for each thread that ends tasks, up to 32; the others are one. A kind is known when 100 of it
    /// have ended. The first call counts: what has been learned is about that column. It costs one look at
    /// the column at the end of a task.
    ///
    /// ```
    /// let list = pm::ProcList::new();
    /// list.kind("route");
    /// let _task = list.start("req1").col("route", "/users/{id}");
    /// ```
    pub fn kind(&self, column: impl AsRef<str>) {
        self.name_kind(column.as_ref());
    }
}

/// What kind of work a task is, by the text in the column; and whether that is a secret.
#[inline]
pub(crate) fn name(row: &EntryRef<'_>, column: &str) -> Option<(CompactString, bool)> {
    let value = row.columns.get(column)?;
    let text = value.text();
    Some((text[..text.floor_char_boundary(NAME)].into(), !value.is_known(Clearance::Public)))
}

/// What some of the threads ended, by kind.
#[derive(Default)]
pub(crate) struct Learned {
    kinds: HashMap<CompactString, Box<Kind>, RandomState>,
    others: Option<Box<Kind>>,
    /// Some name was a secret.
    has_secrets: bool,
}

/// 512 bytes.
#[derive(Debug, Clone, Default)]
struct Kind {
    took: Sketch,
    /// How many are in the sketch.
    counted: u32,
    killed: u32,
    panicked: u32,
    /// The longest, in seconds.
    max: f32,
    /// How many ended in a slot of some seconds, and in the one before.
    slot: u32,
    now: u32,
    before: u32,
}

const _: () = assert!(size_of::<Kind>() <= 512);

impl Learned {
    pub(crate) fn record(&mut self, (name, is_secret): &(CompactString, bool), epoch: Instant, end: &End) {
        self.has_secrets |= is_secret;
        let is_full = self.kinds.len() == KINDS;
        let kind = match self.kinds.get_mut(name) {
            Some(kind) => kind,
            None if is_full => self.others.get_or_insert_default(),
            None => self.kinds.entry(name.clone()).or_default(),
        };
        kind.record(epoch, end);
    }

    pub(crate) fn memory(&self) -> usize {
        let place = size_of::<(CompactString, Box<Kind>)>() + 1;
        self.kinds.capacity() * place + (self.kinds.len() + usize::from(self.others.is_some())) * size_of::<Kind>()
    }
}

fn slot(epoch: Instant, at: Instant) -> (u32, f64) {
    let since = at.saturating_duration_since(epoch);
    let slot = since.as_secs() / SLOT;
    (slot as u32, since.as_secs_f64() - (slot * SLOT) as f64)
}

impl Kind {
    fn record(&mut self, epoch: Instant, end: &End) {
        self.took.add(end.ran);
        self.counted += 1;
        if self.counted >= MANY {
            self.took.halve();
            self.counted = self.took.count() as u32;
        }
        self.max = self.max.max(end.ran.as_secs_f32());
        match end.outcome {
            Outcome::Ended => {}
            Outcome::Killed => self.killed = self.killed.saturating_add(1),
            Outcome::Panicked => self.panicked = self.panicked.saturating_add(1),
        }
        self.turn_to(slot(epoch, end.at).0);
        self.now += 1;
    }

    fn turn_to(&mut self, slot: u32) {
        // One that ended in the slot before may come late.
        if slot > self.slot {
            self.before = if slot == self.slot + 1 { self.now } else { 0 };
            (self.slot, self.now) = (slot, 0);
        }
    }

    fn merge(&mut self, other: &Kind, now: u32) {
        let mut other = other.clone();
        other.turn_to(now);
        self.took.merge(&other.took);
        self.killed = self.killed.saturating_add(other.killed);
        self.panicked = self.panicked.saturating_add(other.panicked);
        self.max = self.max.max(other.max);
        self.now = self.now.saturating_add(other.now);
        self.before = self.before.saturating_add(other.before);
    }
}

/// What is known of all kinds.
pub(crate) struct Kinds {
    pub(crate) column: String,
    known: HashMap<CompactString, Known, RandomState>,
    /// What has no sketch of its own.
    pub(crate) others: Option<Known>,
    pub(crate) has_secrets: bool,
    pub(crate) made: Instant,
}

/// What is known of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// How many of the last that ended it is known from.
    pub(crate) counted: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    pub(crate) killed: u32,
    pub(crate) panicked: u32,
}

/// Sums up what was learned on several shelves.
pub(crate) struct Sum {
    epoch: Instant,
    now: Instant,
    kinds: HashMap<CompactString, Kind, RandomState>,
    others: Option<Kind>,
    has_secrets: bool,
}

impl Sum {
    pub(crate) fn new(epoch: Instant, now: Instant) -> Self {
        Sum { epoch, now, kinds: HashMap::default(), others: None, has_secrets: false }
    }

    pub(crate) fn add(&mut self, learned: &Learned) {
        self.has_secrets |= learned.has_secrets;
        let (slot, _) = slot(self.epoch, self.now);
        for (name, kind) in &learned.kinds {
            let is_full = self.kinds.len() == KINDS && !self.kinds.contains_key(name);
            let sum =
                if is_full { self.others.get_or_insert_default() } else { self.kinds.entry(name.clone()).or_default() };
            sum.merge(kind, slot);
        }
        if let Some(others) = &learned.others {
            self.others.get_or_insert_default().merge(others, slot);
        }
    }

    pub(crate) fn finish(self, column: &str) -> Kinds {
        let (_, into) = slot(self.epoch, self.now);
        let span = (SLOT as f64 + into).min(self.now.saturating_duration_since(self.epoch).as_secs_f64());
        let known = |kind: &Kind| {
            let max = Duration::try_from_secs_f32(kind.max).unwrap_or(Duration::MAX);
            Known {
                counted: kind.took.count(),
                per_second: f64::from(kind.now + kind.before) / span.max(f64::MIN_POSITIVE),
                p50: kind.took.percentile(50, max),
                p99: kind.took.percentile(99, max),
                max,
                killed: kind.killed,
                panicked: kind.panicked,
            }
        };
        Kinds {
            column: column.to_string(),
            known: self.kinds.iter().map(|(name, kind)| (name.clone(), known(kind))).collect(),
            others: self.others.as_ref().map(known),
            has_secrets: self.has_secrets,
            made: self.now,
        }
    }
}

impl Kinds {
    /// The kinds by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CompactString, &Known)> {
        self.known.iter()
    }

    /// What is known of the kind of a task, if its column may be known.
    pub(crate) fn of(&self, row: &EntryRef<'_>, clearance: Clearance) -> Option<&Known> {
        let column = row.columns.get(&self.column).filter(|column| column.is_known(clearance))?;
        let text = column.text();
        self.known.get(&text[..text.floor_char_boundary(NAME)]).or(self.others.as_ref())
    }

    /// How many times the median of its kind a task of that age has run, if that is odd.
    pub(crate) fn oddness(&self, row: &EntryRef<'_>, age: Duration, clearance: Clearance) -> Option<f64> {
        let known = self.of(row, clearance).filter(|known| known.is_odd(age))?;
        Some(age.as_secs_f64() / known.p50.as_secs_f64().max(1e-6))
    }

    /// Whether enough of its kind have ended to tell whether it is odd.
    pub(crate) fn is_judged(&self, row: &EntryRef<'_>, clearance: Clearance) -> bool {
        self.of(row, clearance).is_some_and(Known::is_judged)
    }
}

impl Known {
    /// Whether enough of it have ended.
    pub(crate) fn is_judged(&self) -> bool {
        self.counted >= KNOWN
    }

    fn is_odd(&self, age: Duration) -> bool {
        self.is_judged() && age > self.p99 * ODD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(epoch: Instant, at: u64, ran: u64) -> End {
        let (at, ran) = (epoch + Duration::from_secs(at), Duration::from_millis(ran));
        End { outcome: Outcome::Ended, at, ran, spilled: 0, extra: None }
    }

    #[test]
    fn kinds_are_told_apart_up_to_256_and_the_rest_is_one() {
        let (epoch, mut learned) = (Instant::now(), Learned::default());
        for n in 0..300 {
            learned.record(&(format!("/{n}").into(), false), epoch, &end(epoch, 1, n));
        }
        let mut sum = Sum::new(epoch, epoch + Duration::from_secs(5));
        sum.add(&learned);
        sum.add(&learned);
        let kinds = sum.finish("route");
        assert_eq!((kinds.iter().count(), kinds.others.as_ref().map(|others| others.counted)), (256, Some(88)));
        let (_, known) = kinds.iter().find(|(name, _)| *name == "/250").expect("it is one of the first");
        assert_eq!((known.counted, known.max.as_millis()), (2, 250));
        assert!((known.per_second - 2.0 / 5.0).abs() < 1e-9, "{}", known.per_second);
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds_and_old_durations_fade() {
        let (epoch, mut kind) = (Instant::now(), Kind::default());
        (0..50).for_each(|n| kind.record(epoch, &end(epoch, n, 10)));
        let mut sum = Kind::default();
        sum.merge(&kind, 4);
        assert_eq!((sum.now, sum.before), (10, 10));
        let mut later = Kind::default();
        later.merge(&kind, 9);
        assert_eq!((later.now, later.before), (0, 0));
        (0..MANY * 4).for_each(|_| kind.record(epoch, &end(epoch, 60, 20)));
        assert!(kind.took.count() < u64::from(MANY));
        assert!(kind.took.percentile(1, Duration::from_secs(1)) > Duration::from_millis(15), "the first have faded");
    }

    #[test]
    fn what_is_odd_is_known_from_a_hundred() {
        let known = |counted| Known {
            counted,
            per_second: 0.0,
            p50: Duration::from_millis(10),
            p99: Duration::from_millis(100),
            max: Duration::from_secs(1),
            killed: 0,
            panicked: 0,
        };
        let is_odd = |counted, millis| known(counted).is_odd(Duration::from_millis(millis));
        assert!(!is_odd(99, 10_000) && !is_odd(100, 200) && is_odd(100, 201));
    }
}
