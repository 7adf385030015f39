//! What has to be written for which Gateway. Pure; time is passed in.
//!
//! A write is repeated when somebody has changed what it owns, but not for ever: whoever keeps on changing it has a
//! reason, and two controllers that overwrite each other restart pods without end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::gateway::{Gateway, Listener, Name};
use super::objects::Wanted;
use super::overlays::Overlays;
use super::parts::{Part, PartKey};

/// How often what others have changed is written again, within [`CALM`].
const REWRITES: u32 = 5;
/// After so long a time without a change by others, they count anew.
const CALM: Duration = Duration::from_secs(600);

/// Gateways, what is deployed for them, and what is to be done.
#[derive(Debug, Default)]
pub(super) struct Desk {
    gateways: BTreeMap<Name, Known>,
    /// What ListenerSets add to Gateways.
    sets: BTreeMap<Name, (Name, Vec<Listener>)>,
    /// Further fields for all Gateways of a class, by the ConfigMap they are from.
    defaults: BTreeMap<Name, (String, Overlays)>,
    parts: BTreeMap<PartKey, Seen>,
    done: BTreeMap<PartKey, Done>,
    /// When each Gateway is looked at again.
    due: BTreeMap<Name, Instant>,
    /// Those that wait after a failure, whatever is told about their parts.
    failed: BTreeSet<Name>,
    listed_defaults: bool,
}

/// A Gateway of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) uid: String,
    /// What is deployed; `None` where that is somebody else's task.
    pub(super) gateway: Option<Gateway>,
}

/// A deployed object, as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) gateway: Name,
    /// The UID of the Gateway that owns it.
    pub(super) owner: Option<String>,
    pub(super) version: Option<u64>,
    /// The fields that the controller owns; `None` where it owns nothing.
    pub(super) owned: Option<Value>,
}

/// An object that was written.
#[derive(Debug)]
struct Done {
    body: Value,
    owned: Option<Value>,
    rewrites: u32,
    last: Instant,
}

/// What to do about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is as it should be.
    Leave,
    /// Write it.
    Write,
    /// Others have changed it too often: from now on it is left to them for a while.
    GiveWay,
}

// === impl Desk ===

impl Desk {
    /// A Gateway is so, or is gone.
    pub(super) fn gateway(&mut self, name: Name, known: Option<Known>, now: Instant) {
        if self.gateways.get(&name) == known.as_ref() {
            return;
        }
        match known {
            Some(known) => {
                self.gateways.insert(name.clone(), known);
                self.failed.remove(&name);
                self.due.insert(name, now);
            }
            None => {
                self.gateways.remove(&name);
                self.due.remove(&name);
                self.failed.remove(&name);
            }
        }
    }

    /// These are all the Gateways that there are.
    pub(super) fn gateways(&mut self, names: &BTreeSet<Name>) {
        self.gateways.retain(|name, _| names.contains(name));
        self.due.retain(|name, _| names.contains(name));
        self.failed.retain(|name| names.contains(name));
    }

    /// A ListenerSet adds these listeners to a Gateway, or none any more.
    pub(super) fn listener_set(
        &mut self,
        name: Name,
        of: Option<(Name, Vec<Listener>)>,
        now: Instant,
    ) {
        let old = match of.clone() {
            Some(of) => self.sets.insert(name, of),
            None => self.sets.remove(&name),
        };
        if old == of {
            return;
        }
        for (gateway, _) in [old, of].into_iter().flatten() {
            if self.gateways.contains_key(&gateway) {
                self.look_now(gateway, now);
            }
        }
    }

    /// These are all the ListenerSets.
    pub(super) fn listener_sets(&mut self, names: &BTreeSet<Name>, now: Instant) {
        let gone = self.sets.keys().filter(|name| !names.contains(*name)).cloned();
        for name in gone.collect::<Vec<_>>() {
            self.listener_set(name, None, now);
        }
    }

    /// These are all the ConfigMaps with defaults.
    pub(super) fn defaults(&mut self, all: BTreeMap<Name, (String, Overlays)>, now: Instant) {
        let changed = self.defaults != all || !self.listed_defaults;
        self.defaults = all;
        self.listed_defaults = true;
        if changed {
            self.look_again(|_| true, now);
        }
    }

    /// A ConfigMap with defaults is so, or is no longer.
    pub(super) fn class_default(
        &mut self,
        name: Name,
        of: Option<(String, Overlays)>,
        now: Instant,
    ) {
        let mut all = self.defaults.clone();
        match of {
            Some(of) => all.insert(name, of),
            None => all.remove(&name),
        };
        if all != self.defaults {
            self.defaults = all;
            self.look_again(|_| true, now);
        }
    }

    /// A deployed object was seen, or is gone.
    pub(super) fn part(&mut self, key: PartKey, seen: Option<Seen>, now: Instant) {
        let before = self.parts.get(&key);
        let older = |seen: &Seen| seen.version < before.and_then(|before| before.version);
        if seen.as_ref().is_some_and(older) {
            return;
        }
        let gateway = seen.as_ref().or(before).map(|seen| seen.gateway.clone());
        let known = gateway.filter(|name| self.gateways.contains_key(name));
        if seen.is_none() && known.is_none() {
            self.done.remove(&key);
        }
        match seen {
            Some(seen) => self.parts.insert(key, seen),
            None => self.parts.remove(&key),
        };
        if let Some(gateway) = known {
            self.look_now(gateway, now);
        }
    }

    /// These are all the deployed objects of a kind.
    pub(super) fn only(&mut self, part: Part, keys: &BTreeSet<PartKey>, now: Instant) {
        let gone = self.parts.keys().filter(|key| key.part == part && !keys.contains(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.part(key, None, now);
        }
    }

    /// Gateways with further fields of their own are looked at again: nobody tells when those change.
    pub(super) fn poll(&mut self, now: Instant) {
        self.look_again(|gateway| gateway.infrastructure.parameters_ref.is_some(), now);
    }

    fn look_again(&mut self, which: impl Fn(&Gateway) -> bool, now: Instant) {
        let all = self.gateways.iter();
        let which = all.filter(|(_, known)| known.gateway.as_ref().is_some_and(&which));
        for name in which.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.look_now(name, now);
        }
    }

    /// The Gateway is looked at now, unless it waits after a failure.
    fn look_now(&mut self, name: Name, now: Instant) {
        let failed = self.failed.contains(&name);
        let at = self.due.entry(name).or_insert(now);
        if !failed {
            *at = now;
        }
    }

    /// The next Gateway to look at, when its time has come.
    pub(super) fn next(&self, now: Instant) -> Option<(Name, Known)> {
        if !self.listed_defaults {
            return None;
        }
        let (name, _) = self.due.iter().find(|(_, at)| **at <= now)?;
        let mut known = self.gateways.get(name)?.clone();
        if let Some(gateway) = &mut known.gateway {
            let sets = self.sets.values().filter(|(of, _)| of == name);
            gateway.listeners.extend(sets.flat_map(|(_, listeners)| listeners).cloned());
        }
        Some((name.clone(), known))
    }

    /// When something is due that is not yet.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        self.due.values().filter(|at| **at > now).min().copied()
    }

    /// The Gateway is as it should be, but for what is left to others for a while.
    pub(super) fn settled(&mut self, name: &Name) {
        let own = |key| self.parts.get(key).is_some_and(|seen| seen.gateway == *name);
        let left = self.done.iter().filter(|(key, done)| done.rewrites > REWRITES && own(key));
        let again = left.map(|(_, done)| done.last + CALM).min();
        self.failed.remove(name);
        match again {
            Some(at) => self.due.insert(name.clone(), at),
            None => self.due.remove(name),
        };
    }

    /// The Gateway is looked at again then.
    pub(super) fn again(&mut self, name: &Name, at: Instant) {
        self.failed.insert(name.clone());
        self.due.insert(name.clone(), at);
    }

    /// The defaults of a class, in the order of their names.
    pub(super) fn defaults_of(&self, class: &str) -> Vec<Overlays> {
        self.defaults.values().filter(|(of, _)| of == class).map(|(_, all)| all.clone()).collect()
    }

    /// What to do about a wanted object.
    pub(super) fn step(&mut self, wanted: &Wanted, now: Instant) -> Step {
        let Some(done) = self.done.get_mut(&wanted.key) else { return Step::Write };
        if done.body != wanted.body {
            return Step::Write;
        }
        let seen = self.parts.get(&wanted.key);
        if seen.is_some_and(|seen| seen.owned == done.owned) {
            return Step::Leave;
        }
        if now.duration_since(done.last) >= CALM {
            done.rewrites = 0;
        }
        if done.rewrites > REWRITES {
            return Step::Leave;
        }
        done.last = now;
        done.rewrites += 1;
        if done.rewrites > REWRITES { Step::GiveWay } else { Step::Write }
    }

    /// Whether the object has been seen, and is the Gateway's or was written by the controller.
    pub(super) fn is_own(&self, key: &PartKey, uid: &str) -> bool {
        self.parts
            .get(key)
            .is_some_and(|seen| seen.owned.is_some() || seen.owner.as_deref() == Some(uid))
    }

    /// The object was written, and is so now.
    pub(super) fn written(&mut self, wanted: &Wanted, seen: Seen, now: Instant) {
        let before = self.done.remove(&wanted.key).filter(|done| done.body == wanted.body);
        let (rewrites, last) = before.map_or((0, now), |done| (done.rewrites, done.last));
        let owned = seen.owned.clone();
        self.parts.insert(wanted.key.clone(), seen);
        self.done
            .insert(wanted.key.clone(), Done { body: wanted.body.clone(), owned, rewrites, last });
    }

    /// What was deployed for a Gateway and is not wanted any more.
    pub(super) fn extra(&self, known: &Known, wanted: &[Wanted]) -> Vec<PartKey> {
        let mut extra = Vec::new();
        for (key, seen) in &self.parts {
            let own = seen.owned.is_some() && seen.owner.as_deref() == Some(&*known.uid);
            if own && !wanted.iter().any(|wanted| wanted.key == *key) {
                extra.push(key.clone());
            }
        }
        extra
    }

    /// The object is gone.
    pub(super) fn removed(&mut self, key: &PartKey) {
        self.parts.remove(key);
        self.done.remove(key);
    }
}

#[cfg(test)]
mod tests;
