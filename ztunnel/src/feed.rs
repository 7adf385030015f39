//! The one writer of the state: it takes what the control plane, the state file and the last run say.

use std::sync::Arc;

use ambit_bootstrap::{ControlPlane, synced, update, xds};
use ambit_state::{Store, Update};
use ambit_xds::{Client, Event, Held, Metrics, ResourceType};
use parking_lot::Mutex;

use crate::config::Config;
use crate::last_known::Saved;
use crate::local_state::LocalFile;

/// The store, shared by the sources. They take turns; each holds the lock for one batch.
pub(crate) type SharedStore = Arc<Mutex<Store>>;

/// Follows the control plane for ever. What `saved` holds is known already and only compared.
pub(crate) async fn follow_control_plane(
    store: SharedStore,
    config: Config,
    service: ControlPlane,
    (metrics, saved): (Metrics, Option<Saved>),
) {
    let mut held = Held::default();
    for (kind, name) in saved.iter().flat_map(Saved::names) {
        held.insert(kind, name, "");
    }
    let node = &config.node;
    let (ip, pod) = (&node.instance_ip, &node.pod_name);
    let identity = ambit_xds::Node::ztunnel(ip, pod, &node.pod_namespace, &node.name);
    let settings = xds(node, &service, identity, ResourceType::ZTUNNEL);
    let client = Client::resuming(settings, metrics, held);
    let refuse_nothing = |event: Event<'_>| {
        apply(&store, event);
        Vec::new()
    };
    match client.run(refuse_nothing).await {}
}

fn apply(store: &SharedStore, event: Event<'_>) {
    match event {
        Event::Batch(batch) => store.lock().apply(batch.filter_map(update)),
        Event::Synced(kind) => store.lock().apply(synced(kind)),
    }
}

/// Follows the state file for ever.
pub(crate) async fn follow_file(store: SharedStore, mut file: LocalFile) {
    loop {
        let updates: Vec<Update> = file.changed().await;
        tracing::info!(changes = updates.len(), "state file reloaded");
        store.lock().apply(updates);
    }
}

impl Saved {
    /// The resources it holds, as the control plane names them.
    pub(crate) fn names(&self) -> impl Iterator<Item = (ResourceType, ambit_model::Str)> + '_ {
        let workloads = self.state.workloads.iter().map(|workload| workload.uid.clone());
        let services = self.state.services.iter().map(|service| service.key().to_string().into());
        let policies = self.state.policies.iter().map(|policy| policy.key().0);
        workloads
            .chain(services)
            .map(|name| (ResourceType::Address, name))
            .chain(policies.map(|name| (ResourceType::Authorization, name)))
    }
}
