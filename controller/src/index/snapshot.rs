//! What is distributed at one moment: persistent maps, so that keeping an old state and comparing two costs no more
//! than their difference.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use ambit_model::Str;
use ambit_xds::ResourceType;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::Resource;

/// Everything that is distributed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Workloads and services.
    pub addresses: Resources,
    /// Policies.
    pub authorizations: Resources,
    /// Labels of workloads, for the proxies of all Gateways.
    labels: Resources,
    /// What is for the proxies of one Gateway, by the Gateway.
    scopes: OrdMap<Str, Scope>,
    /// The service accounts of Gateways, by the Gateway.
    accounts: OrdMap<Str, Str>,
    /// Stands for every type that somebody is not served.
    unserved: Resources,
    /// The workloads of each node's pods, which are also among the addresses.
    local: OrdMap<Str, Resources>,
    /// Whose certificates each node may ask for.
    pub identities: NodeIdentities,
}

/// What is for the proxies of one Gateway.
#[derive(Clone, Debug, Default, PartialEq)]
struct Scope {
    routes: Resources,
    listeners: Resources,
    traffic: Resources,
    requests: Resources,
}

/// Resources of one type by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources(OrdMap<Str, Arc<Resource>>);

/// Namespaces and service accounts of the pods on each node, without those that failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeIdentities(OrdMap<Str, Arc<BTreeSet<(Str, Str)>>>);

// === impl Snapshot ===

impl Snapshot {
    /// No resources.
    pub fn nothing(&self) -> &Resources {
        &self.unserved
    }

    /// The resources of one type that are not for the proxies of one Gateway alone.
    pub fn of(&self, kind: ResourceType) -> &Resources {
        match kind {
            ResourceType::Address => &self.addresses,
            ResourceType::Authorization => &self.authorizations,
            ResourceType::WorkloadLabels => &self.labels,
            ResourceType::Route
            | ResourceType::Listener
            | ResourceType::TrafficPolicy
            | ResourceType::RequestPolicy => &self.unserved,
        }
    }

    /// The resources of one type that are for the proxies of `gateway`.
    pub fn at(&self, gateway: &str, kind: ResourceType) -> &Resources {
        let scoped = self.scopes.get(gateway).and_then(|scope| scope.of(kind));
        scoped.unwrap_or_else(|| self.of(kind))
    }

    /// The Gateways that resources are for.
    pub fn gateways(&self) -> impl Iterator<Item = &Str> {
        self.scopes.keys()
    }

    /// The service account of the proxies of `gateway`, where there is such a Gateway.
    pub fn account(&self, gateway: &str) -> Option<&Str> {
        self.accounts.get(gateway)
    }

    pub(super) fn set_account(&mut self, gateway: Str, account: Option<Str>) {
        match account {
            Some(account) => self.accounts.insert(gateway, account),
            None => self.accounts.remove(&gateway),
        };
    }

    /// For tests of what comes after the index.
    #[cfg(test)]
    pub(crate) fn add(&mut self, resource: Resource) {
        self.insert(Arc::new(resource));
    }

    /// The workloads of the pods on `node`.
    pub fn on(&self, node: &str) -> Option<&Resources> {
        self.local.get(node)
    }

    /// Adds or replaces a resource; one with the same content stays as it is.
    pub(super) fn insert(&mut self, resource: Arc<Resource>) {
        if !resource.scope.is_empty() {
            let scope = self.scopes.entry(resource.scope.clone()).or_default();
            scope.of_mut(resource.kind).into_iter().for_each(|r| r.insert(resource.clone()));
            return;
        }
        let old = self.of(resource.kind).get(&resource.name).cloned();
        if old.as_ref() == Some(&resource) {
            return;
        }
        if let Some(old) = old {
            self.remove(&old);
        }
        if !resource.node.is_empty() {
            self.local.entry(resource.node.clone()).or_default().insert(resource.clone());
        }
        self.of_mut(resource.kind).insert(resource);
    }

    pub(super) fn remove(&mut self, resource: &Resource) {
        if let Some(scope) = self.scopes.get_mut(&resource.scope) {
            scope.of_mut(resource.kind).into_iter().for_each(|r| r.remove(&resource.name));
            if *scope == Scope::default() {
                self.scopes.remove(&resource.scope);
            }
            return;
        }
        self.of_mut(resource.kind).remove(&resource.name);
        if let Some(local) = self.local.get_mut(&resource.node) {
            local.remove(&resource.name);
            if local.is_empty() {
                self.local.remove(&resource.node);
            }
        }
    }

    pub(super) fn of_mut(&mut self, kind: ResourceType) -> &mut Resources {
        match kind {
            ResourceType::Address => &mut self.addresses,
            ResourceType::Authorization => &mut self.authorizations,
            ResourceType::WorkloadLabels => &mut self.labels,
            _ => &mut self.unserved,
        }
    }
}

// === impl Scope ===

impl Scope {
    fn of(&self, kind: ResourceType) -> Option<&Resources> {
        match kind {
            ResourceType::Route => Some(&self.routes),
            ResourceType::Listener => Some(&self.listeners),
            ResourceType::TrafficPolicy => Some(&self.traffic),
            ResourceType::RequestPolicy => Some(&self.requests),
            ResourceType::Address | ResourceType::Authorization | ResourceType::WorkloadLabels => {
                None
            }
        }
    }

    fn of_mut(&mut self, kind: ResourceType) -> Option<&mut Resources> {
        match kind {
            ResourceType::Route => Some(&mut self.routes),
            ResourceType::Listener => Some(&mut self.listeners),
            ResourceType::TrafficPolicy => Some(&mut self.traffic),
            ResourceType::RequestPolicy => Some(&mut self.requests),
            ResourceType::Address | ResourceType::Authorization | ResourceType::WorkloadLabels => {
                None
            }
        }
    }
}

// === impl Resources ===

impl Resources {
    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.0.get(name)
    }

    /// Every resource, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.0.iter().map(|(_, resource)| resource)
    }

    /// Those behind the name `after` up to and including `until`; without a name there is no bound.
    pub fn between<'a>(
        &'a self,
        after: Option<&Str>,
        until: Option<&Str>,
    ) -> impl Iterator<Item = &'a Arc<Resource>> + use<'a> {
        let after = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let until = until.cloned().map_or(Bound::Unbounded, Bound::Included);
        self.0.range((after, until)).map(|(_, resource)| resource)
    }

    /// Whether `other` is this very state, without a look at the resources.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What turns `old` into this: resources that are new or changed, and names that are gone.
    pub fn since(&self, old: &Self) -> (Vec<Arc<Resource>>, Vec<Str>) {
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for item in old.0.diff(&self.0) {
            match item {
                DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                    changed.push(new.clone());
                }
                DiffItem::Remove(name, _) => gone.push(name.clone()),
            }
        }
        (changed, gone)
    }

    /// Adds or replaces a resource; one with the same content stays as it is.
    pub(crate) fn insert(&mut self, resource: Arc<Resource>) {
        if self.0.get(&resource.name) != Some(&resource) {
            self.0.insert(resource.name.clone(), resource);
        }
    }

    pub(super) fn remove(&mut self, name: &Str) {
        self.0.remove(name);
    }
}

// === impl NodeIdentities ===

impl NodeIdentities {
    /// Whether a pod of this namespace and service account is on `node`.
    pub fn contains(&self, node: &str, namespace: &Str, service_account: &Str) -> bool {
        let pair = (namespace.clone(), service_account.clone());
        self.0.get(node).is_some_and(|identities| identities.contains(&pair))
    }

    pub(super) fn set(&mut self, node: &Str, identities: BTreeSet<(Str, Str)>) {
        if identities.is_empty() || node.is_empty() {
            self.0.remove(node);
        } else if self.0.get(node).is_none_or(|known| **known != identities) {
            self.0.insert(node.clone(), Arc::new(identities));
        }
    }
}
