//! Objects → what is distributed. Pure: no IO, no time.
//!
//! [`Index::apply`] takes changes of objects and brings its views up to date. Each object has its own output, computed
//! by a join over all inputs (one file for each output view); `dirty` says whose output a change can alter, so that
//! the cost of a change does not grow with the mesh.

mod claims;
mod conditions;
mod dirty;
mod guards;
mod inputs;
mod peer_authentication;
mod policies;
mod request_policies;
mod resource;
mod routes;
mod services;
mod snapshot;
mod targets;
mod vips;
mod waypoints;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_model::Str;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use crate::watch::{Change, Key, Kind, Object, Problem};
use inputs::Inputs;

pub use resource::Resource;
pub use snapshot::{NodeIdentities, Resources, Snapshot};

/// What the index has to know about the mesh besides its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's id, part of every uid.
    pub cluster_id: Str,
    /// The cluster's DNS domain.
    pub cluster_domain: Str,
    /// The trust domain of every identity.
    pub trust_domain: Str,
    /// The namespace whose policies apply everywhere.
    pub root_namespace: Str,
    /// Whether policies that are only tried out are distributed.
    pub dry_run_policies: bool,
}

/// The index.
pub struct Index {
    settings: Settings,
    inputs: Inputs,
    outputs: BTreeMap<Key, Output>,
    /// Those of the outputs that have problems.
    flawed: BTreeSet<Key>,
    snapshot: Snapshot,
    /// The objects whose conditions the last changes can have altered.
    touched: Vec<Key>,
}

/// What the joins read.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) inputs: &'a Inputs,
    /// What was found in them already.
    found: &'a routes::Found,
}

/// What an object contributes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Output {
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) problems: Vec<Problem>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_id: "Kubernetes".into(),
            cluster_domain: "cluster.local".into(),
            trust_domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            dry_run_policies: false,
        }
    }
}

// === impl Index ===

impl Index {
    /// An index of nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            inputs: Inputs::new(settings.cluster_domain.clone()),
            settings,
            outputs: BTreeMap::new(),
            flawed: BTreeSet::new(),
            snapshot: Snapshot::default(),
            touched: Vec::new(),
        }
    }

    /// Takes in changes, all at once. Tells whether anything that is distributed has changed.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        let before = self.snapshot.clone();
        let mut dirty = BTreeSet::new();
        let first = self.inputs.is_empty();
        let mut nodes = BTreeSet::new();
        for Change { key, object } in changes {
            if key.kind == Kind::Gateway {
                self.account(&key, object.as_ref());
            }
            let old = self.inputs.get(&key).cloned();
            for pod in [&old, &object].into_iter().flatten() {
                if let Object::Pod(pod) = pod {
                    nodes.insert(pod.node.clone());
                }
            }
            dirty.extend(self.inputs.set(key.clone(), object.clone()));
            if first {
                // Everything is computed anyway, once all of it is there.
                dirty.insert(key);
                continue;
            }
            let world = World {
                settings: &self.settings,
                inputs: &self.inputs,
                found: &routes::Found::default(),
            };
            dirty.extend(dirty::dirty(world, &key, [old.as_ref(), object.as_ref()]));
        }
        dirty.extend(self.inputs.allocate());
        if self.inputs.labels_changed() {
            let labelled = [Kind::Pod, Kind::ServiceEntry, Kind::WorkloadEntry].into_iter();
            dirty.extend(labelled.flat_map(|kind| self.inputs.of_kind(kind)).map(Object::key));
        }
        if !first {
            let world = World {
                settings: &self.settings,
                inputs: &self.inputs,
                found: &routes::Found::default(),
            };
            dirty::spread(world, &mut dirty);
            dirty::policies_of_services(world, &mut dirty);
            dirty::treatments_of_services(world, &mut dirty);
        }
        self.refresh(&dirty);
        self.refresh_static_policy();
        self.touched = dirty.into_iter().filter(|key| key.kind.has_status()).collect();
        for node in nodes {
            self.snapshot.identities.set(&node, self.inputs.identities_on(&node));
        }
        before != self.snapshot
    }

    /// What is distributed now. Cheap to clone.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The objects whose [conditions](Self::conditions) the last call of [`Index::apply`] can have altered.
    pub fn touched(&self) -> &[Key] {
        &self.touched
    }

    /// What is wrong with objects beyond what can be seen in each alone.
    pub fn problems(&self) -> impl Iterator<Item = (&Key, &Problem)> {
        let outputs = self.flawed.iter().filter_map(|key| Some((key, self.outputs.get(key)?)));
        outputs.flat_map(|(key, output)| output.problems.iter().map(move |p| (key, p)))
    }

    /// How many objects of `kind` there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.inputs.count(kind)
    }

    /// Who the proxies of a Gateway are.
    fn account(&mut self, key: &Key, gateway: Option<&Object>) {
        let account = match gateway {
            Some(Object::Gateway(gateway)) => Some(routes::account(gateway)),
            _ => None,
        };
        let gateway = format!("{}/{}", key.namespace, key.name).into();
        self.snapshot.set_account(gateway, account);
    }

    /// Computes the outputs of some objects anew. What is gone is removed before anything is added, for a name may have
    /// moved from one object to another.
    fn refresh(&mut self, keys: &BTreeSet<Key>) {
        for key in keys {
            let world = World {
                settings: &self.settings,
                inputs: &self.inputs,
                found: &routes::Found::default(),
            };
            let new = self.inputs.get(key).map(|object| output(world, object)).unwrap_or_default();
            if new.problems.is_empty() {
                self.flawed.remove(key);
            } else {
                self.flawed.insert(key.clone());
            }
            let old = if new == Output::default() {
                self.outputs.remove(key)
            } else {
                self.outputs.insert(key.clone(), new)
            };
            let new = self.outputs.get(key).into_iter().flat_map(|output| &output.resources);
            let identity = |r: &Resource| (r.kind, r.scope.clone(), r.name.clone());
            let kept: BTreeSet<_> = new.map(|r| identity(r)).collect();
            for resource in old.iter().flat_map(|old| &old.resources) {
                if !kept.contains(&identity(resource)) {
                    self.snapshot.remove(resource);
                }
            }
        }
        for resource in
            keys.iter().filter_map(|key| self.outputs.get(key)).flat_map(|o| &o.resources)
        {
            self.snapshot.insert(resource.clone());
        }
    }

    /// The policy of STRICT workloads is there as soon as any PeerAuthentication is.
    fn refresh_static_policy(&mut self) {
        let policy = peer_authentication::static_policy(&self.settings.root_namespace);
        let resource = Arc::new(Resource::from(Encoded::authorization(&policy)));
        let policies = self.snapshot.of_mut(ResourceType::Authorization);
        if self.inputs.count(Kind::PeerAuthentication) == 0 {
            policies.remove(&resource.name);
        } else {
            policies.insert(resource);
        }
    }
}

fn output(world: World<'_>, object: &Object) -> Output {
    match object {
        Object::Pod(pod) => workloads::pod(world, pod),
        Object::WorkloadEntry(entry) => workloads::workload_entry(world, entry),
        Object::EndpointSlice(slice) => workloads::endpoint_slice(world, slice),
        Object::Service(service) => {
            let mut output = services::service(world, service);
            output.extend(routes::of_service(world, object));
            output.extend(routes::treatment(world, object));
            output
        }
        Object::ServiceEntry(entry) => {
            let mut output = services::service_entry(world, entry);
            output.extend(workloads::service_entry(world, entry));
            output.extend(routes::of_service(world, object));
            output.extend(routes::treatment(world, object));
            output
        }
        Object::Route(route) => routes::of_route(world, route),
        Object::AuthorizationPolicy(policy) => {
            let mut output = policies::authorization_policy(world, policy);
            output.extend(request_policies::request_policies(world, policy));
            output
        }
        Object::PeerAuthentication(policy) => {
            peer_authentication::peer_authentication(world, policy)
        }
        Object::Gateway(gateway) => {
            let mut output = guards::gateway(world, gateway);
            output.extend(routes::of_gateway(world, gateway));
            output
        }
        Object::BackendTlsPolicy(policy) => routes::of_tls_policy(world, policy),
        Object::ConfigMap(_)
        | Object::GatewayClass(_)
        | Object::ListenerSet(_)
        | Object::Namespace(_)
        | Object::Node(_)
        | Object::DestinationRule(_)
        | Object::ReferenceGrant(_)
        | Object::Secret(_)
        | Object::VirtualService(_) => Output::default(),
    }
}

// === impl Output ===

impl Output {
    /// No resources, for this reason.
    pub(crate) fn refused(problem: Problem) -> Self {
        Self { resources: Vec::new(), problems: vec![problem] }
    }

    pub(crate) fn push(&mut self, encoded: Encoded) {
        self.resources.push(Arc::new(encoded.into()));
    }

    /// Adds a resource for the proxies of each of `gateways`.
    pub(crate) fn push_at(&mut self, gateways: &[Key], encoded: Encoded) {
        let resource = Resource::from(encoded);
        self.resources.extend(gateways.iter().map(|gateway| {
            let scope = format!("{}/{}", gateway.namespace, gateway.name).into();
            Arc::new(Resource { scope, ..resource.clone() })
        }));
    }

    /// Adds the workload of a pod on `node`.
    pub(crate) fn push_on(&mut self, node: &Str, encoded: Encoded) {
        self.resources.push(Arc::new(Resource { node: node.clone(), ..encoded.into() }));
    }

    fn extend(&mut self, other: Self) {
        self.resources.extend(other.resources);
        self.problems.extend(other.problems);
    }
}

#[cfg(test)]
mod tests;
