//! What is known of a rotation: the Secret, and what everybody publishes, trusts and holds.

use std::collections::BTreeMap;

use ambit_telemetry::Chain;
use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;

use super::phase::Authority;
use crate::check::actor::Actor;
use crate::check::after;
use crate::cluster::Cluster;
use crate::dump::Held;

/// The Secret of a self-made authority, and the one that an owner plugs in (protocol.md 4).
const SELF_MADE: &str = "istio-ca-secret";
const PLUGGED_IN: &str = "cacerts";
/// The controller's diagnostics, on the loopback of its pod.
const CONTROLLER_ADMIN: u16 = 15014;
/// How many pods are asked at once.
const AT_ONCE: usize = 8;

/// What everybody says.
#[derive(Debug)]
pub(super) struct Facts {
    /// The roots that each controller signs with, or why it cannot be asked.
    pub(super) controllers: Vec<(String, Result<String, String>)>,
    /// The roots in each namespace.
    pub(super) copies: BTreeMap<String, Option<String>>,
    pub(super) proxies: Vec<Proxy>,
}

/// One ztunnel.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) held: Result<Vec<Held>, String>,
}

/// The Secret of the authority, and what it says.
///
/// # Errors
/// It is not there, not self-made, or not understood.
pub(super) async fn authority(cluster: &Cluster, namespace: &str) -> Result<(Secret, Authority)> {
    let secrets = cluster.namespaced::<Secret>(namespace);
    if secrets.get_opt(PLUGGED_IN).await?.is_some() {
        bail!(
            "Secret {namespace}/{PLUGGED_IN} holds an authority of your own, which only its owner can rotate: publish \
             both roots in it, then change the signer, then drop the old root (docs/operations.md)"
        );
    }
    let secret = secrets.get_opt(SELF_MADE).await?.with_context(|| {
        format!("Secret {namespace}/{SELF_MADE} is missing: a controller makes it, --namespace names another place")
    })?;
    let text = |(name, bytes): (&String, &ByteString)| {
        Some((name.clone(), String::from_utf8(bytes.0.clone()).ok()?))
    };
    let data = secret.data.iter().flatten().filter_map(text).collect();
    let authority =
        Authority::read(&data).with_context(|| format!("Secret {namespace}/{SELF_MADE}"))?;
    Ok((secret, authority))
}

/// Writes what `authority` is now into `secret`, unless somebody else has changed it since it was read.
pub(super) async fn write(
    cluster: &Cluster,
    mut secret: Secret,
    authority: &Authority,
) -> Result<()> {
    let namespace = secret.namespace().unwrap_or_default();
    let ours =
        authority.data().into_iter().map(|(name, text)| (name, ByteString(text.into_bytes())));
    secret.data = Some(ours.collect());
    let secrets = cluster.namespaced::<Secret>(&namespace);
    let written = secrets.replace(SELF_MADE, &kube::api::PostParams::default(), &secret).await;
    written.with_context(|| format!("Secret {namespace}/{SELF_MADE}; run this again"))?;
    Ok(())
}

// === impl Facts ===

impl Facts {
    /// Asks everybody.
    pub(super) async fn gather(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let controllers = running(&cluster.pods(namespace, "app=ambit-controller").await?);
        let ztunnels = running(&cluster.pods(namespace, "app=ztunnel").await?);
        let controllers = stream::iter(controllers).map(|actor| async move {
            let got = cluster.get(namespace, &actor.name, CONTROLLER_ADMIN, "/debug/roots").await;
            let text = got.and_then(|bytes| Ok(String::from_utf8(bytes)?));
            (actor.name, text.map_err(|error| Chain(&*error).to_string()))
        });
        let proxies = stream::iter(ztunnels).map(|actor| async move {
            let held = after::held(cluster, namespace, &actor.name).await;
            let held = held.map_err(|error| Chain(&*error).to_string());
            Proxy { name: actor.name, node: actor.node, held }
        });
        Ok(Self {
            controllers: controllers.buffered(AT_ONCE).collect().await,
            copies: cluster.root_copies().await?,
            proxies: proxies.buffered(AT_ONCE).collect().await,
        })
    }
}

/// Pods that have processes, ready or not. Those that are still to start will find everything as it is then.
fn running(pods: &[Pod]) -> Vec<Actor> {
    let is_running = |pod: &&Pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    pods.iter().filter(is_running).filter_map(Actor::of).collect()
}
