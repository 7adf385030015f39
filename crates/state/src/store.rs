//! The one writer and its many readers.

use std::sync::Arc;

use ambit_model::{Authorization, NamespacedHostname, Service, Str, Workload};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::policies::Removal;
use crate::record::Record;
use crate::recorder::Recorder;
use crate::{Kind, Snapshot, Update};

/// What the state needs to know about the proxy it serves.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The node whose workloads [`Snapshot::local_workload`] finds. Empty: those of every node, at a price in memory.
    pub node: Str,
}

/// The writer: applies updates and publishes snapshots. There is one per process.
#[derive(Debug)]
pub struct Store {
    node: Str,
    recorder: Recorder,
    /// The next snapshot; what it shares with the published one is copied when it changes.
    next: Snapshot,
    /// Whether a decision about a live inbound connection may have changed in this batch.
    policies_changed: bool,
    versions: watch::Sender<u64>,
    policy_versions: watch::Sender<u64>,
    reader: Reader,
}

/// A handle for readers, cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Reader {
    published: Arc<ArcSwap<Snapshot>>,
    versions: watch::Receiver<u64>,
    policy_versions: watch::Receiver<u64>,
}

// === impl Store ===

impl Store {
    /// An empty store.
    pub fn new(config: Config) -> Self {
        let (versions, versions_rx) = watch::channel(0);
        let (policy_versions, policy_versions_rx) = watch::channel(0);
        Self {
            node: config.node,
            recorder: Recorder::default(),
            next: Snapshot::default(),
            policies_changed: false,
            versions,
            policy_versions,
            reader: Reader {
                published: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
                versions: versions_rx,
                policy_versions: policy_versions_rx,
            },
        }
    }

    /// Applies a batch in order and publishes once. Taking an iterator lets a decoder produce updates one by one.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
        for update in updates {
            match update {
                Update::Workload(workload) => self.upsert_workload(*workload),
                Update::Service(service) => self.upsert_service(*service),
                Update::Authorization(policy) => self.upsert_policy(*policy),
                Update::RemoveAddress(name) => self.remove_address(&name),
                Update::RemoveAuthorization(name) => self.remove_policy(&name),
                Update::Synced(kind) => self.synced(kind),
            }
        }
        self.publish();
    }

    /// A handle for readers.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reader.snapshot()
    }

    fn publish(&mut self) {
        self.next.version += 1;
        let policies_changed = std::mem::take(&mut self.policies_changed);
        if policies_changed {
            self.next.policies_version = self.next.version;
        }
        self.reader.published.store(Arc::new(self.next.clone()));
        self.versions.send_replace(self.next.version);
        if policies_changed {
            self.policy_versions.send_replace(self.next.version);
        }
    }

    fn upsert_workload(&mut self, workload: Workload) {
        let uid = workload.uid.clone();
        let record = Arc::new(self.recorder.record(workload));
        if self.next.workloads.get(&uid).is_some_and(|known| **known == *record) {
            return;
        }
        let policies = &record.shape.authorization_policies;
        // Before the predecessor lets go of them: a retained policy must not slip away in between.
        self.next.policies.acquire(policies);
        let previous = self.take_workload(&uid);
        let local = self.is_local(&record);
        let is_other = |known: &Arc<Record>| {
            known.shape.authorization_policies != *policies
                || known.shape.takes_tunnels() != record.shape.takes_tunnels()
        };
        self.policies_changed |= local && previous.as_ref().is_none_or(is_other);
        self.next.workloads.insert(&record, local);
        self.next.services.enlist(&record);
    }

    /// Removes a workload from every index.
    fn take_workload(&mut self, uid: &str) -> Option<Arc<Record>> {
        let record = self.next.workloads.remove(uid)?;
        self.next.services.delist(&record);
        self.next.policies.release(&record.shape.authorization_policies);
        Some(record)
    }

    fn is_local(&self, record: &Record) -> bool {
        self.node.is_empty() || self.node == record.place.node
    }

    fn upsert_service(&mut self, service: Service) {
        let key = service.key();
        if self.next.services.get(&key).is_some_and(|known| **known == service) {
            return;
        }
        self.next.services.remove(&key);
        self.next.services.insert(&Arc::new(service));
    }

    fn upsert_policy(&mut self, policy: Authorization) {
        self.policies_changed |= self.next.policies.upsert(policy);
    }

    fn remove_address(&mut self, name: &str) {
        if let Some(record) = self.take_workload(name) {
            // Its identity may be needed no longer.
            self.policies_changed |= self.is_local(&record);
            return;
        }
        match name.parse::<NamespacedHostname>() {
            Ok(key) if self.next.services.remove(&key).is_some() => {}
            _ => debug!(name, "removal of an address that is not known"),
        }
    }

    fn remove_policy(&mut self, name: &Str) {
        match self.next.policies.remove(name) {
            Removal::Absent => debug!(name = &**name, "removal of a policy that is not known"),
            Removal::Gone => self.policies_changed = true,
            Removal::Retained => {
                self.policies_changed = true;
                warn!(
                    policy = &**name,
                    "policy was removed but workloads still refer to it: it stays enforced for them"
                );
            }
        }
    }

    fn synced(&mut self, kind: Kind) {
        let flag = match kind {
            Kind::Addresses => &mut self.next.addresses_synced,
            Kind::Authorizations => &mut self.next.policies_synced,
        };
        self.policies_changed |= !std::mem::replace(flag, true);
    }
}

// === impl Reader ===

impl Reader {
    /// The newest snapshot, without a lock. Take one per decision and let it go soon: it keeps replaced data alive.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The version of the newest snapshot; changes with every batch applied.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.versions.clone()
    }

    /// Changes when a decision about a live inbound connection of this node may have changed: a policy, or a local
    /// workload's references to policies, or a first sync; and when a local workload goes, or begins to take tunnels,
    /// for which it needs a certificate.
    pub fn policies_changed(&self) -> watch::Receiver<u64> {
        self.policy_versions.clone()
    }
}

#[cfg(test)]
mod tests;
