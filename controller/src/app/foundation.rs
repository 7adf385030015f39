//! What differs between a controller of files and one of a cluster.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use ambit_lifecycle::bind_wildcard;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

use super::StartError;
use crate::cluster::{
    self, Deployments, Election, RootCopies, SecretAuthority, StatusWriter, Statuses,
};
use crate::config::{ClusterSource, FileSource, Source};
use crate::serve::{Authority, AuthorityFiles, FileTokens, Metrics, Pods, Reviews, Tokens};
use crate::watch::{Directory, Kubernetes, Origin, SourceErrors, Update};

/// What the rest stands on.
pub(super) struct Foundation {
    pub(super) origin: Origin,
    /// What the origin held at the start, where that is known already.
    pub(super) first: Option<Update>,
    pub(super) tokens: Tokens,
    /// The pods that tokens may be bound to.
    pub(super) pods: Pods,
    pub(super) authority: Arc<Authority>,
    /// What runs as long as the process.
    pub(super) keepers: Vec<BoxFuture<'static, ()>>,
    /// What objects should say about themselves, in a cluster.
    pub(super) statuses: Option<Statuses>,
    /// Who of several replicas writes.
    pub(super) election: Option<Election>,
    /// Where metrics and readiness are served to others.
    pub(super) status: Vec<TcpListener>,
}

// === impl Foundation ===

impl Foundation {
    /// Lays it. `names` are those of the server's certificate.
    pub(super) async fn lay(
        source: Source,
        names: Vec<String>,
        metrics: &Metrics,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        match source {
            Source::Files(files) => Self::of_files(files, names, metrics),
            Source::Cluster(cluster) => {
                let registry = registry.sub_registry_with_prefix("ambit_controller");
                Self::of_cluster(*cluster, names, metrics, SourceErrors::register(registry)).await
            }
        }
    }

    fn of_files(
        source: FileSource,
        names: Vec<String>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let FileSource { from_dir, node_tokens, ca_dir, root_cert_out } = source;
        let files = AuthorityFiles { dir: ca_dir, root_out: root_cert_out, names };
        let authority = Arc::new(files.open(SystemTime::now())?);
        let tokens = Tokens::File(FileTokens::follow(&node_tokens)?);
        let (directory, first) = Directory::open(&from_dir)?;
        let keeper = keep_files(files, authority.clone(), metrics.clone()).boxed();
        Ok(Self {
            origin: Origin::Directory(Box::new(directory)),
            first: Some(first),
            tokens,
            pods: Pods::default(),
            authority,
            keepers: vec![keeper],
            statuses: None,
            election: None,
            status: Vec::new(),
        })
    }

    async fn of_cluster(
        source: ClusterSource,
        names: Vec<String>,
        metrics: &Metrics,
        errors: SourceErrors,
    ) -> Result<Self, StartError> {
        let ClusterSource { kubeconfig, namespace, proxies, reviews, lease, status_port, pace } =
            source;
        let client = cluster::connect(kubeconfig.as_deref()).await?;
        let status = bind_wildcard(status_port).map_err(StartError::Status)?;
        let secrets = SecretAuthority::new(client.clone(), &namespace, pace);
        let authority = Arc::new(secrets.open(names).await);
        let pods = Pods::default();
        let reviews = Reviews::new(client.clone(), reviews, pods.clone(), metrics.clone());
        let election = Election::new(client.clone(), lease, metrics.clone());
        let statuses = Statuses::default();
        let writer = StatusWriter::new(
            client.clone(),
            statuses.clone(),
            election.leads(),
            pace,
            metrics.clone(),
        );
        let deployments = Deployments::new(client.clone(), proxies, election.leads(), pace);
        let copies = RootCopies::new(client.clone(), authority.roots(), election.leads(), pace);
        Ok(Self {
            origin: Origin::Kubernetes(Kubernetes::follow(&client, pace, &errors)),
            first: None,
            tokens: Tokens::Cluster(reviews),
            pods,
            keepers: vec![
                secrets.keep(authority.clone(), metrics.clone()).boxed(),
                copies.run().boxed(),
                deployments.run().boxed(),
                writer.run().boxed(),
            ],
            statuses: Some(statuses),
            election: Some(election),
            authority,
            status,
        })
    }
}

async fn keep_files(files: AuthorityFiles, authority: Arc<Authority>, metrics: Metrics) {
    if let Err(error) = files.keep(authority, metrics).await {
        tracing::error!(%error, "changes of the certificate authority will not be noticed");
    }
}
