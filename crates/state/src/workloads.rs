//! Workloads by uid, by address, by hostname, and those of this node by name.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str, Workload};
use imbl::{OrdMap, OrdSet};

use crate::claims::Claims;
use crate::described::described;
use crate::few::Few;
use crate::members::Members;
use crate::record::Record;
use crate::uid::{ByUid, Uid};

/// All indexes of workloads. A clone shares everything until one of the two changes.
///
/// B-trees throughout: they are half the size of hash tries, and ordered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workloads {
    by_uid: OrdSet<ByUid>,
    by_network: OrdMap<Str, Claims>,
    by_hostname: OrdMap<NamespacedHostname, Members>,
    /// Those of this node by name.
    local: OrdMap<Str, Few<Workload>>,
}

// === impl Workloads ===

impl Workloads {
    pub(crate) fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.by_uid.iter().map(|entry| &entry.0)
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<Record>> {
        self.by_uid.get(&Uid::from(uid)).map(|entry| &entry.0)
    }

    /// The best claimant of an address.
    pub(crate) fn at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Record>> {
        self.by_network.get(network)?.best(ip)
    }

    /// The first workload of a hostname in a namespace.
    pub(crate) fn by_hostname(&self, key: &NamespacedHostname) -> Option<&Arc<Record>> {
        self.by_hostname.get(key)?.iter().next()
    }

    /// This node's workloads of that name, ordered by uid.
    pub(crate) fn local(&self, name: &str) -> &[Arc<Workload>] {
        self.local.get(name).map_or(&[], |named| named.as_slice())
    }

    pub(crate) fn all_local(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.local.values().flat_map(|named| named.as_slice())
    }

    /// Adds `record`, also to the workloads of this node if `local`. The caller has removed its predecessor.
    pub(crate) fn insert(&mut self, record: &Arc<Record>, local: bool) {
        self.by_uid.insert(ByUid(record.clone()));
        if !record.own_addresses().is_empty() {
            let network = record.shape.network.clone();
            self.by_network.entry(network).or_default().insert(record);
        }
        if let Some(key) = record.hostname_key() {
            self.by_hostname.entry(key).or_default().insert(record);
        }
        if local {
            let workload = described(record);
            let named = match self.local.get(record.name()) {
                None => Few::One(workload),
                Some(others) => others.with(workload, |a, b| a.uid.cmp(&b.uid)),
            };
            self.local.insert(record.name().into(), named);
        }
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<Record>> {
        let record = self.by_uid.remove(&Uid::from(uid))?.0;
        let network = &record.shape.network;
        if let Some(claims) = self.by_network.get_mut(network) {
            claims.remove(&record);
            if claims.is_empty() {
                self.by_network.remove(network);
            }
        }
        if let Some(key) = record.hostname_key()
            && let Some(named) = self.by_hostname.get_mut(&key)
        {
            named.remove(&record);
            if named.len() == 0 {
                self.by_hostname.remove(&key);
            }
        }
        if let Some(named) = self.local.get(record.name()) {
            match named.only(|workload| !record.has_uid(&workload.uid)) {
                Some(rest) => self.local.insert(record.name().into(), rest),
                None => self.local.remove(record.name()),
            };
        }
        Some(record)
    }
}
