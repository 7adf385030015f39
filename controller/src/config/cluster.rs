//! Settings of a controller in a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;
use crate::cluster::{LeaseSettings, ProxySettings};
use crate::serve::{Account, ReviewSettings};
use crate::watch::Pace;

/// The name of the lease that the writing replica holds.
const LEASE: &str = "ambit-controller";

/// The options that count with `--kubernetes`.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// File that says where the cluster is and who to be there, instead of the pod's own.
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the controller, of its Secrets and of its Lease [default: the root namespace].
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Name of this replica, unlike that of any other [default: the host's name].
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    replica: Option<String>,
    /// Audience that the tokens of proxies must have.
    #[arg(
        long,
        env = "TOKEN_AUDIENCES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "istio-ca"
    )]
    token_audience: Vec<String>,
    /// Service account of node proxies, which may ask for certificates of the pods on their node.
    #[arg(
        long,
        env = "CA_TRUSTED_NODE_ACCOUNTS",
        value_name = "NAMESPACE/NAME",
        value_delimiter = ',',
        default_value = "istio-system/ztunnel"
    )]
    trusted_node_account: Vec<Account>,
    /// Port of metrics and readiness on every address; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 15020)]
    status_port: u16,
    /// Image of the proxies of Gateways [default: `waypoint` beside the image of the controller's own pod].
    #[arg(long, env = "WAYPOINT_IMAGE", value_name = "IMAGE")]
    waypoint_image: Option<String>,
    /// How often to look for kinds of objects that are missing or may not be read.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    look_again: Duration,
}

/// What the controller needs to know of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSource {
    /// Where the cluster is, if that is not to be found out.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the controller and of its Secrets.
    pub namespace: String,
    /// What the proxies of Gateways are told.
    pub proxies: ProxySettings,
    /// Whose tokens count.
    pub reviews: ReviewSettings,
    /// The Lease of the replica that writes.
    pub lease: LeaseSettings,
    /// The port of metrics and readiness, on every address.
    pub status_port: u16,
    /// How long to wait for what.
    pub pace: Pace,
}

/// Names that proxies have to know.
pub(super) struct MeshNames<'a> {
    pub(super) cluster_id: &'a str,
    pub(super) cluster_domain: &'a str,
    pub(super) trust_domain: &'a str,
}

// === impl ClusterArgs ===

impl ClusterArgs {
    pub(super) fn namespace<'a>(&'a self, root: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(root)
    }

    /// Takes the mesh's `root` namespace, and its names that proxies have to know.
    pub(super) fn source(&self, root: &str, names: MeshNames<'_>) -> ClusterSource {
        let namespace = self.namespace(root).to_owned();
        let identity = self.replica.clone().filter(|name| !name.is_empty()).unwrap_or_else(host);
        ClusterSource {
            proxies: ProxySettings {
                image: self.waypoint_image.clone().filter(|image| !image.is_empty()),
                namespace: namespace.clone(),
                pod: identity.clone(),
                audience: self.token_audience.first().cloned().unwrap_or_default(),
                cluster_id: names.cluster_id.to_owned(),
                cluster_domain: names.cluster_domain.to_owned(),
                trust_domain: names.trust_domain.to_owned(),
            },
            kubeconfig: self.kubeconfig.clone(),
            reviews: ReviewSettings {
                audiences: self.token_audience.clone(),
                trusted: self.trusted_node_account.iter().cloned().collect(),
            },
            lease: LeaseSettings { namespace: namespace.clone(), name: LEASE.to_owned(), identity },
            namespace,
            status_port: self.status_port,
            pace: Pace { absent: self.look_again, ..Pace::default() },
        }
    }
}

/// The host's name, which in a pod is the pod's.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => format!("controller-{:08x}", rand::random::<u32>()),
        name => name.to_owned(),
    }
}
