//! Trees of tasks that change at random while they are killed: nobody below escapes, and nobody else is reached.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::time::Duration;

use pm::{Handle, OnKill, ProcList, Task};

/// How often a tree is grown and killed.
const ROUNDS: u64 = 300;

/// How many threads change it meanwhile, each so often.
const THREADS: u64 = 3;
const CHANGES: usize = 1000;

/// How often two threads meet at the same moment.
const RACES: usize = 50_000;

/// A task of the tree.
struct Member {
    task: Task,
    /// It is independent, or below one that is.
    is_spared: bool,
    on_kill: Option<OnKill>,
    calls: Arc<AtomicUsize>,
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[derive(Default)]
struct Tree {
    members: Mutex<Vec<Member>>,
    born: AtomicUsize,
}

impl Tree {
    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap()
    }

    /// A task starts below a random one.
    fn grow(&self, list: &ProcList, root: &Handle, random: &mut Random) {
        let below = {
            let members = self.members();
            match members.len() {
                0 => None,
                n => members.get(random.below(n + n / 2)).map(|member| (member.task.handle(), member.is_spared)),
            }
        };
        let (parent, is_spared) = below.unwrap_or((root.clone(), false));
        let number = self.born.fetch_add(1, Ordering::Relaxed).to_string();
        let mut task = parent.child("x").col("number", &number);
        let mut is_independent = false;
        if random.below(6) == 0 {
            task = task.independent();
            // A kill that came between the two stands.
            is_independent = !task.is_being_killed();
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let on_kill = (random.below(3) == 0).then(|| task.on_kill(move |_| _ = count.fetch_add(1, Ordering::SeqCst)));
        // One whose parent has ended is in no list, and another one may have its id there.
        if list.get(task.id()).is_some_and(|proc| proc.cols.iter().any(|(_, value)| *value == number)) {
            self.members().push(Member { task, is_spared: is_spared || is_independent, on_kill, calls });
        }
    }

    /// A random one ends.
    fn shrink(&self, random: &mut Random) {
        let mut members = self.members();
        let ended = match members.len() {
            0..3 => None,
            n => Some(members.swap_remove(random.below(n))),
        };
        drop(members);
        drop(ended);
    }
}

#[test]
fn nobody_below_escapes_and_nobody_else_is_reached() {
    let list = ProcList::new();
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..ROUNDS {
        let (tree, root) = (Tree::default(), list.start("root"));
        let (handle, is_over, start) = (root.handle(), AtomicBool::new(false), Barrier::new(THREADS as usize + 1));
        let pause = Duration::from_nanos(random.below(200_000) as u64);
        std::thread::scope(|scope| {
            for n in 1..=THREADS {
                let (list, tree, handle, is_over, start) = (&list, &tree, &handle, &is_over, &start);
                let mut random = Random(random.0 ^ n);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..CHANGES {
                        match random.below(8) {
                            0..5 => tree.grow(list, handle, &mut random),
                            _ => tree.shrink(&mut random),
                        }
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            start.wait();
            let began = std::time::Instant::now();
            while began.elapsed() < pause {
                std::hint::spin_loop();
            }
            list.kill("root", "out").unwrap();
            is_over.store(true, Ordering::Relaxed);
        });
        for Member { task, is_spared, on_kill, calls } in tree.members.into_inner().unwrap() {
            assert_eq!(task.check().is_err(), !is_spared, "{:?}", list.get(task.id()));
            let is_called = on_kill.is_some() && !is_spared;
            drop(on_kill);
            assert_eq!(calls.load(Ordering::SeqCst), usize::from(is_called));
        }
        drop(root);
        assert!(list.is_empty());
    }
}

#[test]
fn a_child_that_becomes_independent_when_its_parent_ends_stays_so() {
    let list = ProcList::new();
    list.keep_done(0);
    let (start, slot) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(None)));
    let (starts, theirs) = (Arc::clone(&start), Arc::clone(&slot));
    let ends = std::thread::spawn(move || {
        for _ in 0..RACES {
            starts.wait();
            drop::<Option<Task>>(theirs.lock().unwrap().take());
            starts.wait();
        }
    });
    for round in 0..RACES {
        let top = list.start("top");
        let parent = top.child("parent");
        let rollback = parent.child("rollback");
        *slot.lock().unwrap() = Some(parent);
        start.wait();
        (0..round % 61).for_each(|_| std::hint::spin_loop());
        let rollback = rollback.independent();
        start.wait();
        list.kill("top", "too slow").unwrap();
        assert!(rollback.check().is_ok(), "round {round}");
    }
    ends.join().unwrap();
}
