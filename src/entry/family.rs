//! Family: who is below whom, and the kill that goes through it. Adds `Entry::{bear, leave_family, children, kill_family,
//! set_independent}`.
//!
//! # Deadlock safety
//!
//! The tasks of one tree share a lock. Whoever changes what is below what holds it, and a kill from its first task to its
//! last. Under it, entries are locked one at a time, and nobody is woken or dropped.
//!
//! # Nobody escapes
//!
//! While a kill goes through a tree, nobody in it is born or leaves: a task that ends, or takes back a call, waits for the
//! kill to have passed. Who is put below a task that has been killed is killed when it looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::rare::Parent;
use super::{Alarm, Entry, Fresh, INHERITED, KillReply, Life, State};
use crate::kill::{Kill, Request};

/// One tree of tasks.
#[derive(Debug, Default)]
pub(super) struct Family {
    lock: Mutex<()>,
    /// How many kills are in it, or about to be. So whoever ends need not lock it.
    kills: AtomicUsize,
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_for_kill(&self) -> KillLock<'_> {
        self.kills.fetch_add(1, Ordering::Release);
        KillLock { family: self, _lock: self.lock() }
    }

    /// Waits for the kill that is in it.
    fn let_pass(&self) {
        if self.kills.load(Ordering::Acquire) > 0 {
            drop(self.lock());
        }
    }
}

/// The lock of a tree, for a kill.
struct KillLock<'a> {
    family: &'a Family,
    _lock: MutexGuard<'a, ()>,
}

impl Drop for KillLock<'_> {
    fn drop(&mut self) {
        self.family.kills.fetch_sub(1, Ordering::Release);
    }
}

/// What was answered to the kill of a task that others may be below.
pub(crate) struct FamilyReply {
    pub(crate) reply: KillReply,
    /// For each that it has come to.
    pub(crate) below: Vec<(Arc<Entry>, KillReply)>,
    /// The independent ones, which go on with all that is below them.
    pub(crate) spared: Vec<Arc<Entry>>,
}

impl Entry {
    /// Has a child listed by `enlist`, below this task. `None` if it has ended. If it is being killed, or was, the child is
    /// as soon as it looks.
    pub(crate) fn bear(self: &Arc<Self>, enlist: impl FnOnce(Parent) -> Arc<Entry>) -> Option<Arc<Entry>> {
        let mut state = self.live()?;
        let family = Arc::clone(state.rare().family.get_or_insert_default());
        drop(state);
        // All at once: a parent that leaves in between would not know of it.
        let lock = family.lock();
        if self.has_left() {
            return None;
        }
        let child = enlist(Parent { family: Some(Arc::clone(&family)), ..Parent::of(self) });
        let mut passed = Vec::new();
        self.take_in(&child, false, &mut passed);
        drop(lock);
        drop(passed);
        Some(child)
    }

    /// A task that has ended hands its children to its own parent.
    pub(super) fn leave_family(self: &Arc<Self>) {
        let Some(family) = self.family() else { return };
        let lock = family.lock();
        let mut state = self.lock();
        let rare = state.rare();
        rare.has_left = true;
        let (parent, children) = (rare.parent.clone(), std::mem::take(&mut rare.children));
        let kill = state.life.kill().cloned();
        drop(state);
        let children: Vec<_> = children.into_values().filter_map(|child| child.upgrade()).collect();
        let (mut reached, mut passed) = (Vec::new(), Vec::new());
        // It may have been killed and have ended before the kill has come to its tree.
        if let Some(kill) = &kill {
            let dependents = children.iter().filter(|child| !child.is_independent());
            reached.extend(dependents.filter(|child| child.be_born_under(kill)).cloned());
        }
        let elder = parent.as_ref().and_then(|parent| parent.entry.upgrade());
        let mut forgotten = None;
        if let (Some(elder), Some(parent)) = (&elder, &parent) {
            forgotten = elder.lock().rare().children.remove(&parent.number);
            // Of one that was killed they have the kill, which is not to be refused.
            let was_independent = parent.is_independent && kill.is_none();
            let handed_on = children.iter().filter(|child| elder.take_in(child, was_independent, &mut passed));
            reached.extend(handed_on.cloned());
        }
        drop(lock);
        // They may wait for a kill. One that was born under it before looks by itself.
        reached.iter().for_each(|child| child.look_at_inheritance());
        drop((children, reached, passed, elder, forgotten, parent));
    }

    /// Puts a child below this task, if it has not left; `was_independent`, what it was below before. Returns whether it is
    /// under a kill by that. The lock of the family is held; what it has `passed` is to be dropped after that.
    fn take_in(self: &Arc<Self>, child: &Arc<Entry>, was_independent: bool, passed: &mut Vec<Arc<Entry>>) -> bool {
        if child.has_left() {
            return false;
        }
        let mut state = self.lock();
        let kill = state.kill_or_inherited().cloned();
        let is_passed = kill.is_none() && state.forbidden;
        let rare = state.rare();
        if rare.has_left {
            return false;
        }
        rare.births += 1;
        let parent = Parent { number: rare.births, ..Parent::of(self) };
        rare.children.insert(parent.number, Arc::downgrade(child));
        drop(state);
        let mut state = child.lock();
        // It may become independent at this moment.
        let is_independent = was_independent || state.is_independent();
        let before = state.rare().parent.replace(Parent { is_independent, ..parent });
        drop(state);
        drop(before);
        // A kill goes through a task that refuses it.
        let kill = kill.or_else(|| is_passed.then(|| self.kill_above(passed)).flatten());
        kill.is_some_and(|kill| child.be_born_under(&kill))
    }

    /// Is killed when it looks. Returns whether that is new.
    fn be_born_under(&self, kill: &Arc<Kill>) -> bool {
        let mut state = self.lock();
        let is_reached = matches!(state.life, Life::Running) && !state.forbidden && !state.is_independent();
        let is_new = is_reached && state.rare().inherited.is_none();
        if is_new {
            state.rare().inherited = Some(Arc::clone(kill));
            self.signals.fetch_or(INHERITED, Ordering::Release);
        }
        is_new
    }

    /// A child of a task that has ended, in no tree.
    pub(super) fn be_orphan_of(&self, parent: &Arc<Entry>) {
        let kill = parent.lock().kill_or_inherited().cloned();
        self.lock().rare().parent = Some(Parent::of(parent));
        if let Some(kill) = kill {
            self.be_born_under(&kill);
        }
    }

    /// Kills this task and all below it. Calls `on_accepted` for each kill, and wakes nobody before that.
    pub(crate) fn kill_family(&self, request: Request, on_accepted: impl Fn(&Arc<Kill>)) -> FamilyReply {
        let mut alarm = Alarm::default();
        let family = self.family();
        let lock = family.as_ref().map(|family| family.lock_for_kill());
        let reply = self.kill(request, &mut alarm);
        let mut reply = FamilyReply { reply, below: Vec::new(), spared: Vec::new() };
        let KillReply::Accepted(kill) = &reply.reply else { return reply };
        let kill = Arc::clone(kill);
        // Its first child may have been born meanwhile.
        let late = if family.is_none() { self.family() } else { None };
        let late_lock = late.as_ref().map(|family| family.lock_for_kill());
        let (passed, taken) = self.kill_below(&kill, &mut reply, &mut alarm);
        drop((lock, late_lock));
        drop(passed);
        on_accepted(&kill);
        taken.iter().for_each(on_accepted);
        kill.reaches(taken.len());
        alarm.sound();
        reply
    }

    /// Kills a task that is in no list, and so in no audit.
    pub(crate) fn kill_unlisted(&self, request: Request) -> KillReply {
        // The kill that it was born under came first.
        self.look_at_inheritance();
        self.kill_family(request, |_| {}).reply
    }

    /// Takes the kill to all below this task. Returns those that it has passed, and the kills that they have accepted.
    fn kill_below(
        &self,
        kill: &Arc<Kill>,
        reply: &mut FamilyReply,
        alarm: &mut Alarm,
    ) -> (Vec<Arc<Entry>>, Vec<Arc<Kill>>) {
        let (mut passed, mut taken): (Vec<Arc<Entry>>, Vec<Arc<Kill>>) = (Vec::new(), Vec::new());
        let mut next = self.all_children();
        let mut at = 0;
        loop {
            reply.spared.extend(next.extract_if(.., |entry| entry.is_independent()));
            for entry in next {
                let answer = match entry.kill(Request::below(Arc::clone(kill)), alarm) {
                    // It has become independent at this moment.
                    KillReply::Independent => {
                        reply.spared.push(entry);
                        continue;
                    }
                    // It has ended with it, or was below another one of the family.
                    KillReply::Already(its) if its.is_of_family(kill) => KillReply::Accepted(its),
                    answer => {
                        taken.extend(if let KillReply::Accepted(kill) = &answer {
                            Some(Arc::clone(kill))
                        } else {
                            None
                        });
                        answer
                    }
                };
                // One that has ended by itself may not have handed its children on yet.
                if !matches!(answer, KillReply::Ended) {
                    reply.below.push((Arc::clone(&entry), answer));
                }
                passed.push(entry);
            }
            let Some(entry) = passed.get(at) else { break };
            next = entry.all_children();
            at += 1;
        }
        (passed, taken)
    }

    /// Takes the kill that is on its way to it.
    pub(super) fn let_kill_pass(&self) {
        if let Some(family) = self.family() {
            family.let_pass();
        }
        self.look_at_inheritance();
    }

    /// The kill of the nearest task above it that has been killed.
    fn kill_above(&self, passed: &mut Vec<Arc<Entry>>) -> Option<Arc<Kill>> {
        let mut above = self.lock().rare.as_ref().and_then(|rare| rare.parent.clone());
        while let Some(parent) = above.filter(|parent| !parent.is_independent) {
            let parent = parent.entry.upgrade()?;
            let state = parent.lock();
            let kill = state.kill_or_inherited().cloned();
            above = state.rare.as_ref().and_then(|rare| rare.parent.clone());
            drop(state);
            passed.push(parent);
            if kill.is_some() {
                return kill;
            }
        }
        None
    }

    fn family(&self) -> Option<Arc<Family>> {
        self.lock().rare.as_ref().and_then(|rare| rare.family.clone())
    }

    fn has_left(&self) -> bool {
        self.lock().rare.as_ref().is_some_and(|rare| rare.has_left)
    }

    /// Those that are running, in the order of their births.
    pub(crate) fn children(&self) -> Vec<Arc<Entry>> {
        let mut children = self.all_children();
        children.retain(|child| !child.has_ended());
        children
    }

    /// The same, and those that are about to leave.
    fn all_children(&self) -> Vec<Arc<Entry>> {
        let children: Vec<Weak<Entry>> = match &self.lock().rare {
            Some(rare) => rare.children.values().cloned().collect(),
            None => return Vec::new(),
        };
        children.iter().filter_map(Weak::upgrade).collect()
    }

    /// The kill of its parent is not its own from now on. One that it has seen stands.
    pub(crate) fn set_independent(&self) {
        let mut state = self.lock();
        if let Some(parent) = state.rare.as_mut().and_then(|rare| rare.parent.as_mut()) {
            parent.is_independent = true;
        }
        drop(state);
        let mut spared = match self.disinherit(None) {
            Some(kill) => vec![(self.children(), kill)],
            None => Vec::new(),
        };
        // What it has below it got that kill from it.
        while let Some((children, kill)) = spared.pop() {
            for child in children.iter().filter(|child| child.disinherit(Some(&kill)).is_some()) {
                spared.push((child.children(), Arc::clone(&kill)));
            }
        }
    }

    /// Forgets the kill that it was born under, any or this one. Returns it.
    pub(super) fn disinherit(&self, which: Option<&Arc<Kill>>) -> Option<Arc<Kill>> {
        let mut state = self.lock();
        let rare = state.rare.as_mut()?;
        let kill = rare.inherited.take_if(|kill| which.is_none_or(|which| Arc::ptr_eq(kill, which)))?;
        self.signals.fetch_and(!INHERITED, Ordering::Relaxed);
        Some(kill)
    }

    pub(crate) fn is_independent(&self) -> bool {
        self.lock().is_independent()
    }

    /// Takes the kill upon itself that it was born under.
    #[cold]
    pub(super) fn inherit(&self) {
        let kill = self.lock().rare.as_ref().and_then(|rare| rare.inherited.clone());
        if let Some(kill) = kill {
            match self.list() {
                Some(list) => list.inherit(self, Arc::clone(&kill)),
                None => _ = self.kill_family(Request::below(Arc::clone(&kill)), |_| {}),
            }
            // Not before: who looks meanwhile finds one of both.
            drop(self.disinherit(Some(&kill)));
        }
    }
}

impl State {
    pub(super) fn is_independent(&self) -> bool {
        self.rare.as_ref().and_then(|rare| rare.parent.as_ref()).is_some_and(|parent| parent.is_independent)
    }

    /// The kill that it was born under.
    pub(super) fn inherited(&self) -> Option<&Arc<Kill>> {
        self.rare.as_ref()?.inherited.as_ref()
    }

    /// The kill that reaches it, now or when it looks.
    fn kill_or_inherited(&self) -> Option<&Arc<Kill>> {
        self.life.kill().or_else(|| self.inherited())
    }
}

impl Fresh<'_> {
    pub(crate) fn set_parent(&mut self, mut parent: Parent) {
        let rare = self.0.rare();
        rare.family = parent.family.take();
        rare.parent = Some(parent);
    }
}
