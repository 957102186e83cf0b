//! Family: who is below whom. Adds `Entry::{bear, raise, leave_family, children, set_independent}`.
//!
//! # Deadlock safety
//!
//! The tasks of one tree share a lock, which is held by whoever changes what is below what. Under it, entries are locked one
//! at a time, and nobody is woken or dropped.
//!
//! # Nobody escapes
//!
//! A kill marks a task and then looks at what is below it. Who is put below a task looks, after that, whether the task has
//! been killed. So one of both finds the other.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::rare::Parent;
use super::{Entry, Fresh, INHERITED, Life, State};
use crate::kill::Kill;

/// The lock of one tree of tasks.
pub(super) type Family = Arc<Mutex<()>>;

impl Entry {
    /// What a new child of this task has to know of it; `None` if it has ended. The child is to be
    /// [raised](Self::raise) when it is listed.
    pub(crate) fn bear(self: &Arc<Self>) -> Option<Parent> {
        let mut state = self.live()?;
        let family = Arc::clone(state.rare().family.get_or_insert_default());
        drop(state);
        Some(Parent { number: 0, is_independent: false, family: Some(family), ..Parent::of(self) })
    }

    /// Takes in a child that has been listed. If this task is being killed, or was, the child is as soon as it looks.
    pub(crate) fn raise(self: &Arc<Self>, child: &Arc<Entry>) {
        let Some(family) = child.family() else { return };
        let lock = family.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been killed, or ended by its id, since it is listed.
        let elders = self.take_in(child, false);
        drop(lock);
        drop(elders);
    }

    /// A task that has ended hands its children to its own parent.
    pub(super) fn leave_family(self: &Arc<Self>) {
        let Some(family) = self.family() else { return };
        let lock = family.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        let rare = state.rare();
        rare.has_left = true;
        let (children, parent) = (std::mem::take(&mut rare.children), rare.parent.clone());
        drop(state);
        let children: Vec<_> = children.into_values().filter_map(|child| child.upgrade()).collect();
        let elder = parent.as_ref().and_then(|parent| parent.entry.upgrade());
        let mut elders = Vec::new();
        let mut forgotten = None;
        if let (Some(elder), Some(parent)) = (&elder, &parent) {
            forgotten = elder.lock().rare.as_mut().and_then(|rare| rare.children.remove(&parent.number));
            for child in &children {
                elders.extend(elder.take_in(child, parent.is_independent));
            }
        }
        drop(lock);
        // A kill from above may have passed by a child that was between two parents, and waits.
        children.iter().for_each(|child| child.look_at_inheritance());
        drop((children, elder, elders, forgotten, parent));
    }

    /// Puts a child below this task, or below the next one above it that is there; `was_independent`, what it was below
    /// before. Returns what is to be dropped when the lock of the family is not held.
    #[must_use = "it may be the last that is known of a task"]
    fn take_in(self: &Arc<Self>, child: &Arc<Entry>, was_independent: bool) -> Vec<Arc<Entry>> {
        let mut elders = vec![Arc::clone(self)];
        let mut is_independent = was_independent || child.is_independent();
        let mut kill = None;
        if child.has_left() {
            return elders;
        }
        while let Some(elder) = elders.last() {
            let mut state = elder.lock();
            let inherited = || state.rare.as_ref().and_then(|rare| rare.inherited.as_ref());
            kill = kill.or_else(|| state.life.kill().or_else(inherited).filter(|_| !is_independent).cloned());
            let rare = state.rare();
            if !rare.has_left {
                rare.births += 1;
                let number = rare.births;
                rare.children.insert(number, Arc::downgrade(child));
                drop(state);
                let parent = Parent { number, is_independent, ..Parent::of(elder) };
                let before = child.lock().rare().parent.replace(parent);
                elders.extend(before.and_then(|before| before.entry.upgrade()));
                break;
            }
            let above = rare.parent.clone();
            drop(state);
            let Some(above) = above else { break };
            is_independent |= above.is_independent;
            let Some(next) = above.entry.upgrade() else { break };
            elders.push(next);
        }
        if let Some(kill) = kill {
            child.be_born_under(kill);
        }
        elders
    }

    /// Is killed when it looks.
    fn be_born_under(&self, kill: Arc<Kill>) {
        let mut state = self.lock();
        if matches!(state.life, Life::Running) && !state.forbidden {
            state.rare().inherited = Some(kill);
            self.signals.fetch_or(INHERITED, Ordering::Release);
        }
    }

    fn family(&self) -> Option<Family> {
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
        let state = self.lock();
        state.rare.as_ref().and_then(|rare| rare.parent.as_ref()).is_some_and(|parent| parent.is_independent)
    }

    /// Takes the kill upon itself that it was born under.
    #[cold]
    pub(super) fn inherit(&self) {
        let kill = self.lock().rare.as_ref().and_then(|rare| rare.inherited.clone());
        if let Some(kill) = kill {
            if let Some(list) = self.list() {
                list.inherit(self, Arc::clone(&kill));
            }
            // Not before: who looks meanwhile finds one of both.
            drop(self.disinherit(Some(&kill)));
        }
    }
}

impl State {
    /// The kill that it was born under.
    pub(super) fn inherited(&self) -> Option<&Arc<Kill>> {
        self.rare.as_ref()?.inherited.as_ref()
    }
}

impl Fresh<'_> {
    pub(crate) fn set_parent(&mut self, mut parent: Parent) {
        let rare = self.0.rare();
        rare.family = parent.family.take();
        rare.parent = Some(parent);
    }
}
