//! Every object, found by key, namespace and kind, and what follows from all of them together.

mod hosts;
mod links;
mod lookups;
mod owners;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{Locality, Str};

use super::vips::{self, Host};
use crate::watch::kinds::{BackendRef, ParentRef, Phase, Resolution, ServiceEntry};
use crate::watch::{Key, Kind, Meta, Object};

use hosts::Hosts;
pub(crate) use hosts::full;
use links::Links;
pub(crate) use lookups::{is_addressable, named_pods};
use owners::{Owners, hostname};

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    domain: Str,
    objects: BTreeMap<Key, Object>,
    counts: HashMap<Kind, usize>,
    by_node: HashMap<Str, BTreeMap<Key, (Str, Str)>>,
    /// What only one object can have.
    owners: Owners,
    /// What routes are attached to.
    parents: Links<Key>,
    /// What routes send traffic to.
    backends: Links<BackendRef>,
    /// The Gateways that ListenerSets are for.
    sets: Links<Key>,
    /// The services that BackendTLSPolicies are for.
    tls_targets: Links<Key>,
    /// The pods that EndpointSlices name.
    pods: Links<Key>,
    /// What is said about hosts.
    pub(crate) hosts: Hosts,
    allocated: BTreeMap<Host, u16>,
    entries_changed: bool,
    labels_changed: bool,
}

// === impl Inputs ===

impl Inputs {
    pub(crate) fn new(domain: Str) -> Self {
        Self { domain, ..Self::default() }
    }

    /// Replaces the object `key`. Returns the objects that share something of which only one can have it.
    pub(crate) fn set(&mut self, key: Key, object: Option<Object>) -> BTreeSet<Key> {
        let touched = self.owners.claim(&key, object.as_ref(), &self.domain);
        self.link(&key, object.as_ref());
        let asked = self.hosts.labels_of(&key).to_vec();
        self.hosts.set(&key, object.as_ref(), &self.domain);
        self.labels_changed |= asked != self.hosts.labels_of(&key);
        let old = match object {
            Some(object) => {
                self.locate(&key, &object);
                self.objects.insert(key.clone(), object)
            }
            None => {
                self.unlocate(&key);
                self.objects.remove(&key)
            }
        };
        let count = self.counts.entry(key.kind).or_default();
        match (old.is_some(), self.objects.contains_key(&key)) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        }
        self.entries_changed |= key.kind == Kind::ServiceEntry;
        touched
    }

    /// Allocates addresses anew where ServiceEntries have changed. Returns those whose addresses are others now.
    pub(crate) fn allocate(&mut self) -> BTreeSet<Key> {
        if !std::mem::take(&mut self.entries_changed) {
            return BTreeSet::new();
        }
        let mut entries: Vec<&Arc<ServiceEntry>> = self
            .of_kind(Kind::ServiceEntry)
            .filter_map(|object| match object {
                Object::ServiceEntry(entry) if wants_addresses(entry) => Some(entry),
                _ => None,
            })
            .collect();
        entries.sort_by_cached_key(|entry| entry.meta.age());
        let hosts = entries.iter().flat_map(|entry| {
            let host =
                |host: &Str| (entry.meta.namespace.clone(), entry.meta.name.clone(), host.clone());
            entry.hosts.iter().filter(|h| !h.starts_with('*')).map(host)
        });
        let new = vips::allocate(hosts);
        let old = std::mem::replace(&mut self.allocated, new);
        let changed = |(host, number): (&Host, &u16)| {
            (self.allocated.get(host) != Some(number) || old.get(host) != Some(number))
                .then(|| Key::new(Kind::ServiceEntry, host.0.clone(), host.1.clone()))
        };
        old.iter().chain(&self.allocated).filter_map(changed).collect()
    }

    /// The addresses that were allocated to a host of `entry`.
    pub(crate) fn allocated(&self, entry: &Meta, host: &Str) -> Option<[IpAddr; 2]> {
        let host = (entry.namespace.clone(), entry.name.clone(), host.clone());
        self.allocated.get(&host).copied().map(vips::addresses)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Objects of one kind in one namespace.
    pub(crate) fn in_namespace(
        &self,
        kind: Kind,
        namespace: &Str,
    ) -> impl Iterator<Item = &Object> {
        let first = Key { kind, namespace: namespace.clone(), name: Str::default() };
        let namespace = namespace.clone();
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// Objects of one kind, everywhere.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let first = Key { kind, namespace: Str::default(), name: Str::default() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind).map(|(_, o)| o)
    }

    /// Where the node of this name is.
    pub(crate) fn locality(&self, node: &Str) -> Locality {
        match self.get(&Key::new(Kind::Node, "", node.clone())) {
            Some(Object::Node(node)) => node.locality.clone(),
            _ => Locality::default(),
        }
    }

    /// Namespaces and service accounts of the pods on `node`, without those that failed.
    pub(crate) fn identities_on(&self, node: &Str) -> BTreeSet<(Str, Str)> {
        self.by_node.get(node).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The pod that has an address.
    pub(crate) fn pod_with(&self, network: &Str, ip: IpAddr) -> Option<&Key> {
        self.owners.pod_ips.winner(&(network.clone(), ip))
    }

    /// The service that has a cluster address.
    pub(crate) fn service_with(&self, ip: IpAddr) -> Option<&Key> {
        self.owners.cluster_ips.winner(&ip)
    }

    /// The object that has a hostname within its namespace.
    pub(crate) fn owner_of(&self, namespace: &Str, host: &Str) -> Option<&Key> {
        self.owners.names.winner(&(namespace.clone(), host.clone()))
    }

    /// The object whose hostname is the canonical one.
    pub(crate) fn canonical(&self, host: &Str) -> Option<&Key> {
        self.owners.hosts.winner(host)
    }

    /// The hostname of a Service of Kubernetes.
    pub(crate) fn hostname(&self, service: &Meta) -> Str {
        hostname(service, &self.domain)
    }

    fn link(&mut self, key: &Key, object: Option<&Object>) {
        if key.kind == Kind::EndpointSlice {
            self.pods.set(key, object.map(named_pods).unwrap_or_default());
            return;
        }
        if key.kind == Kind::ListenerSet {
            let gateway = match object {
                Some(Object::ListenerSet(set)) => set.gateway.clone(),
                _ => None,
            };
            self.sets.set(key, gateway.into_iter().collect());
            return;
        }
        if key.kind == Kind::BackendTlsPolicy {
            let targets = match object {
                Some(Object::BackendTlsPolicy(policy)) => &policy.targets[..],
                _ => &[],
            };
            self.tls_targets.set(key, targets.iter().map(|target| target.key.clone()).collect());
            return;
        }
        let (mut parents, mut backends) = (Vec::new(), Vec::new());
        match object {
            Some(Object::Route(route)) => {
                parents.extend(route.parents.iter().filter_map(ParentRef::key));
                backends.extend(route.targets().map(BackendRef::referent));
            }
            _ if !Kind::ROUTES.contains(&key.kind) => return,
            _ => {}
        }
        self.parents.set(key, parents);
        self.backends.set(key, backends);
    }

    fn locate(&mut self, key: &Key, object: &Object) {
        if let Object::Pod(pod) = object {
            self.unlocate(key);
            if !pod.node.is_empty() && pod.phase != Phase::Failed {
                let identity = (pod.meta.namespace.clone(), pod.service_account.clone());
                self.by_node.entry(pod.node.clone()).or_default().insert(key.clone(), identity);
            }
        }
    }

    fn unlocate(&mut self, key: &Key) {
        if let Some(Object::Pod(pod)) = self.objects.get(key)
            && let Some(pods) = self.by_node.get_mut(&pod.node)
        {
            pods.remove(key);
            if pods.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
    }
}

/// Whether the entry gets addresses because it has none.
fn wants_addresses(entry: &ServiceEntry) -> bool {
    let switch = "networking.istio.io/enable-autoallocate-ip";
    let off = entry.meta.label(switch).is_some_and(|value| &**value == "false");
    entry.addresses.is_empty() && entry.resolution != Resolution::None && !off
}
