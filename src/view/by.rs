//! By: `by <column>`. How many tasks there are of each kind, and for how long they have been running.

use std::collections::HashMap;
use std::time::Duration;

use compact_str::CompactString;

use crate::clock::Moment;
use crate::duration;
use crate::escape;
use crate::list::ProcList;
use crate::view::field::Field;
use crate::view::grid::Grid;
use crate::view::{View, table};

/// The tasks that `view` selects, grouped by `field`: the largest group first.
pub(crate) fn render(list: &ProcList, view: &View, field: &Field) -> String {
    let now = Moment::now();
    let mut groups: HashMap<CompactString, Vec<Duration>> = HashMap::new();
    for task in list.entries() {
        task.with_live(|row| {
            if view.shows(row, now) {
                let key = field.cell(row, now, view.clearance).shown();
                let time = row.age(now);
                match groups.get_mut(key) {
                    Some(times) => times.push(time),
                    None => _ = groups.insert(key.into(), vec![time]),
                }
            }
        });
    }
    let total = groups.len();
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by(|(a, x), (b, y)| y.len().cmp(&x.len()).then_with(|| a.cmp(b)));
    groups.truncate(view.limit);
    let shown = groups.len();

    let name = escape::echo(field.name()).to_string();
    let mut grid = Grid::new([name.as_str(), ">count", ">oldest", ">median", ">p99"]);
    for (key, mut times) in groups {
        times.sort_unstable();
        let key = if field.is_id() { escape::id(&key).to_string() } else { escape::echo(&key).to_string() };
        let [oldest, median, p99] = [100, 50, 99].map(|percent| duration::seconds(percentile(&times, percent)));
        grid.push([key, times.len().to_string(), oldest, median, p99]);
    }
    let mut text = grid.fit(view.width).finish();
    table::push_rest(&mut text, shown, total);
    text
}

/// The value that so many percent do not exceed, by nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Clearance;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let times: Vec<_> = (1..=200).map(Duration::from_secs).collect();
        let at = |percent| percentile(&times, percent).as_secs();
        assert_eq!((at(50), at(99), at(100)), (100, 198, 200));
        assert_eq!(percentile(&times[..1], 50).as_secs(), 1);
    }

    #[test]
    fn the_largest_group_comes_first_and_what_is_missing_is_a_group() {
        let list = ProcList::new();
        list.set_cols(["method"]);
        let methods = ["POST", "GET", "GET", "PUT", "GET", "POST"];
        let tasks: Vec<_> = methods.map(|method| list.start("a").col("method", method)).into();
        let other = list.start("b");
        let field = Field::Column("method".to_string());
        let text = render(&list, &View::new(1000, Clearance::Secret), &field);
        let first_words: Vec<_> = text.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!(first_words, ["method", "GET", "POST", "1", "PUT"]);
        assert!(text.lines().all(|line| line.len() == "method  count  oldest  median     p99".len()), "{text}");
        let text = render(&list, &View::new(2, Clearance::Secret), &field);
        assert!(text.ends_with("\n... 2 more (limit 2)\n"), "{text}");
        drop((tasks, other));
    }
}
