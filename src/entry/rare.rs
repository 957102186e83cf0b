//! Rare: what few tasks have. In a box, so that the others do not carry it about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use compact_str::CompactString;

use super::Entry;
use crate::hook::Hook;
use crate::kill::Kill;
use crate::limits::Truncations;
use crate::probe::Probe;
use crate::timer;

#[derive(Default)]
pub(super) struct Rare {
    /// What was over a limit.
    pub(super) truncations: Truncations,
    pub(super) deadline: Option<timer::Key>,
    /// What is called when it is killed.
    pub(super) hooks: Vec<Arc<Hook>>,
    pub(super) parent: Option<Parent>,
    /// In the order of their births.
    pub(super) children: BTreeMap<u64, Weak<Entry>>,
    pub(super) births: u64,
    /// The kill of its parent, which it was born under and has not looked at.
    pub(super) inherited: Option<Arc<Kill>>,
    /// Who asked last where it is parked.
    pub(super) probe: Option<Arc<dyn Probe>>,
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
}

/// What a task leaves at its end, to be dropped when no lock is held.
pub(crate) struct Left {
    deadline: Option<timer::Key>,
    hooks: Vec<Arc<Hook>>,
    parent: Option<(Weak<Entry>, u64)>,
    /// They go on, below the parent.
    children: Vec<Weak<Entry>>,
    _probe: Option<Arc<dyn Probe>>,
}

impl Rare {
    /// At the end of the task.
    pub(super) fn leave(&mut self) -> Left {
        self.inherited = None;
        let probe = self.probe.take();
        Left {
            deadline: self.deadline.take(),
            children: std::mem::take(&mut self.children).into_values().collect(),
            _probe: probe,
            hooks: std::mem::take(&mut self.hooks),
            parent: self.parent.as_ref().map(|parent| (parent.entry.clone(), parent.number)),
        }
    }

    /// The bytes that it holds, itself among them.
    pub(super) fn memory(&self) -> usize {
        let children = self.children.len() * size_of::<(u64, Weak<Entry>)>();
        size_of::<Self>() + children + self.hooks.capacity() * size_of::<Arc<Hook>>()
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
        if let Some((parent, number)) = self.parent.take()
            && let Some(parent) = parent.upgrade()
        {
            parent.forget_child(number);
            for child in self.children.drain(..).filter_map(|child| child.upgrade()) {
                parent.adopt(&child);
            }
        }
    }
}
