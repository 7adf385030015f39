//! One type on one stream: what the client wants, what it has, and whether it has answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_xds::ResourceType;

use super::urgent::Urgent;
use super::{Content, Published, Push};
use crate::index::{Resource, Resources};

/// Subscribing to this name is subscribing to all.
const WILDCARD: &str = "*";

#[derive(Debug)]
pub(super) struct State {
    pub(super) wanted: Wanted,
    /// What the client has, once it has taken in what was sent.
    pub(super) has: Resources,
    /// The push that has not been answered: nonce and generation.
    pub(super) unanswered: Option<(String, u64)>,
    /// The last generation that was compared with what the client has and, where that differed, answered.
    acked: u64,
    /// What went ahead of the answer to that push.
    pub(super) urgent: Urgent,
    /// Names to send whether or not they have changed: the client has just asked for them.
    asked: BTreeSet<Str>,
}

/// What a subscriber may see of one type at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) kind: ResourceType,
    pub(super) generation: u64,
    pub(super) resources: &'a Resources,
    /// Whether others see the same.
    shared: bool,
}

#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    All,
    Named(BTreeSet<Str>),
}

// === impl View ===

impl<'a> View<'a> {
    /// What proxies of `gateway` may see, or node proxies.
    pub(super) fn new(kind: ResourceType, gateway: Option<&Str>, published: &'a Published) -> Self {
        let snapshot = &published.snapshot;
        let resources = match gateway {
            Some(gateway) => snapshot.at(gateway, kind),
            None if kind == ResourceType::WorkloadLabels => snapshot.nothing(),
            None => snapshot.of(kind),
        };
        let shared = std::ptr::eq(resources, snapshot.of(kind));
        Self { kind, generation: published.generation, resources, shared }
    }

    pub(super) fn push(&self, content: Content, removed: Vec<Str>) -> Push {
        let (kind, generation) = (self.kind, self.generation);
        Push { kind, generation, nonce: String::new(), content, removed }
    }
}

// === impl State ===

impl State {
    /// The first request of a stream is always answered, if only with nothing.
    pub(super) fn first(view: View<'_>, request: DeltaDiscoveryRequest) -> (Self, Push) {
        let mut wanted = Wanted::Named(BTreeSet::new());
        if request.resource_names_subscribe.is_empty() {
            wanted = Wanted::All;
        }
        let acked = view.generation.saturating_sub(1);
        let mut state = Self {
            wanted,
            has: Resources::default(),
            unanswered: None,
            acked,
            urgent: Urgent::default(),
            asked: BTreeSet::new(),
        };
        state.resubscribe(&request);
        state.asked.clear();
        let resources = view.resources;
        let held = request.initial_resource_versions;
        let news = |r: &&Arc<Resource>| {
            held.get(&*r.name).is_none_or(|version| *version != r.version_text())
        };
        let some = |list: &mut dyn Iterator<Item = &Arc<Resource>>| {
            Content::Some(list.filter(news).cloned().collect())
        };
        let (content, mut removed) = match &state.wanted {
            Wanted::All if held.is_empty() && view.shared => {
                (Content::Everything(resources.clone()), Vec::new())
            }
            Wanted::All => (some(&mut resources.iter()), Vec::new()),
            Wanted::Named(names) => {
                let missing = names.iter().filter(|name| resources.get(name).is_none());
                let there = &mut names.iter().filter_map(|name| resources.get(name));
                (some(there), missing.cloned().collect())
            }
        };
        removed.extend(gone(&held, resources, &removed));
        state.has = resources.clone();
        (state, view.push(content, removed))
    }

    /// Takes in that the push with this nonce has been answered. False for an answer to something older.
    pub(super) fn answered(&mut self, nonce: &str) -> bool {
        if self.urgent.unanswered.as_deref() == Some(nonce) {
            self.urgent.unanswered = None;
            return true;
        }
        match self.unanswered.take() {
            Some((expected, generation)) if expected == nonce => {
                self.acked = generation;
                true
            }
            other => {
                self.unanswered = other;
                false
            }
        }
    }

    /// Takes in what the client wants from now on.
    pub(super) fn resubscribe(&mut self, request: &DeltaDiscoveryRequest) {
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                if self.wanted != Wanted::All {
                    self.wanted = Wanted::All;
                    self.has = Resources::default();
                }
                continue;
            }
            let name: Str = name.as_str().into();
            if let Wanted::Named(names) = &mut self.wanted {
                names.insert(name.clone());
            }
            self.asked.insert(name);
        }
        for name in &request.resource_names_unsubscribe {
            match &mut self.wanted {
                Wanted::All if name == WILDCARD => self.wanted = Wanted::Named(BTreeSet::new()),
                Wanted::All => {}
                Wanted::Named(names) => {
                    names.remove(name.as_str());
                }
            }
        }
    }

    /// What to send now, if anything: nothing while the last push has not been answered. With `keep` nothing is taken
    /// back yet.
    pub(super) fn push(&mut self, view: View<'_>, keep: bool) -> Option<Push> {
        if self.unanswered.is_some() {
            return None;
        }
        let resources = view.resources;
        let (mut changed, mut removed) = resources.since(&self.has);
        let kept = keep && !removed.is_empty();
        if kept {
            removed.clear();
            changed.iter().for_each(|resource| self.has.insert(resource.clone()));
        } else {
            self.has = resources.clone();
        }
        if let Wanted::Named(names) = &self.wanted {
            changed.retain(|resource| names.contains(&resource.name));
            removed.retain(|name| names.contains(name));
        }
        for name in std::mem::take(&mut self.asked) {
            match resources.get(&name) {
                Some(resource) if changed.iter().all(|r| r.name != name) => {
                    changed.push(resource.clone());
                }
                None if !removed.contains(&name) => removed.push(name),
                _ => {}
            }
        }
        if changed.is_empty() && removed.is_empty() {
            if self.urgent.unanswered.is_none() && !kept {
                self.acked = view.generation;
            }
            return None;
        }
        Some(view.push(Content::Some(changed), removed))
    }

    pub(super) fn sent(&mut self, nonce: String, generation: u64) {
        self.unanswered = Some((nonce, generation));
    }

    /// Whether the client has been sent all of this.
    pub(super) fn has(&self, resources: &Resources) -> bool {
        self.has == *resources
    }

    /// Whether the client has been sent all of this, whatever else it has.
    pub(super) fn has_all(&self, resources: &Resources) -> bool {
        resources.since(&self.has).0.is_empty()
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }
}

/// The names that a reconnecting client has and that are no more.
fn gone(held: &HashMap<String, String>, resources: &Resources, known: &[Str]) -> Vec<Str> {
    let gone = held.keys().filter(|name| resources.get(name).is_none());
    let mut gone: Vec<Str> =
        gone.map(|name| Str::from(name.as_str())).filter(|name| !known.contains(name)).collect();
    gone.sort();
    gone
}
