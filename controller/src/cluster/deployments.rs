//! Waypoints and gateways: what is deployed for Gateways of the mesh's classes, kept so by the leading replica.

mod classes;
mod desk;
mod gateway;
mod hands;
mod image;
mod merge;
mod objects;
mod overlays;
mod parts;
mod pod;
mod seen;

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{until, while_leading};
use crate::watch::{Backoff, Pace};

use desk::{Desk, Known, Step};
use gateway::{Gateway, Name};
use hands::{Failure, Hands};
use objects::objects;
use overlays::Overlays;
use pod::Template;
use seen::Watcher;

/// What the proxies of Gateways are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Their image; the one beside the controller's own where none is named.
    pub image: Option<String>,
    /// The namespace of the controller, and of the defaults of classes.
    pub namespace: String,
    /// The controller's own pod.
    pub pod: String,
    /// The audience of tokens.
    pub audience: String,
    /// The id of the cluster.
    pub cluster_id: String,
    /// The DNS domain of the cluster.
    pub cluster_domain: String,
    /// The trust domain.
    pub trust_domain: String,
}

/// Deploys Gateways while this replica leads.
pub struct Deployments {
    client: Client,
    settings: ProxySettings,
    leads: watch::Receiver<bool>,
    pace: Pace,
}

/// Tries at a Gateway that have failed.
struct Trouble {
    backoff: Backoff,
    complaint: String,
}

// === impl Deployments ===

impl Deployments {
    /// Deploys them as `settings` say while `leads`.
    pub fn new(
        client: Client,
        settings: ProxySettings,
        leads: watch::Receiver<bool>,
        pace: Pace,
    ) -> Self {
        Self { client, settings, leads, pace }
    }

    /// Deploys them, for ever.
    pub async fn run(self) {
        while_leading(self.leads.clone(), || self.keep()).await;
    }

    async fn keep(&self) {
        let template = self.template().await;
        let hands = Hands::new(self.client.clone());
        let watcher = Watcher { namespace: self.settings.namespace.clone(), pace: self.pace };
        let mut news = std::pin::pin!(watcher.follow(&self.client));
        let mut desk = Desk::default();
        let mut listing = seen::Listing::default();
        let mut troubles: BTreeMap<Name, Trouble> = BTreeMap::new();
        let mut poll = tokio::time::interval(self.pace.absent);
        loop {
            let wake = desk.wake(Instant::now());
            tokio::select! {
                biased;
                next = news.next() => match next {
                    Some(next) => listing.take(next, &mut desk, Instant::now()),
                    None => return,
                },
                () = std::future::ready(()), if desk.next(Instant::now()).is_some() => {
                    if let Some((name, known)) = desk.next(Instant::now()) {
                        let result = self.serve(&hands, &mut desk, &known, &template).await;
                        self.judge(&mut desk, &mut troubles, &name, result);
                    }
                }
                _ = poll.tick() => {
                    desk.poll(Instant::now());
                    classes::ensure(&hands).await;
                }
                () = until(wake) => {}
            }
        }
    }

    async fn template(&self) -> Template {
        let settings = &self.settings;
        Template {
            image: image::find(&self.client, settings, self.pace).await,
            control_plane: format!("https://ambit-controller.{}.svc:15012", settings.namespace),
            audience: settings.audience.clone(),
            cluster_id: settings.cluster_id.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            trust_domain: settings.trust_domain.clone(),
        }
    }

    /// Makes what is deployed for a Gateway what it should be.
    async fn serve(
        &self,
        hands: &Hands,
        desk: &mut Desk,
        known: &Known,
        template: &Template,
    ) -> Result<(), Failure> {
        let wanted = match &known.gateway {
            Some(gateway) => {
                let own = parameters(hands, gateway).await?;
                let defaults = desk.defaults_of(gateway.class.name);
                let overlays: Vec<&Overlays> = defaults.iter().chain(&own).collect();
                objects(gateway, &overlays, template).map_err(Failure::Refused)?
            }
            None => Vec::new(),
        };
        for key in desk.extra(known, &wanted) {
            hands.delete(&key).await?;
            tracing::info!("{key}: deleted, since its Gateway does not ask for it any more");
            desk.removed(&key);
        }
        let mut result = Ok(());
        for wanted in &wanted {
            match desk.step(wanted, Instant::now()) {
                Step::Leave => {}
                Step::GiveWay => tracing::warn!(
                    "{}: somebody else changes it again and again; it is left so for ten minutes, or until its Gateway changes",
                    wanted.key
                ),
                Step::Write => {
                    let own = desk.is_own(&wanted.key, &known.uid);
                    match hands.write(wanted, &known.uid, own).await {
                        Ok(Some(seen)) => {
                            tracing::info!("{}: written", wanted.key);
                            desk.written(wanted, seen, Instant::now());
                        }
                        Ok(None) => {}
                        Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                        // One object that is refused does not hold up the others.
                        Err(failure) => result = result.and(Err(failure)),
                    }
                }
            }
        }
        result
    }

    /// Decides when the Gateway is looked at again, and says what is wrong, once.
    fn judge(
        &self,
        desk: &mut Desk,
        troubles: &mut BTreeMap<Name, Trouble>,
        name: &Name,
        result: Result<(), Failure>,
    ) {
        let Err(failure) = result else {
            troubles.remove(name);
            desk.settled(name);
            return;
        };
        let fresh = || Trouble { backoff: Backoff::new(self.pace), complaint: String::new() };
        let trouble = troubles.entry(name.clone()).or_insert_with(fresh);
        let complaint = format!("Gateway {name}: cannot be deployed: {failure}");
        if complaint != trouble.complaint {
            tracing::warn!("{complaint}");
            trouble.complaint = complaint;
        }
        let pause = match failure {
            Failure::Unreachable(_) => trouble.backoff.failed(),
            Failure::Forbidden { .. } | Failure::Refused(_) => self.pace.absent,
        };
        desk.again(name, Instant::now() + pause);
    }
}

/// The further fields that a Gateway names.
async fn parameters(hands: &Hands, gateway: &Gateway) -> Result<Option<Overlays>, Failure> {
    let field = "spec.infrastructure.parametersRef";
    let Some(reference) = &gateway.infrastructure.parameters_ref else { return Ok(None) };
    if !reference.group.is_empty() || reference.kind != "ConfigMap" {
        let kind = &reference.kind;
        return Err(Failure::Refused(format!("{field}: is a {kind}; only ConfigMaps are read")));
    }
    let (namespace, name) = (&gateway.name.namespace, &reference.name);
    let Some(map) = hands.config_map(namespace, name).await? else {
        return Err(Failure::Refused(format!(
            "{field}: there is no ConfigMap {namespace}/{name}; nothing is changed until it is created"
        )));
    };
    let overlays = Overlays::read(&map.data.unwrap_or_default());
    let named = |problem| Failure::Refused(format!("ConfigMap {namespace}/{name}: {problem}"));
    overlays.map(Some).map_err(named)
}
