//! What the controller said, compiled: routes, listeners, policies, and where they lead.
//!
//! [`Book`] is the one writer. A resource is compiled when it arrives; one that cannot be is refused alone, and what
//! was known of it before stays in force. Readers load a snapshot of [`Rules`] without a lock.

mod action;
mod edit;
mod invalid;
mod matching;
mod path;
mod route;
mod table;

use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str};
use ambit_policy::{CompiledPolicy, RequestPolicies};
use ambit_proto::ambit as proto;
use ambit_xds::decode::request_policy;
use ambit_xds::{Change, Interner, Rejected, ResourceType};
use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::HashMap;
use prost::Message;

use crate::destination::{Destinations, Settings};
use crate::labels::KnownLabels;

pub(crate) use action::{Abort, Action, Backend, RetryPolicy, Shares};
pub(crate) use edit::{Cors, Filter, HeaderEdit, PathEdit, Redirect, Rewrite};
pub(crate) use invalid::Invalid;
pub(crate) use matching::{Caller, TextMatch};
pub(crate) use path::PathMatch;
pub(crate) use route::Route;
pub(crate) use table::{Asked, Table};

/// Everything that is in force at one moment.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    /// The routes of the services that this waypoint fronts.
    pub services: HashMap<NamespacedHostname, Arc<Route>>,
    /// Who may send which requests.
    pub policies: Arc<RequestPolicies>,
}

/// Labels of a workload.
pub(crate) type Labels = std::collections::BTreeMap<Str, Str>;

/// The writer.
pub(crate) struct Book {
    rules: Rules,
    destinations: Destinations,
    labels: KnownLabels,
    policies: HashMap<Str, Arc<CompiledPolicy>>,
    interner: Interner,
    published: Arc<ArcSwap<Rules>>,
}

/// A handle for readers.
#[derive(Clone)]
pub(crate) struct Reader(Arc<ArcSwap<Rules>>);

// === impl Book ===

impl Book {
    pub(crate) fn new(destinations: Destinations, labels: KnownLabels) -> Self {
        let published = Arc::new(ArcSwap::from_pointee(Rules::default()));
        let (policies, interner) = (HashMap::new(), Interner::default());
        Self { rules: Rules::default(), destinations, labels, policies, interner, published }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader(self.published.clone())
    }

    /// Takes changes in and publishes them together. Gives what is refused.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let before = self.policies.clone();
        for change in changes {
            match change {
                Change::Resource { kind, name, body } => {
                    if let Err(invalid) = self.set(kind, &name, body) {
                        rejected.push(Rejected { kind, name, reason: invalid.to_string() });
                    }
                }
                Change::Removed { kind, name } => self.remove(kind, &name),
                _ => {}
            }
        }
        if !before.ptr_eq(&self.policies) {
            let policies = self.policies.values().cloned();
            self.rules.policies = Arc::new(RequestPolicies::new(policies));
        }
        self.published.store(Arc::new(self.rules.clone()));
        rejected
    }

    fn set(&mut self, kind: ResourceType, name: &Str, body: Bytes) -> Result<(), Invalid> {
        match kind {
            ResourceType::Route => {
                let route = route::compile(decode(body)?, &self.destinations)?;
                self.rules.services.insert(service(name)?, Arc::new(route));
            }
            ResourceType::TrafficPolicy => {
                let policy: proto::TrafficPolicy = decode(body)?;
                let service = name.parse().map_err(|_| Invalid::Name)?;
                let settings =
                    policy.settings.iter().map(Settings::compile).collect::<Result<_, _>>()?;
                self.destinations.set_policy(&service, settings);
            }
            ResourceType::WorkloadLabels => {
                let labels: proto::WorkloadLabels = decode(body)?;
                let pairs = labels.labels.into_iter().map(|(k, v)| (k.into(), v.into()));
                self.labels.set([(name.clone(), Some(pairs.collect()))]);
            }
            ResourceType::RequestPolicy => self.set_policy(name, &body)?,
            _ => {}
        }
        Ok(())
    }

    /// A policy that cannot be understood leaves the one that is known in force; where there is none it denies.
    fn set_policy(&mut self, name: &Str, body: &[u8]) -> Result<(), Invalid> {
        let decoded = request_policy(name, body, &mut self.interner);
        let (policy, refused) = match decoded.policy {
            Ok(policy) => (Some(policy), None),
            Err(error) => {
                let stand_in = decoded.stand_in.filter(|_| !self.policies.contains_key(name));
                (stand_in, Some(error))
            }
        };
        if let Some(policy) = policy {
            self.policies.insert(name.clone(), Arc::new(CompiledPolicy::new(policy)));
        }
        refused.map_or(Ok(()), |error| Err(Invalid::Policy(error.to_string())))
    }

    fn remove(&mut self, kind: ResourceType, name: &Str) {
        match kind {
            ResourceType::Route => {
                if let Ok(service) = service(name) {
                    self.rules.services.remove(&service);
                }
            }
            ResourceType::TrafficPolicy => {
                if let Ok(service) = name.parse() {
                    self.destinations.set_policy(&service, Vec::new());
                }
            }
            ResourceType::RequestPolicy => {
                self.policies.remove(name);
            }
            ResourceType::WorkloadLabels => {
                self.labels.set([(name.clone(), None)]);
            }
            _ => {}
        }
    }
}

/// The service that a Route is for, by its resource's name.
fn service(name: &str) -> Result<NamespacedHostname, Invalid> {
    name.strip_prefix("service/").and_then(|key| key.parse().ok()).ok_or(Invalid::Name)
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, Invalid> {
    Ok(M::decode(body)?)
}

// === impl Reader ===

impl Reader {
    /// What is in force now. Take one per request and let it go soon.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.0.load()
    }
}
