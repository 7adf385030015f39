//! A pod that exists, as the keeper knows it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use crate::cluster::{PodPlan, Running};
use crate::pod::launch::PodFacts;
use crate::pod::runner::{Inside, grace};
use crate::pod::status::{Phase, PodStatus};
use crate::pod::volumes::PodDir;
use crate::pod::{Stop, named_ports};
use crate::publish::{PodPicture, account};
use crate::services::PodView;
use crate::topology::{NodeNet, PodNet};

/// A pod that exists.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) plan: PodPlan,
    pub(super) uid: String,
    pub(super) net: Arc<PodNet>,
    pub(super) node: Arc<NodeNet>,
    pub(super) inside: Inside,
    pub(super) status: PodStatus,
    pub(super) dir: PodDir,
    pub(super) created: Time,
    pub(super) deleted: Option<Time>,
    pub(super) enrol: watch::Sender<bool>,
    pub(super) stop: Stop,
}

// === impl Entry ===

impl Entry {
    pub(super) fn is_ending(&self) -> bool {
        self.deleted.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status.is_ready() && !self.is_ending()
    }

    /// Asks the pod to end, within its own grace period or `limit`, whichever is shorter.
    pub(super) fn end(&mut self, limit: Option<Duration>) {
        let own = grace(&self.plan.spec);
        *self.stop.grace.lock() = limit.map_or(own, |limit| limit.min(own));
        self.stop.token.cancel();
        self.deleted.get_or_insert_with(now);
    }

    pub(super) fn running(&self) -> Running {
        Running {
            owner: self.plan.owner.clone(),
            node: self.plan.node.clone(),
            ready: self.is_ready(),
        }
    }

    pub(super) fn view(&self) -> PodView {
        PodView {
            key: self.plan.key.clone(),
            uid: self.uid.clone(),
            labels: self.plan.labels.clone(),
            ports: self.plan.spec.containers.iter().flat_map(named_ports).collect(),
            // As on a cluster, what has ended for good is no endpoint.
            ips: match self.status.phase() {
                Phase::Succeeded | Phase::Failed => Vec::new(),
                Phase::Pending | Phase::Running => self.net.ips().to_vec(),
            },
            node: self.plan.node.clone(),
            ready: self.status.is_ready(),
            terminating: self.is_ending(),
        }
    }

    pub(super) fn picture(&self) -> PodPicture<'_> {
        PodPicture {
            plan: &self.plan,
            status: &self.status,
            uid: &self.uid,
            ips: self.net.ips(),
            node_ips: self.node.ips(),
            created: &self.created,
            deleted: self.deleted.as_ref(),
        }
    }
}

/// What a new pod's containers can learn about it.
pub(super) fn facts(plan: &PodPlan, net: &PodNet, node_ip: IpAddr) -> PodFacts {
    PodFacts {
        name: plan.key.name.clone(),
        namespace: plan.key.namespace.clone(),
        uid: uid(),
        hostname: plan.spec.hostname.clone().unwrap_or_else(|| plan.key.name.clone()),
        node: plan.node.clone(),
        node_ip: node_ip.to_string(),
        ips: net.ips().iter().map(ToString::to_string).collect(),
        service_account: account(&plan.spec).to_owned(),
        labels: plan.labels.clone(),
        annotations: plan.annotations.clone(),
    }
}

/// A new UID, in the form that Kubernetes gives them.
fn uid() -> String {
    let [a, b] = [rand::random::<u64>(), rand::random::<u64>()];
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}

pub(super) fn now() -> Time {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or_default();
    Time(Timestamp::from_second(seconds).unwrap_or_default())
}
