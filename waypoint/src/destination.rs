//! Where requests go: the endpoints of a service's port, and what is remembered about them.
//!
//! A [`Destination`] exists once for each service, port and subset that some route names, and is shared by all workers.
//! Its endpoints are brought up to date when a request finds the mesh's state newer than they are.

mod balance;
mod budget;
mod endpoint;
mod endpoints;
mod hash;
mod health;
mod limits;
mod settings;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

use ambit_model::{NamespacedHostname, Str, Workload};
use ambit_proto::ambit::Protocol;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::labels::KnownLabels;
use crate::rules::Labels;
use budget::Budget;

pub(crate) use balance::{Choice, Request};
pub(crate) use endpoint::{Active, Dial, Endpoint};
pub(crate) use endpoints::Endpoints;
pub(crate) use hash::{HashKey, hash_of, hash_text};
pub(crate) use health::Outcome;
pub(crate) use limits::{Limit, Permit};
pub(crate) use settings::{HashSource, Origination, Settings};

/// One port of a service, or of a subset of its endpoints.
#[derive(Debug)]
pub(crate) struct Destination {
    pub service: NamespacedHostname,
    pub port: u16,
    pub subset: Str,
    /// What the service's port says that it speaks.
    pub protocol: Protocol,
    labels: Labels,
    way: Way,
    settings: ArcSwap<Settings>,
    endpoints: ArcSwap<Endpoints>,
    /// Only one at a time makes new endpoints.
    renewing: Mutex<()>,
    pub choice: Choice,
    pub budget: Budget,
    /// Connections to all endpoints.
    pub connections: Limit,
    /// Requests that wait for a connection.
    pub pending: Limit,
    /// Requests under way.
    pub requests: Limit,
    /// Tries beyond the first that are under way.
    pub retries: Limit,
    shared: Arc<Shared>,
}

/// Every destination that a route names.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    shared: Arc<Shared>,
    way: Way,
}

/// Who the endpoints are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// Those of the service: this process is its waypoint, or stands for one.
    Direct,
    /// The service's waypoint, if it has one, as a gateway goes.
    Waypoint,
    /// The workload with this address.
    Workload(IpAddr),
}

#[derive(Debug)]
struct Shared {
    known: Mutex<HashMap<Key, Weak<Destination>>>,
    policies: Mutex<HashMap<NamespacedHostname, Vec<Arc<Settings>>>>,
    policy_changes: AtomicU64,
    state: ambit_state::Reader,
    labels: KnownLabels,
    place: Place,
}

/// Where this process is, for choosing endpoints that are near.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub network: Str,
    /// The process's own address.
    pub address: Option<IpAddr>,
    /// Data-plane threads, each of which has connections of its own.
    pub workers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: NamespacedHostname,
    port: u16,
    subset: Str,
    /// Two versions of a DestinationRule may give one subset different labels while both are referred to.
    labels: Labels,
    protocol: i32,
    way: Way,
}

// === impl Destinations ===

impl Destinations {
    pub(crate) fn new(state: ambit_state::Reader, labels: KnownLabels, place: Place) -> Self {
        let (known, policies) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared {
            known,
            policies,
            policy_changes: AtomicU64::new(0),
            state,
            labels,
            place,
        });
        Self { shared, way: Way::Direct }
    }

    /// The same, for those who go through waypoints.
    pub(crate) fn through_waypoints(&self) -> Self {
        Self { shared: self.shared.clone(), way: Way::Waypoint }
    }

    /// The destination with that key, which is made if nobody has it yet.
    pub(crate) fn get(
        &self,
        service: NamespacedHostname,
        port: u16,
        subset: Str,
        labels: Labels,
        protocol: Protocol,
    ) -> Arc<Destination> {
        let key =
            Key { service, port, subset, labels, protocol: protocol.into(), way: self.way.clone() };
        self.of_key(key, protocol)
    }

    /// The destination that is one workload, at one of its own addresses.
    pub(crate) fn workload(&self, workload: &Workload, address: SocketAddr) -> Arc<Destination> {
        let name = format!("{}.pod", workload.name);
        let key = Key {
            service: NamespacedHostname::new(workload.namespace.clone(), name),
            port: address.port(),
            subset: Str::default(),
            labels: Labels::default(),
            protocol: Protocol::Detect.into(),
            way: Way::Workload(address.ip()),
        };
        self.of_key(key, Protocol::Detect)
    }

    fn of_key(&self, key: Key, protocol: Protocol) -> Arc<Destination> {
        let mut known = self.shared.known.lock();
        if let Some(destination) = known.get(&key).and_then(Weak::upgrade) {
            return destination;
        }
        let settings = self.shared.settings(&key.service, key.port, &key.subset);
        let destination = Arc::new(Destination {
            service: key.service.clone(),
            port: key.port,
            subset: key.subset.clone(),
            protocol,
            labels: key.labels.clone(),
            way: key.way.clone(),
            settings: ArcSwap::new(settings),
            endpoints: ArcSwap::default(),
            renewing: Mutex::default(),
            choice: Choice::default(),
            budget: Budget::new(Instant::now()),
            connections: Limit::default(),
            pending: Limit::default(),
            requests: Limit::default(),
            retries: Limit::default(),
            shared: self.shared.clone(),
        });
        known.insert(key, Arc::downgrade(&destination));
        // Those that nobody names any more go when the map would grow.
        if known.len() == known.capacity() {
            known.retain(|_, destination| destination.strong_count() > 0);
        }
        destination
    }

    /// Replaces what a TrafficPolicy says of a service.
    pub(crate) fn set_policy(&self, service: &NamespacedHostname, settings: Vec<Settings>) {
        let number = self.shared.policy_changes.fetch_add(1, Relaxed) + 1;
        let settings = settings.into_iter().map(|settings| Settings { number, ..settings });
        let settings: Vec<Arc<Settings>> = settings.map(Arc::new).collect();
        if settings.is_empty() {
            self.shared.policies.lock().remove(service);
        } else {
            self.shared.policies.lock().insert(service.clone(), settings);
        }
        let known = self.shared.known.lock();
        for destination in known.values().filter_map(Weak::upgrade) {
            if destination.service == *service {
                let settings = self.shared.settings(service, destination.port, &destination.subset);
                destination.settings.store(settings);
            }
        }
    }

    /// Every destination that is in use.
    pub(crate) fn all(&self) -> Vec<Arc<Destination>> {
        self.shared.known.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Shared {
    fn settings(&self, service: &NamespacedHostname, port: u16, subset: &str) -> Arc<Settings> {
        let policies = self.policies.lock();
        let fits = |settings: &&Arc<Settings>| {
            (settings.port == 0 || settings.port == port) && *settings.subset == *subset
        };
        let found = policies.get(service).and_then(|all| all.iter().find(fits));
        found.cloned().unwrap_or_default()
    }
}

// === impl Destination ===

impl Destination {
    /// How the destination is treated.
    pub(crate) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The endpoints that are known already.
    pub(crate) fn known_endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// The endpoints as the mesh knows them now.
    pub(crate) fn endpoints(&self) -> Arc<Endpoints> {
        let Shared { state, labels, place, .. } = &*self.shared;
        let snapshot = state.snapshot();
        let settings = self.settings.load();
        let version = (snapshot.version(), labels.version(), settings.number);
        let known = self.endpoints.load();
        if known.version == version {
            return known.clone();
        }
        let _one = self.renewing.lock();
        let known = self.endpoints.load_full();
        if known.version == version {
            return known;
        }
        let renewed = Arc::new(known.renewed(self, &snapshot, (labels, &settings), place, version));
        self.endpoints.store(renewed.clone());
        renewed
    }
}
