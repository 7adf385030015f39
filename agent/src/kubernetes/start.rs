//! Composes the Kubernetes side of the agent.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ambit_lifecycle::ReadyTask;
use ambit_net::NetNs;
use ambit_redirect::Backend;
use anyhow::Context;
use kube::Client;
use tokio::sync::watch;

use super::book::Book;
use super::hands::{Hands, HandsClient, Places};
use super::plugin::{Desk, PluginServer};
use super::processes::Processes;
use super::resolver::Resolvers;
use super::{Known, Source};
use crate::config::{Config, KubernetesConfig};
use crate::control::Requests;
use crate::install::Installer;
use crate::metrics::Metrics;
use crate::probes::Probes;

/// What the rest of the agent lends.
pub(crate) struct Node {
    /// The node's own network namespace, the agent's too.
    pub(crate) netns: NetNs,
    /// What holds rules.
    pub(crate) backend: Backend,
    /// Where the pods of before are.
    pub(crate) places: Places,
    /// Who captures pods.
    pub(crate) requests: Arc<Requests>,
    /// Held until all pods and namespaces are known.
    pub(crate) starting: ReadyTask,
}

/// Starts to follow the API server, to answer CNI plugins, and to keep ours installed. None of it ends by itself, and
/// none of it needs the API server to be there already.
///
/// # Errors
/// There are no credentials for the API server, or the node cannot be read.
pub(crate) async fn start(
    config: &Config,
    kubernetes: &KubernetesConfig,
    node: Node,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let client = Client::try_default().await.context(
        "credentials for the API server: run as a pod with a service account, or set KUBECONFIG",
    )?;
    let processes = Processes::new("/proc", node.netns.id());
    let kubelet_user = processes.kubelet_user().context("listing processes")?.unwrap_or(0);
    let probes = Probes::open(&config.run_dir, node.netns, node.backend, kubelet_user, config.ipv6)
        .context("reading the probes of before")?;
    let probes = Arc::new(probes);
    let own_resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hands = Arc::new(Hands {
        client: HandsClient(client.clone()),
        requests: node.requests,
        probes: probes.clone(),
        processes,
        resolvers: Resolvers::of(&own_resolver),
        places: node.places,
    });
    let known = Known::new(Book::new(kubernetes.exclusions.clone()));
    let desk = Desk {
        hands: hands.clone(),
        known: known.clone(),
        exclusions: kubernetes.exclusions.clone(),
        host_root: kubernetes.host_root.clone(),
    };
    let plugins = PluginServer::bind(&config.run_dir, desk).context("socket for CNI plugins")?;
    let (names, namespaces) = watch::channel(None);
    let (source, name) = (Source::new(known, hands, names, node.starting), kubernetes.node.clone());
    tokio::spawn(async move { source.run(client, &name).await });
    tokio::spawn(plugins.serve());
    tokio::spawn(refresh(probes, config.verify_interval));
    if let Some(install) = kubernetes.install.clone() {
        tokio::spawn(Installer::new(install).run(namespaces, metrics.cni_installed()));
    }
    Ok(())
}

/// Puts the node's rules in, again and again: somebody may flush them.
async fn refresh(probes: Arc<Probes>, interval: Duration) {
    loop {
        if let Err(problem) = probes.clone().refresh().await {
            tracing::warn!(problem, "kubelet probes of captured pods may fail, trying again");
        }
        tokio::time::sleep(interval).await;
    }
}
