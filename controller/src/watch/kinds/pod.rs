//! `Pod`, with its status.

use std::net::IpAddr;

use ambit_model::Str;
use k8s_openapi::api::core::v1::{Container, Pod as K8sPod, PodSpec, PodStatus};
use serde_json::Value;

use super::meta::is_subdomain;
use super::{Meta, Problem, network, ports, typed};

/// A Pod: an address with an identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its metadata.
    pub meta: Meta,
    /// What tells it from others of its name, before and after; empty in files.
    pub uid: Str,
    /// Its addresses; none while it has none yet.
    pub ips: Vec<IpAddr>,
    /// The node it runs on; empty while it is not scheduled.
    pub node: Str,
    /// Its service account.
    pub service_account: Str,
    /// Whether its addresses are its node's.
    pub host_network: bool,
    /// How far it has come.
    pub phase: Phase,
    /// Whether it is ready for traffic.
    pub ready: bool,
    /// TCP ports by name, of containers and of init containers that keep running.
    pub ports: Vec<(Str, u16)>,
    /// The name of what made it: the Deployment's, the CronJob's, or its own.
    pub owner: Str,
}

/// The phase of a pod's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet running.
    Pending,
    /// Running, or unknown.
    Running,
    /// All its containers ended well.
    Succeeded,
    /// All its containers ended, one of them badly.
    Failed,
}

pub(super) fn trim(meta: Meta, value: Value) -> Result<Pod, Problem> {
    let pod: K8sPod = typed(value)?;
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let service_account = spec.service_account_name.as_deref().filter(|sa| !sa.is_empty());
    let service_account = service_account.unwrap_or("default");
    if !is_subdomain(service_account) {
        let message = format!("{service_account:?} is not a service account's name");
        return Err(Problem::new("spec.serviceAccountName", message));
    }
    Ok(Pod {
        ips: ips(&status)?,
        ports: named_ports(&spec)?,
        uid: pod.metadata.uid.unwrap_or_default().into(),
        owner: owner(&meta, pod.metadata.owner_references.as_deref().unwrap_or_default()),
        node: spec.node_name.unwrap_or_default().into(),
        service_account: service_account.into(),
        host_network: spec.host_network.unwrap_or(false),
        phase: phase(&status),
        ready: is_ready(&status),
        meta,
    })
}

fn ips(status: &PodStatus) -> Result<Vec<IpAddr>, Problem> {
    let list = status.pod_ips.as_deref().unwrap_or_default();
    let mut ips = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        let ip = network::unicast(&format!("status.podIPs[{i}].ip"), &entry.ip)?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    if let Some(single) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        let ip = network::unicast("status.podIP", single)?;
        if ips.is_empty() {
            ips.push(ip);
        } else if !ips.contains(&ip) {
            return Err(Problem::new("status.podIP", format!("{ip} is not among status.podIPs")));
        }
    }
    Ok(ips)
}

fn named_ports(spec: &PodSpec) -> Result<Vec<(Str, u16)>, Problem> {
    let mut named = Vec::new();
    let mut add = |list: &str, i: usize, container: &Container| {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("spec.{list}[{i}].ports[{j}].containerPort");
            let number = ports::port(&field, port.container_port.into())?;
            let tcp = port.protocol.as_deref().is_none_or(|p| p == "TCP");
            if let Some(name) = port.name.as_deref().filter(|name| tcp && !name.is_empty()) {
                named.push((name.into(), number));
            }
        }
        Ok(())
    };
    for (i, container) in spec.containers.iter().enumerate() {
        add("containers", i, container)?;
    }
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        if container.restart_policy.as_deref() == Some("Always") {
            add("initContainers", i, container)?;
        }
    }
    Ok(named)
}

fn phase(status: &PodStatus) -> Phase {
    match status.phase.as_deref() {
        Some("Pending") => Phase::Pending,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        _ => Phase::Running,
    }
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The name under which telemetry knows the pod: what is left of its controller's name when the parts are dropped
/// that Kubernetes adds for each revision or run.
fn owner(
    meta: &Meta,
    references: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
) -> Str {
    let Some(owner) = references.iter().find(|r| r.controller == Some(true)) else {
        return meta.name.clone();
    };
    let suffix = |separated: &str| match owner.name.strip_suffix(separated) {
        Some(rest) => rest.strip_suffix('-').map(Into::into),
        None => None,
    };
    let name: Option<Str> = match owner.kind.as_str() {
        "ReplicaSet" => meta.label("pod-template-hash").and_then(|hash| suffix(hash)),
        "Job" => match owner.name.rsplit_once('-') {
            // A CronJob's runs end in the minute they were due.
            Some((cron, run)) if run.len() >= 8 && run.bytes().all(|b| b.is_ascii_digit()) => {
                Some(cron.into())
            }
            _ => None,
        },
        _ => None,
    };
    name.unwrap_or_else(|| owner.name.as_str().into())
}
