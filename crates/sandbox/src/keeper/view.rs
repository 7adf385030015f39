//! What the outside can see of a sandbox at a moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_net::NetNs;

use super::entry::Entry;
use crate::cluster::PodKey;
use crate::pod::runner::Inside;
use crate::pod::status::{Mesh, Phase};
use crate::room::Room;
use crate::services::ServiceView;
use crate::topology::PodNet;

/// A sandbox at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) pods: BTreeMap<PodKey, PodHandle>,
    pub(crate) services: BTreeMap<(String, String), Vec<IpAddr>>,
}

/// A pod as it was when it was asked for, and the way into it.
#[derive(Clone, Debug)]
pub struct PodHandle {
    key: PodKey,
    uid: String,
    owner: Option<String>,
    ready: bool,
    ending: bool,
    ended: bool,
    meshed: bool,
    restarts: u32,
    obstacle: Option<String>,
    net: Arc<PodNet>,
    pub(crate) inside: Inside,
}

/// Takes the picture.
pub(super) fn view(pods: &BTreeMap<PodKey, Entry>, services: &[ServiceView]) -> View {
    let service =
        |view: &ServiceView| ((view.namespace.clone(), view.name.clone()), view.vips.clone());
    View {
        pods: pods.iter().map(|(key, entry)| (key.clone(), PodHandle::new(key, entry))).collect(),
        services: services.iter().map(service).collect(),
    }
}

// === impl View ===

impl View {
    /// Pods that are neither ready nor successfully ended, with the reason where there is one; those on their way out
    /// count too.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let word = |pod: &PodHandle| match (&pod.obstacle, pod.ending) {
            (_, true) => format!("{} is ending", pod.key),
            (Some(obstacle), _) => format!("{}: {obstacle}", pod.key),
            (None, _) => format!("{} is not ready", pod.key),
        };
        self.pods.values().filter(|pod| !pod.ready && !pod.ended).map(word).collect()
    }

    /// The pod of that name: `namespace/name`, or `name` where only one namespace has it; the name of a Deployment
    /// stands for its first pod that is ready.
    pub(crate) fn pod(&self, name: &str) -> Option<&PodHandle> {
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, name),
        };
        let here = |pod: &&PodHandle| namespace.is_none_or(|of| of == pod.key.namespace);
        let mut named = self.pods.values().filter(here).filter(|pod| pod.key.name == name);
        if let Some(pod) = named.next() {
            return named.next().is_none().then_some(pod);
        }
        let owned = |pod: &&PodHandle| pod.owner.as_deref() == Some(name) && !pod.ending;
        self.pods
            .values()
            .filter(here)
            .filter(owned)
            .max_by_key(|pod| (pod.ready, std::cmp::Reverse(&pod.key)))
    }
}

// === impl PodHandle ===

impl PodHandle {
    fn new(key: &PodKey, entry: &Entry) -> Self {
        Self {
            key: key.clone(),
            uid: entry.uid.clone(),
            owner: entry.plan.owner.as_ref().map(|(name, _)| name.clone()),
            ready: entry.is_ready(),
            ending: entry.is_ending(),
            ended: entry.status.phase() == Phase::Succeeded,
            meshed: entry.status.mesh == Mesh::In,
            restarts: entry.status.containers.iter().map(|container| container.restarts).sum(),
            obstacle: entry.status.obstacle.clone(),
            net: entry.net.clone(),
            inside: entry.inside.clone(),
        }
    }

    /// Its namespace and name.
    pub fn key(&self) -> &PodKey {
        &self.key
    }

    /// Its UID, new with each start of the pod.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> IpAddr {
        self.net.ip()
    }

    /// Its addresses, IPv4 first.
    pub fn ips(&self) -> &[IpAddr] {
        self.net.ips()
    }

    /// The node it runs on.
    pub fn node(&self) -> &str {
        self.net.node()
    }

    /// Its network namespace.
    pub fn netns(&self) -> &NetNs {
        self.net.room().netns()
    }

    /// Its network namespace with a thread in it, to open sockets and start processes in.
    pub fn room(&self) -> &Room {
        self.net.room()
    }

    /// Whether it takes traffic through its services.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the mesh captures its traffic.
    pub fn is_meshed(&self) -> bool {
        self.meshed
    }

    /// How often its containers were started again.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The end of what its containers wrote, up to now.
    pub fn logs(&self) -> String {
        self.inside.logs()
    }
}

impl PartialEq for PodHandle {
    fn eq(&self, other: &Self) -> bool {
        let facts = |pod: &Self| {
            (
                pod.uid.clone(),
                pod.ready,
                pod.ending,
                pod.ended,
                pod.meshed,
                pod.restarts,
                pod.obstacle.clone(),
            )
        };
        facts(self) == facts(other)
    }
}
