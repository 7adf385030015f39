//! What the controller itself keeps in the cluster: its certificate authority, the copies of its roots in every
//! namespace, what objects say in their status, what is deployed for Gateways, and the lease that says which replica
//! writes those.

mod authority;
mod deployments;
mod lease;
mod root_copies;
mod statuses;

use std::path::Path;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::api::Api;
use kube::client::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Resource;
use kube::runtime::watcher::{self, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::watch::{Backoff, Pace, watch_error};

pub use authority::SecretAuthority;
pub use deployments::{Deployments, ProxySettings};
pub use lease::{Election, LeaseSettings};
pub use root_copies::RootCopies;
pub use statuses::{StatusWriter, Statuses};

/// The name that fields are owned by which the controller writes.
const FIELD_MANAGER: &str = "ambit-controller";
/// How long to wait for a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a watch without events lasts, which the API server ends after five minutes at most.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[error("--kubernetes: {0}; run in a pod with a service account, or set KUBECONFIG")]
pub struct ClusterError(String);

/// A client of the cluster that `kubeconfig` names, or else of the one that the process runs in, or else of the one that
/// `KUBECONFIG` or `~/.kube/config` names. Does not connect yet.
///
/// # Errors
/// None of them is there, or can be used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let mut config = config(kubeconfig).await.map_err(|error| failed(&error))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Whoever asks tries again himself, and says so meanwhile.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| failed(&error))
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions::default();
    match kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await,
        None => match Config::incluster() {
            Ok(config) => Ok(config),
            Err(_) => Config::from_kubeconfig(&options).await,
        },
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ClusterError {
    ClusterError(ambit_telemetry::Chain(error).to_string())
}

/// Everything that happens to the objects of one name, or of any.
fn follow<K>(
    api: Api<K>,
    name: Option<&str>,
    pace: Pace,
) -> impl Stream<Item = watcher::Event<K>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default();
    let config = match name {
        Some(name) => config.fields(&format!("metadata.name={name}")),
        None => config,
    };
    follow_with(api, config, pace)
}

/// Everything that happens to the objects that `config` selects.
fn follow_with<K>(
    api: Api<K>,
    config: watcher::Config,
    pace: Pace,
) -> impl Stream<Item = watcher::Event<K>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let patience = Patience { backoff: Backoff::new(pace), pace, complaint: String::new() };
    let events = watcher(api, config).scan(patience, |patience, event| {
        let (event, pause) = match event {
            Ok(event) => (Some(patience.succeeded(event)), None),
            Err(error) => (None, Some(patience.failed(&error))),
        };
        async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            Some(event)
        }
    });
    events.filter_map(std::future::ready)
}

/// Tells each failure once, and makes the next try wait.
struct Patience {
    backoff: Backoff,
    pace: Pace,
    complaint: String,
}

/// Does `work` anew whenever this replica leads, and drops it when it does not.
async fn while_leading<F: Future<Output = ()>>(
    mut leads: watch::Receiver<bool>,
    mut work: impl FnMut() -> F,
) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = work() => {}
            _ = leads.wait_for(|leads| !*leads) => {}
        }
    }
}

/// Waits for a moment, for ever if there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

// === impl Patience ===

impl Patience {
    fn succeeded<K>(&mut self, event: watcher::Event<K>) -> watcher::Event<K> {
        // Each try to list begins with an `Init`, also one that will fail.
        if !matches!(event, watcher::Event::Init) {
            self.backoff.succeeded();
            self.complaint.clear();
        }
        event
    }

    fn failed(&mut self, error: &watcher::Error) -> Duration {
        let text = watch_error(error);
        let expired = matches!(error, watcher::Error::WatchError(status) if status.code == 410);
        // The source of objects says which CRDs are missing.
        let missing = code(error) == Some(404);
        if !expired && !missing && text != self.complaint {
            tracing::warn!("cannot follow what the controller keeps in the cluster: {text}");
            self.complaint = text;
        }
        match code(error) {
            // Nothing changes before somebody installs a CRD or gives a right.
            Some(403 | 404) => self.pace.absent,
            _ => self.backoff.failed(),
        }
    }
}

/// The status of the answer to a list that failed.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
