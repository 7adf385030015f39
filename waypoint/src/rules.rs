//! What the controller said, compiled: routes, listeners, policies, and where they lead.
//!
//! [`Book`] is the one writer. A resource is compiled when it arrives; one that cannot be is refused alone, and what
//! was known of it before stays in force. Readers load a snapshot of [`Rules`] without a lock.

mod action;
mod edit;
mod front;
mod invalid;
mod matching;
mod path;
mod route;
mod table;

use std::collections::BTreeMap;
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
use tokio::sync::watch;

use crate::destination::{Destinations, Settings};
use crate::labels::{Known, KnownLabels};

pub(crate) use action::{Abort, Action, Backend, RetryPolicy, Shares};
use front::{HostTables, Listener, fronts};
use route::Compiled;

#[cfg(test)]
pub(crate) use edit::PathEdit;
pub(crate) use edit::{Cors, Filter, HeaderEdit, Redirect, Rewrite};
pub(crate) use front::Front;
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
    /// What is listened to, by port.
    pub fronts: Arc<BTreeMap<u16, Arc<Front>>>,
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
    listeners: HashMap<Str, Arc<Listener>>,
    hosts: HostTables,
    policies: HashMap<Str, Arc<CompiledPolicy>>,
    interner: Interner,
    published: Arc<ArcSwap<Rules>>,
    versions: watch::Sender<()>,
}

/// A handle for readers.
#[derive(Clone)]
pub(crate) struct Reader {
    published: Arc<ArcSwap<Rules>>,
    versions: watch::Receiver<()>,
}

// === impl Book ===

impl Book {
    pub(crate) fn new(destinations: Destinations, labels: KnownLabels) -> Self {
        let published = Arc::new(ArcSwap::from_pointee(Rules::default()));
        Self {
            rules: Rules::default(),
            destinations,
            labels,
            listeners: HashMap::new(),
            hosts: HashMap::new(),
            policies: HashMap::new(),
            interner: Interner::default(),
            published,
            versions: watch::Sender::new(()),
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader { published: self.published.clone(), versions: self.versions.subscribe() }
    }

    /// Takes changes in and publishes them together. Gives what is refused.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        let before = (self.policies.clone(), self.listeners.clone(), self.hosts.clone());
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
        if !before.0.ptr_eq(&self.policies) {
            let policies = self.policies.values().cloned();
            self.rules.policies = Arc::new(RequestPolicies::new(policies));
        }
        if !before.1.ptr_eq(&self.listeners) || !before.2.ptr_eq(&self.hosts) {
            self.rules.fronts = Arc::new(fronts(&self.listeners, &self.hosts));
        }
        self.published.store(Arc::new(self.rules.clone()));
        self.versions.send_replace(());
        rejected
    }

    fn set(&mut self, kind: ResourceType, name: &Str, body: Bytes) -> Result<(), Invalid> {
        match kind {
            ResourceType::Route => match route::compile(decode(body)?, &self.destinations)? {
                Compiled::Service(service, route) => {
                    named(name, &format!("service/{service}"))?;
                    self.rules.services.insert(service, Arc::new(route));
                }
                Compiled::Host(listener, host, table) => {
                    named(name, &format!("listener/{listener}/{host}"))?;
                    self.hosts.insert((listener, host), table);
                }
            },
            ResourceType::Listener => {
                let listener = Listener::compile(&decode(body)?)?;
                named(name, &listener.name)?;
                self.listeners.insert(name.clone(), Arc::new(listener));
            }
            ResourceType::TrafficPolicy => {
                let policy: proto::TrafficPolicy = decode(body)?;
                if let Some(unknown) = policy.required_features.first() {
                    return Err(Invalid::Feature(unknown.clone()));
                }
                named(name, &policy.service)?;
                let service = name.parse().map_err(|_| Invalid::Name)?;
                let settings =
                    policy.settings.iter().map(Settings::compile).collect::<Result<_, _>>()?;
                self.destinations.set_policy(&service, settings);
            }
            ResourceType::WorkloadLabels => {
                let proto::WorkloadLabels { labels, gateway, .. } = decode(body)?;
                let labels = labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
                let known = Known { labels: Arc::new(labels), gateway };
                self.labels.set([(name.clone(), Some(known))]);
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
                let service = name.strip_prefix("service/").map(str::parse::<NamespacedHostname>);
                if let Some(Ok(key)) = service {
                    self.rules.services.remove(&key);
                } else if let Some(key) = name.strip_prefix("listener/").and_then(host_key) {
                    self.hosts.remove(&key);
                }
            }
            ResourceType::Listener => {
                self.listeners.remove(name);
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

/// A resource by another name than that of its content would stay when it is removed.
fn named(name: &str, of_content: &str) -> Result<(), Invalid> {
    if name == of_content { Ok(()) } else { Err(Invalid::Name) }
}

/// Listener and host of a Route, by the rest of its resource's name. No host has a slash.
fn host_key(text: &str) -> Option<(Str, Str)> {
    text.rsplit_once('/').map(|(listener, host)| (listener.into(), host.into()))
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, Invalid> {
    Ok(M::decode(body)?)
}

// === impl Reader ===

impl Reader {
    /// What is in force now. Take one per request and let it go soon.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.published.load()
    }

    /// Changes with everything that is published.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.versions.clone()
    }
}
