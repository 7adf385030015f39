//! The one writer of the state and of the rules: it takes what the controller says.

use ambit_bootstrap::{synced, update, xds};
use ambit_state::Store;
use ambit_xds::{Client, Event, Metrics, Node, ResourceType};

use crate::config::Config;
use crate::rules::Book;

/// Follows the controller for ever. `synced` is called once everything has arrived for the first time.
pub(crate) async fn follow(
    config: Config,
    metrics: Metrics,
    (mut store, mut book): (Store, Book),
    ready: impl FnOnce() + Send,
) {
    let node = &config.node;
    let (ip, pod) = (&node.instance_ip, &node.pod_name);
    let identity = Node::waypoint(ip, pod, &node.pod_namespace, &config.gateway);
    let settings = xds(node, &config.control_plane, identity, ResourceType::WAYPOINT);
    let mut missing: Vec<ResourceType> = ResourceType::WAYPOINT.to_vec();
    let mut ready = Some(ready);
    // Policies of layer 4 are the node proxies' business; without them the state would wait for ever.
    store.apply(synced(ResourceType::Authorization));
    let apply = |event: Event<'_>| match event {
        Event::Batch(batch) if batch.kind() == ResourceType::Address => {
            store.apply(batch.filter_map(update));
            Vec::new()
        }
        Event::Batch(batch) => book.apply(batch),
        Event::Synced(kind) => {
            store.apply(synced(kind));
            missing.retain(|other| *other != kind);
            if missing.is_empty()
                && let Some(ready) = ready.take()
            {
                ready();
            }
            Vec::new()
        }
    };
    match Client::new(settings, metrics).run(apply).await {}
}
