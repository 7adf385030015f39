//! Policies by name, by namespace and global, and who refers to them.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{Authorization, Identity, Scope, Str, Workload};
use ambit_policy::Candidate;
use imbl::OrdMap;

use crate::by_source::BySource;

/// All indexes of policies. A clone shares everything until one of the two changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    by_name: OrdMap<Str, Entry>,
    global: BySource,
    by_namespace: OrdMap<Str, BySource>,
    /// How many workloads refer to each name.
    references: OrdMap<Str, usize>,
}

/// A policy in force.
#[derive(Clone, Debug)]
struct Entry {
    policy: Arc<Authorization>,
    /// It was removed, and workloads still refer to it.
    retained: bool,
}

/// What became of a policy that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// There was none, or none but a retained one.
    Absent,
    /// It is gone.
    Gone,
    /// It stays in force for the workloads that refer to it.
    Retained,
}

// === impl Policies ===

impl Policies {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.by_name.values().map(|entry| &entry.policy)
    }

    pub(crate) fn retained(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().filter(|(_, entry)| entry.retained).map(|(name, _)| &**name)
    }

    pub(crate) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.references.keys().filter(|name| !self.by_name.contains_key(*name)).map(|name| &**name)
    }

    /// The policies of the workload's namespace, the global ones, and those it refers to, each once; but of those by
    /// scope that name other sources only whether there are any.
    pub(crate) fn candidates<'a>(
        &'a self,
        workload: &'a Workload,
        identity: Option<&Identity>,
        address: IpAddr,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let namespace = self.by_namespace.get(&workload.namespace);
        let scoped = namespace.into_iter().chain([&self.global]);
        let named = workload.authorization_policies.iter();
        scoped
            .flat_map(move |policies| policies.candidates(identity, address))
            .chain(named.filter_map(|name| self.named(name, workload)))
    }

    /// The policy of that name, unless it applies to `workload` by its scope as well.
    fn named<'a>(&'a self, name: &'a Str, workload: &Workload) -> Option<Candidate<'a>> {
        let Some(Entry { policy, retained }) = self.by_name.get(name) else {
            return Some(Candidate::Unknown(name));
        };
        let scoped = match policy.scope {
            Scope::Global => true,
            Scope::Namespace => policy.namespace == workload.namespace,
            Scope::WorkloadSelector => false,
        };
        (*retained || !scoped).then_some(Candidate::Known(policy))
    }

    /// Adds or replaces a policy. Whether anything changed.
    pub(crate) fn upsert(&mut self, policy: Authorization) -> bool {
        let name = policy.key().0;
        if let Some(entry) = self.by_name.get(&name)
            && !entry.retained
            && *entry.policy == policy
        {
            return false;
        }
        self.unscope(&name);
        let policy = Arc::new(policy);
        match policy.scope {
            Scope::Global => {
                self.global.insert(&name, &policy);
            }
            Scope::Namespace => {
                let namespace = self.by_namespace.entry(policy.namespace.clone()).or_default();
                namespace.insert(&name, &policy);
            }
            Scope::WorkloadSelector => {}
        }
        self.by_name.insert(name, Entry { policy, retained: false });
        true
    }

    /// Removes a policy, or retains it while it is referred to.
    pub(crate) fn remove(&mut self, name: &Str) -> Removal {
        match self.by_name.get(name) {
            None => return Removal::Absent,
            Some(entry) if entry.retained => return Removal::Absent,
            Some(_) => self.unscope(name),
        }
        if self.references.contains_key(name)
            && let Some(entry) = self.by_name.get_mut(name)
        {
            entry.retained = true;
            return Removal::Retained;
        }
        self.by_name.remove(name);
        Removal::Gone
    }

    /// Takes a policy out of the lists by scope.
    fn unscope(&mut self, name: &Str) {
        let Some(Entry { policy, retained: false }) = self.by_name.get(name) else {
            return;
        };
        match policy.scope {
            Scope::Global => self.global.remove(name, policy),
            Scope::Namespace => {
                let namespace = policy.namespace.clone();
                if let Some(policies) = self.by_namespace.get_mut(&namespace) {
                    policies.remove(name, policy);
                    if policies.is_empty() {
                        self.by_namespace.remove(&namespace);
                    }
                }
            }
            Scope::WorkloadSelector => {}
        }
    }

    /// One more workload refers to `names`.
    pub(crate) fn acquire(&mut self, names: &[Str]) {
        for name in names {
            *self.references.entry(name.clone()).or_default() += 1;
        }
    }

    /// One workload less refers to `names`. Retained policies go with their last reference.
    pub(crate) fn release(&mut self, names: &[Str]) {
        for name in names {
            match self.references.get_mut(name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.references.remove(name);
                    if self.by_name.get(name).is_some_and(|entry| entry.retained) {
                        self.by_name.remove(name);
                    }
                }
            }
        }
    }
}
