//! Family: who is below whom. Adds `Entry::{bear, leave_family, children, walk, set_independent}`.
//!
//! # Deadlock safety
//!
//! The tasks of one tree share a lock, which is held by whoever changes what is below what. Under it, entries are
//! locked one at a time, and nobody is woken or dropped.
//!
//! # Nobody escapes
//!
//! A kill marks a task and then looks at what is below it. Who is put below a task looks, after that, whether the task
//! has been killed. So one of both finds the other. A task that ends before the kill has looked below it hands the kill
//! on, and leaves its children to be found. One that ends, or takes back a call, while a kill is on its way looks above
//! itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::rare::Parent;
use super::{Alarm, Entry, Fresh, INHERITED, Life, State};
use crate::kill::Kill;

/// One tree of tasks.
#[derive(Debug, Default)]
pub(super) struct Family {
    lock: Mutex<()>,
    /// How many kills are on their way through it.
    walks: AtomicUsize,
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kill on its way through a tree, from before it marks the first task.
pub(crate) struct Walk(Option<Arc<Family>>);

impl Drop for Walk {
    fn drop(&mut self) {
        if let Some(family) = &self.0 {
            family.walks.fetch_sub(1, Ordering::Release);
        }
    }
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
        self.take_in(&child, false);
        drop(lock);
        Some(child)
    }

    /// A task that has ended hands its children to its own parent.
    pub(super) fn leave_family(self: &Arc<Self>) {
        let Some(family) = self.family() else { return };
        let lock = family.lock();
        let mut state = self.lock();
        let rare = state.rare();
        rare.has_left = true;
        let (is_walked, parent, children) = (rare.is_walked, rare.parent.clone(), std::mem::take(&mut rare.children));
        let kill = state.life.kill().cloned();
        if kill.is_some() && !is_walked {
            // Whoever has killed it comes for them.
            state.rare().children.clone_from(&children);
        }
        drop(state);
        let children: Vec<_> = children.into_values().filter_map(|child| child.upgrade()).collect();
        let mut reached = Vec::new();
        if let Some(kill) = &kill {
            let dependents = children.iter().filter(|child| !child.is_independent());
            reached.extend(dependents.filter(|child| child.be_born_under(kill)).cloned());
        }
        let elder = parent.as_ref().and_then(|parent| parent.entry.upgrade());
        let mut forgotten = None;
        if let (Some(elder), Some(parent)) = (&elder, &parent) {
            let mut state = elder.lock();
            // Whoever has killed them both comes for it.
            let is_awaited = kill.is_some() && state.life.kill().is_some();
            let rare = state.rare();
            if !is_awaited || rare.is_walked {
                forgotten = rare.children.remove(&parent.number);
            }
            drop(state);
            let handed_on = children.iter().filter(|child| elder.take_in(child, parent.is_independent));
            reached.extend(handed_on.cloned());
        }
        drop(lock);
        // They may wait for a kill. One that was born under it before looks by itself.
        reached.iter().for_each(|child| child.look_at_inheritance());
        drop((children, reached, elder, forgotten, parent));
    }

    /// Puts a child below this task, if it has not left; `was_independent`, what it was below before. Returns whether it is
    /// under a kill by that. The lock of the family is held.
    fn take_in(self: &Arc<Self>, child: &Arc<Entry>, was_independent: bool) -> bool {
        if child.has_left() {
            return false;
        }
        let mut state = self.lock();
        let kill = state.kill_or_inherited().cloned();
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

    /// A kill begins to go through the tree that it is in.
    pub(crate) fn begin_walk(&self) -> Walk {
        let family = self.family();
        if let Some(family) = &family {
            family.walks.fetch_add(1, Ordering::Release);
        }
        Walk(family)
    }

    /// Its children, for the kill that has marked it; also those that this kill has ended meanwhile.
    pub(crate) fn walk(&self) -> Vec<Arc<Entry>> {
        let Some(family) = self.family() else { return Vec::new() };
        // Nobody is between two parents.
        let lock = family.lock();
        let mut state = self.lock();
        let Some(rare) = state.rare.as_mut() else { return Vec::new() };
        rare.is_walked = true;
        let children: Vec<Weak<Entry>> = rare.children.values().cloned().collect();
        let over = if rare.has_left { std::mem::take(&mut rare.children) } else { BTreeMap::new() };
        drop(state);
        drop(lock);
        drop(over);
        children.iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes the kill of a task above it that has been accepted, and is on its way.
    pub(super) fn look_above(&self) {
        if let Some(family) = self.family()
            && family.walks.load(Ordering::Acquire) > 0
            && let Some(kill) = self.kill_above()
        {
            self.be_born_under(&kill);
        }
        self.look_at_inheritance();
    }

    fn kill_above(&self) -> Option<Arc<Kill>> {
        let mut above = self.lock().rare.as_ref().and_then(|rare| rare.parent.clone());
        while let Some(parent) = above.filter(|parent| !parent.is_independent) {
            let parent = parent.entry.upgrade()?;
            let state = parent.lock();
            if let Some(kill) = state.kill_or_inherited() {
                return Some(Arc::clone(kill));
            }
            above = state.rare.as_ref().and_then(|rare| rare.parent.clone());
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
        let children: Vec<Weak<Entry>> = match &self.lock().rare {
            Some(rare) => rare.children.values().cloned().collect(),
            None => return Vec::new(),
        };
        children.iter().filter_map(Weak::upgrade).filter(|child| !child.has_ended()).collect()
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
                None => self.take_unlisted(&kill),
            }
            // Not before: who looks meanwhile finds one of both.
            drop(self.disinherit(Some(&kill)));
        }
    }
}

impl Entry {
    /// There is no list that could note a kill of its own.
    fn take_unlisted(&self, kill: &Arc<Kill>) {
        let mut alarm = Alarm::default();
        let mut state = self.lock();
        if matches!(state.life, Life::Running) && !state.forbidden {
            self.accept(&mut state, kill, &mut alarm);
        }
        drop(state);
        alarm.sound();
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
