//! Rare: what few tasks have. In a box, so that the others do not carry it about. Adds `Entry::{add_hook, forget_hook,
//! set_deadline, ask, probe}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use compact_str::CompactString;

use super::family::Family;
use super::{Entry, Life};
use crate::hook::Hook;
use crate::kill::Kill;
use crate::limits::Truncations;
use crate::probe::{self, Probe};
use crate::timer;

#[derive(Default)]
pub(super) struct Rare {
    /// What was over a limit.
    pub(super) truncations: Truncations,
    pub(super) deadline: Option<timer::Key>,
    /// What is called when it is killed.
    pub(super) hooks: Vec<Arc<Hook>>,
    /// The tree that it is in, if it has a parent or ever had a child.
    pub(super) family: Option<Arc<Family>>,
    pub(super) parent: Option<Parent>,
    /// It has ended, and its children are with its own parent.
    pub(super) has_left: bool,
    /// In the order of their births.
    pub(super) children: BTreeMap<u64, Weak<Entry>>,
    pub(super) births: u64,
    /// The kill of its parent, which it was born under and has not looked at.
    pub(super) inherited: Option<Arc<Kill>>,
    /// Who asked last where it is parked, and which time that was.
    pub(super) probe: Option<(Arc<dyn Probe>, u32)>,
}

/// The task below which another one stands.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) entry: Weak<Entry>,
    pub(crate) id: CompactString,
    /// Which of its children this one is.
    pub(super) number: u64,
    /// Its kill is not that of this child.
    pub(super) is_independent: bool,
    /// The tree, for a child that is to be listed.
    pub(super) family: Option<Arc<Family>>,
}

impl Parent {
    pub(super) fn of(entry: &Arc<Entry>) -> Self {
        let id = entry.id().into();
        Parent { entry: Arc::downgrade(entry), id, number: 0, is_independent: false, family: None }
    }
}

/// What a task leaves at its end, to be dropped when no lock is held.
pub(crate) struct Left {
    deadline: Option<timer::Key>,
    hooks: Vec<Arc<Hook>>,
    _probe: Option<(Arc<dyn Probe>, u32)>,
}

impl Rare {
    /// At the end of the task.
    pub(super) fn leave(&mut self) -> Left {
        self.inherited = None;
        let probe = self.probe.take();
        Left { deadline: self.deadline.take(), _probe: probe, hooks: std::mem::take(&mut self.hooks) }
    }

    /// The bytes that it holds, itself among them. The children of a task that has ended are about to leave it.
    pub(super) fn memory(&self, has_ended: bool) -> usize {
        let children = if has_ended { 0 } else { self.children.len() };
        size_of::<Self>() + children * size_of::<(u64, Weak<Entry>)>() + self.hooks.capacity() * size_of::<Arc<Hook>>()
    }
}

impl Entry {
    /// Has `hook` called when it is killed. If it was, that is at once; and never, if it has ended without.
    pub(crate) fn add_hook(&self, hook: &Arc<Hook>) {
        let mut state = self.lock();
        let kill = state.life.kill().cloned();
        match (&state.life, kill) {
            (_, Some(kill)) => {
                drop(state);
                Arc::clone(hook).call(kill);
            }
            (Life::Running, None) => {
                state.rare().hooks.push(Arc::clone(hook));
                drop(state);
                // Its parent's kill counts.
                self.look_at_inheritance();
            }
            (Life::Nobody | Life::Killing { .. } | Life::Ended { .. }, None) => {
                drop(state);
                hook.take_back();
            }
        }
    }

    /// Has `hook` called no more. Returns the kill that was accepted before: then it is too late for that.
    pub(crate) fn forget_hook(&self, hook: &Arc<Hook>) -> Option<Arc<Kill>> {
        self.let_kill_pass();
        let mut state = self.lock();
        if let Some(rare) = state.rare.as_mut()
            && let Some(at) = rare.hooks.iter().position(|known| Arc::ptr_eq(known, hook))
        {
            let ours = rare.hooks.swap_remove(at);
            drop(state);
            drop(ours);
            return None;
        }
        state.life.kill().cloned()
    }

    /// Lets `probe` see the next poll of each `run` of the task, and wakes them. Returns how many futures wait for something
    /// of it. `None` if it has ended.
    #[cfg_attr(not(feature = "stack"), allow(dead_code))]
    pub(crate) fn ask(&self, probe: Arc<dyn Probe>) -> Option<usize> {
        let mut state = self.live()?;
        // Under the lock: whoever sees that somebody has asked finds the probe.
        let before = state.rare().probe.replace((probe, probe::ask()));
        let woken = state.waiters.call_in();
        drop(state);
        drop(before);
        let waiting = woken.len();
        // They wait again when they are polled.
        woken.wake();
        Some(waiting)
    }

    /// How many runs of it have not been polled since.
    #[cfg_attr(not(feature = "stack"), allow(dead_code))]
    pub(crate) fn absent(&self) -> usize {
        self.lock().waiters.absent()
    }

    /// Who has asked since a time, and when.
    #[cold]
    pub(crate) fn probe(&self, since: u32) -> Option<(Arc<dyn Probe>, u32)> {
        let probe = self.lock().rare.as_ref().and_then(|rare| rare.probe.clone());
        probe.filter(|(_, asked)| probe::is_later(*asked, since))
    }

    /// Replaces the deadline. Returns whether the task may be killed; if not, it has none.
    pub(crate) fn set_deadline(&self, key: Option<timer::Key>) -> bool {
        let Some(mut state) = self.live() else {
            key.and_then(timer::forget);
            return true;
        };
        let is_forbidden = state.forbidden && key.is_some();
        let (kept, over) = if is_forbidden { (None, key) } else { (key, None) };
        let before = match (&mut state.rare, kept) {
            (None, None) => None,
            (_, kept) => std::mem::replace(&mut state.rare().deadline, kept),
        };
        drop(state);
        before.into_iter().chain(over).for_each(|key| _ = timer::forget(key));
        !is_forbidden
    }
}

impl fmt::Debug for Rare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rare").finish_non_exhaustive()
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(key) = self.deadline.take() {
            timer::forget(key);
        }
        for hook in self.hooks.drain(..) {
            hook.take_back();
        }
    }
}
