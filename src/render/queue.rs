//! Queue: whose turn it is. No clock, no I/O.
//!
//! Rendering is shared out by what it costs: the client that has cost least is served next. So a
//! client that costs little hardly waits, and one that costs much waits until all others have cost as
//! much. A piece is short, so nobody waits for long.
//!
//! There are two lanes. Each is closed for a while after each piece, so that it takes no more than its
//! share of a processor: together they take half of one. What is urgent waits for nothing that is
//! not, and the other way round.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) type ClientId = u64;

/// How far a client that costs little is ahead of those that ask all the time: two pieces.
const CREDIT: Duration = Duration::from_millis(100);

/// A timer is not more exact than this, so a cooldown that is shorter is saved up.
const SAVED_UP: Duration = Duration::from_millis(2);

/// The longest cooldown. Rendering that takes so long is one of a million tasks, or of a process that
/// was stopped meanwhile.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What somebody needs who is about to kill.
    Urgent,
    Normal,
}

impl Lane {
    /// How many times as long as a piece the lane is closed after it: a sixth of a processor for what
    /// is urgent, a third for the rest.
    fn cooldown(self) -> u32 {
        match self {
            Lane::Urgent => 5,
            Lane::Normal => 2,
        }
    }
}

/// What waits for its turn.
pub(crate) struct Queue<T> {
    urgent: Waiting<T>,
    normal: Waiting<T>,
    /// What each client has cost so far. A client that has not asked for a while counts as one that
    /// has cost [`CREDIT`] less than those that are served now, so it cannot save up more.
    costs: HashMap<ClientId, Duration>,
    /// The most that a client had cost that was served.
    level: Duration,
    pushed: u64,
}

struct Waiting<T> {
    /// By the cost of the client, then in the order of arrival.
    items: BTreeMap<(Duration, u64), (ClientId, T)>,
    closed_until: Option<Instant>,
}

/// A turn.
pub(crate) struct Turn<T> {
    pub(crate) client: ClientId,
    pub(crate) lane: Lane,
    pub(crate) item: T,
}

/// What is next.
pub(crate) enum Next<T> {
    Now(Turn<T>),
    /// Something, then.
    At(Instant),
    Nothing,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let waiting = || Waiting { items: BTreeMap::new(), closed_until: None };
        Queue { urgent: waiting(), normal: waiting(), costs: HashMap::new(), level: CREDIT, pushed: 0 }
    }
}

impl<T> Queue<T> {
    pub(crate) fn push(&mut self, client: ClientId, lane: Lane, item: T) {
        let least = self.level - CREDIT;
        let cost = self.costs.get(&client).map_or(least, |cost| least.max(*cost));
        self.costs.insert(client, cost);
        self.pushed += 1;
        let key = (cost, self.pushed);
        self.lane(lane).items.insert(key, (client, item));
    }

    /// Takes out what is next.
    pub(crate) fn pop(&mut self, now: Instant) -> Next<T> {
        let mut next_at: Option<Instant> = None;
        for lane in [Lane::Urgent, Lane::Normal] {
            let waiting = self.lane(lane);
            if waiting.items.is_empty() {
                continue;
            }
            if let Some(until) = waiting.closed_until.filter(|until| *until > now + SAVED_UP) {
                next_at = Some(next_at.map_or(until, |at| at.min(until)));
                continue;
            }
            if let Some(((cost, _), (client, item))) = waiting.items.pop_first() {
                self.level = self.level.max(cost);
                return Next::Now(Turn { client, lane, item });
            }
        }
        next_at.map_or(Next::Nothing, Next::At)
    }

    /// A piece has been rendered from `began` on, and took so long.
    pub(crate) fn charge(&mut self, client: ClientId, lane: Lane, began: Instant, took: Duration) {
        let least = self.level - CREDIT;
        *self.costs.entry(client).or_insert(least) += took;
        // Clients that are gone, or have not asked for a while.
        self.costs.retain(|known, cost| *known == client || *cost > least);
        let waiting = self.lane(lane);
        let from = waiting.closed_until.map_or(began, |until| until.max(began));
        waiting.closed_until = Some(from + took + (took * lane.cooldown()).min(LONGEST_COOLDOWN));
    }

    fn lane(&mut self, lane: Lane) -> &mut Waiting<T> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Normal => &mut self.normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Clients that ask again as soon as they are served, and what a piece of each takes.
    fn shares(pieces: &[(Lane, Duration)], rounds: usize) -> (Vec<(usize, Duration)>, f64) {
        let began = Instant::now();
        let (mut queue, mut now) = (Queue::default(), began);
        let mut served = vec![(0, Duration::ZERO); pieces.len()];
        let mut busy = Duration::ZERO;
        for (client, (lane, _)) in pieces.iter().enumerate() {
            queue.push(client as u64, *lane, ());
        }
        for _ in 0..rounds {
            match queue.pop(now) {
                Next::Now(turn) => {
                    let took = pieces[turn.client as usize].1;
                    queue.charge(turn.client, turn.lane, now, took);
                    now += took;
                    busy += took;
                    queue.push(turn.client, turn.lane, ());
                    let (turns, time) = &mut served[turn.client as usize];
                    (*turns, *time) = (*turns + 1, *time + took);
                }
                Next::At(at) => now = at,
                Next::Nothing => unreachable!("all of them ask"),
            }
        }
        (served, busy.as_secs_f64() / (now - began).as_secs_f64())
    }

    #[test]
    fn clients_have_equal_shares_whatever_a_piece_of_theirs_takes() {
        let (served, _) = shares(&[(Lane::Normal, 50 * MS), (Lane::Normal, 10 * MS), (Lane::Normal, MS)], 5000);
        let times: Vec<_> = served.iter().map(|(_, time)| time.as_secs_f64()).collect();
        assert!(times.iter().all(|time| (time / times[0] - 1.0).abs() < 0.05), "{served:?}");
    }

    #[test]
    fn all_together_take_half_a_processor_at_most_and_neither_lane_waits_for_the_other() {
        for pieces in [
            vec![(Lane::Normal, 50 * MS); 62],
            vec![(Lane::Urgent, 25 * MS); 62],
            [vec![(Lane::Urgent, 25 * MS); 31], vec![(Lane::Normal, MS / 10); 31]].concat(),
        ] {
            let (served, share) = shares(&pieces, 20_000);
            assert!(share < 0.51, "{share}");
            assert!(served.iter().all(|(turns, _)| *turns > 0), "{served:?}");
        }
    }

    #[test]
    fn a_client_that_asks_now_and_then_has_its_turn_next() {
        let mut queue = Queue::default();
        let mut now = Instant::now();
        for client in 0..62 {
            queue.push(client, Lane::Normal, ());
        }
        for round in 1..1000 {
            let asks = round > 500 && round % 50 == 0;
            if asks {
                queue.push(99, Lane::Normal, ());
            }
            now += Duration::from_secs(1);
            let Next::Now(turn) = queue.pop(now) else { panic!("they wait") };
            assert_eq!(turn.client == 99, asks, "{round}");
            let took = if turn.client == 99 { MS } else { 50 * MS };
            queue.charge(turn.client, turn.lane, now, took);
            if turn.client != 99 {
                queue.push(turn.client, turn.lane, ());
            }
        }
        assert!(queue.costs.len() <= 64, "clients are forgotten: {}", queue.costs.len());
    }
}
