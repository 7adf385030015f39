//! The roots, copied into every namespace for pods to mount, and kept true.

mod copies;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::select;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Patch, PatchParams};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::{Api, Client};
use tokio::sync::watch;

use super::{FIELD_MANAGER, follow, while_leading};
use crate::watch::{Backoff, Pace, api_error};

use copies::{Copies, Seen};

/// The ConfigMap and its key. (protocol.md 4, "ConfigMap writer".)
const NAME: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";
/// How long to wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Copies the roots while this replica leads.
pub struct RootCopies {
    client: Client,
    roots: watch::Receiver<Arc<str>>,
    leads: watch::Receiver<bool>,
    pace: Pace,
}

// === impl RootCopies ===

impl RootCopies {
    /// Copies `roots` while `leads`.
    pub fn new(
        client: Client,
        roots: watch::Receiver<Arc<str>>,
        leads: watch::Receiver<bool>,
        pace: Pace,
    ) -> Self {
        Self { client, roots, leads, pace }
    }

    /// Copies them, for ever.
    pub async fn run(self) {
        while_leading(self.leads.clone(), || self.keep()).await;
    }

    /// Follows namespaces and copies, and writes what is missing or wrong.
    async fn keep(&self) {
        let mut roots = self.roots.clone();
        let mut copies = Copies::new(roots.borrow_and_update().clone());
        let mut seen = std::pin::pin!(self.seen());
        let mut backoff = Backoff::new(self.pace);
        let mut failure = String::new();
        loop {
            let pause = match self.write(&mut copies).await {
                Ok(written) => {
                    if written > 0 {
                        tracing::info!(namespaces = written, "wrote ConfigMap {NAME}");
                    }
                    failure.clear();
                    backoff.succeeded();
                    None
                }
                Err(error) => {
                    if failure != error {
                        tracing::warn!("{error}");
                        failure = error;
                    }
                    Some(backoff.failed())
                }
            };
            let again = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = seen.next() => match next {
                    Some(next) => copies.see(next),
                    None => return,
                },
                changed = roots.changed() => match changed {
                    Ok(()) => copies.want(roots.borrow_and_update().clone()),
                    Err(_) => return,
                },
                () = again => {}
            }
        }
    }

    /// Writes what there is to write. One namespace that refuses does not hold up the others.
    async fn write(&self, copies: &mut Copies) -> Result<usize, String> {
        let (mut written, mut failure) = (0, None);
        for namespace in copies.to_write() {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            let patch = Patch::Apply(config_map(copies.wanted()));
            let patched = api.patch(NAME, &parameters, &patch);
            match tokio::time::timeout(TIMEOUT, patched).await {
                Ok(Ok(_)) => {
                    copies.written(namespace);
                    written += 1;
                }
                Ok(Err(error)) => {
                    let error = api_error(&error);
                    failure.get_or_insert(format!(
                        "ConfigMap {namespace}/{NAME}: cannot be written: {error}"
                    ));
                }
                Err(_) => return Err("the API server does not answer".to_owned()),
            }
        }
        failure.map_or(Ok(written), Err)
    }

    /// Namespaces and copies, as they come and go.
    fn seen(&self) -> impl Stream<Item = Seen> + use<> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let maps: Api<ConfigMap> = Api::all(self.client.clone());
        select(
            follow(namespaces, None, self.pace).map(Seen::namespace).boxed(),
            follow(maps, Some(NAME), self.pace).map(|event| Seen::copy(event, KEY)).boxed(),
        )
    }
}

fn config_map(roots: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: Some([(KEY.to_owned(), roots.to_owned())].into()),
        ..ConfigMap::default()
    }
}
