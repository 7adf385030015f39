//! Where the control plane finds the mesh.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cluster::Cluster;
use super::directory::Directory;
use super::shape::Shape;

/// Tokens that are asked for at a time.
const TOKENS_AT_ONCE: usize = 32;

/// The simulated mesh.
pub(crate) enum World {
    Cluster(Box<Cluster>),
    Directory(Directory),
}

// === impl World ===

impl World {
    /// The controller's options that say where the mesh is.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Cluster(cluster) => {
                let kubeconfig = cluster.kubeconfig().display().to_string();
                vec!["--kubernetes".to_owned(), "--kubeconfig".to_owned(), kubeconfig]
            }
            Self::Directory(directory) => directory.arguments(),
        }
    }

    /// What the certificates of the control plane descend from; it has to run.
    ///
    /// # Errors
    /// It has written none.
    pub(crate) async fn roots(&self) -> anyhow::Result<String> {
        match self {
            Self::Cluster(cluster) => cluster.roots().await,
            Self::Directory(directory) => directory.roots(),
        }
    }

    /// Tokens of all node proxies.
    ///
    /// # Errors
    /// The API server makes none.
    pub(crate) async fn tokens(&self, shape: Shape) -> anyhow::Result<Vec<String>> {
        let token = async |node| match self {
            Self::Cluster(cluster) => cluster.token(node).await,
            Self::Directory(directory) => Ok(directory.token(node)),
        };
        stream::iter(0..shape.nodes).map(token).buffered(TOKENS_AT_ONCE).try_collect().await
    }

    /// Gives a pod another revision. Returns when that is accepted.
    ///
    /// # Errors
    /// It is not.
    pub(crate) async fn change(&self, pod: u32, to: &str) -> anyhow::Result<()> {
        match self {
            Self::Cluster(cluster) => cluster.change(pod, to).await,
            Self::Directory(directory) => directory.change(pod, to),
        }
    }

    /// CPU time of the API server and its store so far, seconds; 0 where there is none.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        match self {
            Self::Cluster(cluster) => cluster.cpu_seconds(),
            Self::Directory(_) => Ok(0.0),
        }
    }
}
