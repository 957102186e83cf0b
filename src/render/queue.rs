//! Queue: whose turn it is. No clock, no I/O.
//!
//! Rendering is shared out by what it costs: the client that has cost least is served next. So a
//! client that costs little hardly waits, and one that costs much waits until all others have cost as
//! much. A piece is short, so no client waits for long.
//!
//! There are four lanes. Each is closed for a while after each piece, so that it takes no more than its
//! share of a processor: together they take half of one, and one that is alone may take that half. So no
//! lane waits for another, but for the piece that is being rendered.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) type ClientId = u64;

/// How far a client that costs little is ahead of those that ask all the time.
const CREDIT: Duration = Duration::from_millis(20);

/// A timer is not more exact than this, so a cooldown that is shorter is saved up.
const SAVED_UP: Duration = Duration::from_millis(2);

/// The longest cooldown. Rendering that takes so long is one of a million tasks, or of a process that
/// was stopped meanwhile.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(1);

/// A lane counts as alone when no other was used for so long.
const ALONE_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What costs next to nothing: one task. Clients are served one after the other, whatever they cost.
    Quick,
    /// What an operator needs before a kill.
    Urgent,
    /// Frames that are due. No number of clients that ask keeps a client that watches waiting.
    Due,
    /// All else that a client asks for.
    Asked,
}

const LANES: [Lane; 4] = [Lane::Quick, Lane::Urgent, Lane::Due, Lane::Asked];

impl Lane {
    /// How many times as long as a piece it is closed after it: it takes a twentieth of a processor, an
    /// eighth, a fifth, an eighth.
    fn cooldown(self) -> u32 {
        match self {
            Lane::Quick => 19,
            Lane::Due => 4,
            Lane::Urgent | Lane::Asked => 7,
        }
    }
}

/// What waits for its turn.
pub(crate) struct Queue<T> {
    lanes: [Waiting<T>; LANES.len()],
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
        Queue { lanes: LANES.map(|_| waiting()), costs: HashMap::new(), level: CREDIT, pushed: 0 }
    }
}

impl<T> Queue<T> {
    pub(crate) fn push(&mut self, client: ClientId, lane: Lane, item: T) {
        let least = self.level - CREDIT;
        let cost = self.costs.get(&client).map_or(least, |cost| least.max(*cost));
        self.costs.insert(client, cost);
        self.pushed += 1;
        let key = (if lane == Lane::Quick { Duration::ZERO } else { cost }, self.pushed);
        self.lane(lane).items.insert(key, (client, item));
    }

    /// Takes out what is next: of the lanes that are open, the one that was closed first.
    pub(crate) fn pop(&mut self, now: Instant) -> Next<T> {
        let waiting = LANES.into_iter().filter(|lane| !self.lanes[*lane as usize].items.is_empty());
        let Some(lane) = waiting.min_by_key(|lane| self.lanes[*lane as usize].closed_until) else {
            return Next::Nothing;
        };
        match self.lane(lane).closed_until.filter(|until| *until > now + SAVED_UP) {
            Some(until) => Next::At(until),
            None => match self.lane(lane).items.pop_first() {
                Some(((cost, _), (client, item))) => {
                    self.level = self.level.max(cost);
                    Next::Now(Turn { client, lane, item })
                }
                None => Next::Nothing,
            },
        }
    }

    /// A piece has been rendered from `began` on, and took so long.
    pub(crate) fn charge(&mut self, client: ClientId, lane: Lane, began: Instant, took: Duration) {
        let least = self.level - CREDIT;
        *self.costs.entry(client).or_insert(least) += took;
        // Clients that are gone, or have not asked for a while.
        self.costs.retain(|known, cost| *known == client || *cost > least);
        let others = LANES.into_iter().filter(|other| *other != lane).map(|other| &self.lanes[other as usize]);
        let is_alone = others
            .into_iter()
            .all(|other| other.items.is_empty() && other.closed_until.is_none_or(|until| until + ALONE_AFTER < began));
        let cooldown = took * if is_alone { 1 } else { lane.cooldown() };
        let waiting = self.lane(lane);
        let from = waiting.closed_until.map_or(began, |until| until.max(began));
        waiting.closed_until = Some(from + took + cooldown.min(LONGEST_COOLDOWN));
    }

    fn lane(&mut self, lane: Lane) -> &mut Waiting<T> {
        &mut self.lanes[lane as usize]
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
        let (served, _) = shares(&[(Lane::Asked, 50 * MS), (Lane::Asked, 10 * MS), (Lane::Asked, MS)], 5000);
        let times: Vec<_> = served.iter().map(|(_, time)| time.as_secs_f64()).collect();
        assert!(times.iter().all(|time| (time / times[0] - 1.0).abs() < 0.05), "{served:?}");
    }

    #[test]
    fn all_together_take_half_a_processor_at_most_and_no_lane_waits_for_another() {
        for pieces in [
            vec![(Lane::Asked, 50 * MS); 62],
            vec![(Lane::Urgent, 25 * MS); 62],
            [vec![(Lane::Urgent, 25 * MS); 31], vec![(Lane::Asked, MS / 10); 31]].concat(),
            [vec![(Lane::Urgent, 25 * MS); 31], vec![(Lane::Quick, MS / 10); 31]].concat(),
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
            queue.push(client, Lane::Asked, ());
        }
        for round in 1..1000 {
            let asks = round > 500 && round % 50 == 0;
            if asks {
                queue.push(99, Lane::Asked, ());
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
