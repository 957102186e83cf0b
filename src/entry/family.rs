//! Family: the tasks below a task. Adds `Entry::{bear, raise, children, set_independent}`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::rare::Parent;
use super::{Entry, Fresh, INHERITED, Life, State};
use crate::kill::Kill;

impl Entry {
    /// What a new child of this task has to know of it. It is to be [raised](Self::raise) when it is listed.
    pub(crate) fn bear(self: &Arc<Self>) -> Parent {
        let mut state = self.lock();
        let number = match state.life {
            Life::Nobody | Life::Ended { .. } => 0,
            Life::Running | Life::Killing { .. } => {
                let rare = state.rare();
                rare.births += 1;
                rare.births
            }
        };
        drop(state);
        Parent { entry: Arc::downgrade(self), id: self.id().into(), number, is_independent: false }
    }

    /// Takes in a child that has been listed. If this task is being killed, or was, the child is as soon as it looks.
    pub(crate) fn raise(&self, child: &Arc<Entry>) {
        self.take_in(child, false);
    }

    /// Returns whether it is its child now: it is not if this task has ended.
    fn take_in(&self, child: &Arc<Entry>, is_independent: bool) -> bool {
        let Some(number) = child.lock().rare.as_ref().and_then(|rare| rare.parent.as_ref()).map(|parent| parent.number)
        else {
            return false;
        };
        let mut state = self.lock();
        let inherited = || state.rare.as_ref().and_then(|rare| rare.inherited.as_ref());
        let kill = state.life.kill().or_else(inherited).cloned();
        let is_alive = matches!(state.life, Life::Running | Life::Killing { .. });
        if is_alive {
            state.rare().children.insert(number, Arc::downgrade(child));
        }
        drop(state);
        if kill.is_some() && !is_independent && !child.is_killed() {
            child.lock().rare().inherited = kill;
            child.signals.fetch_or(INHERITED, Ordering::Release);
        }
        is_alive
    }

    pub(super) fn forget_child(&self, number: u64) {
        let child = self.lock().rare.as_mut().and_then(|rare| rare.children.remove(&number));
        drop(child);
    }

    /// Those that are running, in the order of their births.
    pub(crate) fn children(&self) -> Vec<Arc<Entry>> {
        let children: Vec<Weak<Entry>> = match &self.lock().rare {
            Some(rare) => rare.children.values().cloned().collect(),
            None => return Vec::new(),
        };
        children.iter().filter_map(Weak::upgrade).filter(|child| !child.has_ended()).collect()
    }

    /// Takes in a child of one of its children, which has ended; `was_independent`, that one. The kill of this task may have
    /// passed it by in between.
    pub(super) fn adopt(self: &Arc<Self>, child: &Arc<Entry>, was_independent: bool) {
        let mut elder = Arc::clone(self);
        let mut is_independent = was_independent;
        loop {
            let parent = elder.bear();
            let mut state = child.lock();
            let Some(known) = state.rare.as_mut().and_then(|rare| rare.parent.as_mut()) else { return };
            is_independent |= known.is_independent;
            let before = std::mem::replace(known, Parent { is_independent, ..parent });
            drop(state);
            drop(before);
            if elder.take_in(child, is_independent) {
                break;
            }
            // It has ended, too.
            let above = elder.lock().rare.as_ref().and_then(|rare| rare.parent.clone());
            let Some(above) = above else { break };
            is_independent |= above.is_independent;
            let Some(next) = above.entry.upgrade() else { break };
            elder = next;
        }
        child.look_at_inheritance();
    }

    /// The kill of its parent is not its own from now on. One that it has seen stands.
    pub(crate) fn set_independent(&self) {
        let mut state = self.lock();
        let Some(rare) = state.rare.as_mut() else { return };
        if let Some(parent) = rare.parent.as_mut() {
            parent.is_independent = true;
        }
        rare.inherited = None;
        self.signals.fetch_and(!INHERITED, Ordering::Relaxed);
    }

    pub(crate) fn is_independent(&self) -> bool {
        let state = self.lock();
        state.rare.as_ref().and_then(|rare| rare.parent.as_ref()).is_some_and(|parent| parent.is_independent)
    }

    /// Takes the kill upon itself that it was born under.
    #[cold]
    pub(super) fn inherit(&self) {
        let kill = self.lock().rare.as_mut().and_then(|rare| rare.inherited.take());
        self.signals.fetch_and(!INHERITED, Ordering::Relaxed);
        if let Some(kill) = kill
            && let Some(list) = self.list()
        {
            list.inherit(self, kill);
        }
    }
}

impl State {
    /// The kill that it was born under, if it is one of its own when it looks.
    pub(super) fn inherited(&self) -> Option<&Arc<Kill>> {
        self.rare.as_ref().filter(|_| !self.forbidden)?.inherited.as_ref()
    }
}

impl Fresh<'_> {
    pub(crate) fn set_parent(&mut self, parent: Parent) {
        self.0.rare().parent = Some(parent);
    }
}
