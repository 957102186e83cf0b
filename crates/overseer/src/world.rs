//! World: the actors of one Overseer, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::actor::{Action, Actor, Event};
use crate::error::Error;
use crate::program::Program;
use crate::status::{Outcome, Reason};

pub(crate) type Id = Arc<str>;

#[derive(Debug, Default)]
pub(crate) struct World {
    nodes: BTreeMap<Id, Node>,
    /// What is to be done, in this order.
    actions: Vec<(Id, u64, Action)>,
    /// Those that have taken a step: what they show may have changed.
    stepped: BTreeSet<Id>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) actor: Actor,
    pub(crate) program: Arc<Program>,
    pub(crate) parent: Option<Id>,
    children: Vec<Id>,
    /// How its last supervision ended.
    pub(crate) last: Option<Outcome>,
}

impl World {
    pub(crate) fn add(&mut self, id: &str, program: Program) -> Result<Id, Error> {
        if self.nodes.contains_key(id) {
            return Err(Error::Taken { id: id.to_string() });
        }
        let new: Id = id.into();
        let mut parent = None;
        if let Some(name) = &program.parent {
            let unknown = || Error::UnknownParent { id: id.to_string(), parent: name.clone() };
            let (known, node) = self.nodes.get_key_value(name.as_str()).ok_or_else(unknown)?;
            parent = Some((Arc::clone(known), node.actor.is_up()));
        }
        let mut actor = Actor::new(program.policy.clone(), parent.is_some());
        if let Some((name, is_up)) = &parent {
            actor.step(Event::Parent(*is_up), Instant::now());
            if let Some(node) = self.nodes.get_mut(name) {
                node.children.push(Arc::clone(&new));
            }
        }
        let parent = parent.map(|(name, _)| name);
        let node = Node { actor, program: Arc::new(program), parent, children: Vec::new(), last: None };
        self.nodes.insert(Arc::clone(&new), node);
        Ok(new)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<(), Error> {
        let node = self.node(id)?;
        if !node.children.is_empty() {
            let children = node.children.iter().map(ToString::to_string).collect();
            return Err(Error::HasChildren { id: id.to_string(), children });
        }
        if node.actor.is_supervised() {
            return Err(Error::Running { id: id.to_string() });
        }
        let parent = node.parent.clone();
        self.nodes.remove(id);
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.children.retain(|child| **child != *id);
        }
        Ok(())
    }

    pub(crate) fn node(&self, id: &str) -> Result<&Node, Error> {
        self.nodes.get(id).ok_or_else(|| Error::Unknown { id: id.to_string() })
    }

    /// The id as it is known here.
    pub(crate) fn key(&self, id: &str) -> Option<Id> {
        self.nodes.get_key_value(id).map(|(key, _)| Arc::clone(key))
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Id, &Node)> {
        self.nodes.iter()
    }

    /// Lets this actor take a step, and then those that it concerns.
    pub(crate) fn step(&mut self, id: &str, event: Event, now: Instant) {
        let mut due = Vec::new();
        if let Some(key) = self.nodes.get_key_value(id).map(|(key, _)| Arc::clone(key)) {
            due.push((key, event));
        }
        while let Some((id, event)) = due.pop() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            self.stepped.insert(Arc::clone(&id));
            let before = (node.actor.is_up(), node.actor.is_at_rest());
            node.actor.step(event, now);
            let after = (node.actor.is_up(), node.actor.is_at_rest());
            for (generation, action) in node.actor.actions.drain(..) {
                if let Action::End(outcome, _) = &action {
                    node.last = Some(outcome.clone());
                }
                self.actions.push((Arc::clone(&id), generation, action));
            }
            if before.0 != after.0 {
                due.extend(node.children.iter().map(|child| (Arc::clone(child), Event::Parent(after.0))));
            }
            if before.1 != after.1
                && let Some(parent) = node.parent.clone()
            {
                let lives = self.lives_below(&parent);
                due.push((parent, Event::Below(lives)));
            }
        }
    }

    /// The same step for all.
    pub(crate) fn step_all(&mut self, event: &Event, now: Instant) {
        let ids: Vec<Id> = self.nodes.keys().cloned().collect();
        for id in ids {
            self.step(&id, event.clone(), now);
        }
    }

    /// Those whose time has come.
    pub(crate) fn tick(&mut self, now: Instant) {
        let is_due = |(id, node): (&Id, &Node)| node.actor.wake_at().filter(|at| *at <= now).map(|_| Arc::clone(id));
        let due: Vec<Id> = self.nodes.iter().filter_map(is_due).collect();
        for id in due {
            self.step(&id, Event::Tick, now);
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|node| node.actor.wake_at()).min()
    }

    pub(crate) fn take_actions(&mut self) -> Vec<(Id, u64, Action)> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn take_stepped(&mut self) -> BTreeSet<Id> {
        std::mem::take(&mut self.stepped)
    }

    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    pub(crate) fn stop_all(&mut self, now: Instant) {
        self.step_all(&Event::Stop(Reason::Stopped), now);
    }

    /// Nothing is left to be done by itself: what is supervised waits for what does not run.
    pub(crate) fn is_done(&self) -> bool {
        self.nodes.values().all(|node| self.is_done_of(node))
    }

    fn is_done_of(&self, node: &Node) -> bool {
        let waits_in_vain = || {
            let parent = node.parent.as_ref().and_then(|parent| self.nodes.get(parent));
            node.actor.waits_for_parent() && parent.is_some_and(|parent| self.is_done_of(parent))
        };
        !node.actor.is_supervised() || node.actor.is_stuck_now() || waits_in_vain()
    }

    fn lives_below(&self, id: &str) -> bool {
        let children = self.nodes.get(id).map_or(&[][..], |node| &node.children);
        children.iter().any(|child| self.nodes.get(child).is_some_and(|node| !node.actor.is_at_rest()))
    }
}

#[cfg(test)]
mod tests;
