//! Services by key, by hostname and by virtual address, and the endpoints of each.

use std::sync::Arc;

use ambit_model::{NamespacedHostname, Service, Str};
use imbl::OrdMap;

use crate::group::{Group, join, leave};
use crate::members::{self, Members};
use crate::record::Record;
use crate::vips::Vips;

/// All indexes of services. A clone shares everything until one of the two changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    by_hostname: OrdMap<Str, Group>,
    pub(crate) vips: Vips,
    /// Workloads by the service they name, whether that is known or not and whatever their health.
    members: OrdMap<NamespacedHostname, Members>,
    count: usize,
}

// === impl Services ===

impl Services {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Every service, ordered by hostname and namespace.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_hostname.values().flat_map(|group| group.as_slice())
    }

    pub(crate) fn get(&self, key: &NamespacedHostname) -> Option<&Arc<Service>> {
        let same_hostname = self.by_hostname(&key.hostname);
        same_hostname.iter().find(|service| service.namespace == key.namespace)
    }

    /// The services of a hostname, ordered by namespace.
    pub(crate) fn by_hostname(&self, hostname: &str) -> &[Arc<Service>] {
        self.by_hostname.get(hostname).map_or(&[], |group| group.as_slice())
    }

    /// Every workload that names the service, ordered by uid.
    pub(crate) fn members(&self, key: &NamespacedHostname) -> members::Iter<'_> {
        self.members.get(key).map(Members::iter).unwrap_or_default()
    }

    /// Adds `service`. The caller has removed its predecessor.
    pub(crate) fn insert(&mut self, service: &Arc<Service>) {
        self.count += 1;
        join(&mut self.by_hostname, service.hostname.clone(), service);
        self.vips.insert(service);
    }

    pub(crate) fn remove(&mut self, key: &NamespacedHostname) -> Option<Arc<Service>> {
        let service = self.get(key)?.clone();
        self.count -= 1;
        leave(&mut self.by_hostname, &service.hostname, &service);
        self.vips.remove(&service);
        Some(service)
    }

    /// Adds `record` to the services it names.
    pub(crate) fn enlist(&mut self, record: &Arc<Record>) {
        for service in record.shape.services() {
            self.members.entry(service.clone()).or_default().insert(record);
        }
    }

    /// Removes `record` from the services it names.
    pub(crate) fn delist(&mut self, record: &Arc<Record>) {
        for service in record.shape.services() {
            let Some(members) = self.members.get_mut(service) else {
                continue;
            };
            members.remove(record);
            if members.len() == 0 {
                self.members.remove(service);
            }
        }
    }
}
