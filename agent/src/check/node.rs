//! Facts about the node, found with the agent's own means: what it would do is tried out.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ambit_model::Finding;
use ambit_net::NetNs;
use ambit_redirect::{Backend, HostProbes, PROBE_V4, PROBE_V6, apply_host, remove_host};

use super::verdict::{self, Probe};
use super::{Neighbour, network};
use crate::capture::{MIGRATE_REQ, choose};
use crate::config::Config;
use crate::describe;
use crate::install::{PLUGINS_OF_AGENTS, plugins_of, try_writing};
use crate::kubernetes::processes::Processes;

/// The node's root directory, which a process in the node's PID namespace sees there.
const HOST_ROOT: &str = "/proc/1/root";
/// Where CNI keeps programs and configuration.
const CNI_DIRS: [&str; 2] = ["opt/cni/bin", "etc/cni/net.d"];
/// How long a pod may take to answer a probe.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Looks at everything; `time` is the API server's, `neighbour` a pod to find and to probe.
pub(super) async fn look(
    config: &Config,
    time: Option<SystemTime>,
    neighbour: Option<Neighbour>,
) -> Vec<Finding> {
    let now = SystemTime::now();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let chosen = choose(config.backend).map_err(|error| describe(&error));
    let plugins = cni();
    let mut findings = vec![
        verdict::kernel(release.trim()),
        verdict::rules(chosen.clone()),
        verdict::migration(Path::new(MIGRATE_REQ).exists()),
        verdict::cgroups(cgroup_version(), neighbour.as_ref().map(found_by_cgroup)),
        verdict::cni(plugins.clone()),
    ];
    if let Some(neighbour) = neighbour {
        let address = match neighbour.ip {
            IpAddr::V4(_) => IpAddr::V4(PROBE_V4),
            IpAddr::V6(_) => IpAddr::V6(PROBE_V6),
        };
        let is_agents = plugins.is_ok_and(|(_, plugins)| {
            plugins.iter().any(|plugin| PLUGINS_OF_AGENTS.contains(&plugin.as_str()))
        });
        let probe = match (chosen, is_agents) {
            (_, true) => Probe::Installed,
            (Err(problem), _) => Probe::Refused(problem),
            // Only an address of the node itself can be bound to.
            _ if UdpSocket::bind((address, 0)).is_ok() => Probe::Taken,
            (Ok(backend), false) => probe(backend, &neighbour).await,
        };
        findings.push(verdict::probe(address, &probe));
    }
    findings.extend(time.map(|time| verdict::clock(now, time)));
    findings
}

/// Version 2 alone shows its controllers at the root.
fn cgroup_version() -> u8 {
    let root = Path::new(HOST_ROOT).join("sys/fs/cgroup/cgroup.controllers");
    if root.exists() { 2 } else { 1 }
}

fn found_by_cgroup(pod: &Neighbour) -> Result<bool, String> {
    let own = NetNs::current().map_err(|error| error.to_string())?;
    let found = Processes::new("/proc", own.id()).netns(&pod.uid);
    found.map(|found| found.is_some()).map_err(|error| format!("/proc: {error}"))
}

fn cni() -> Result<(String, Vec<String>), String> {
    let [programs, lists] = CNI_DIRS.map(|dir| Path::new(HOST_ROOT).join(dir));
    let on_node = |text: String| text.replace(HOST_ROOT, "");
    let (path, plugins) = plugins_of(&lists).map_err(|error| on_node(error.to_string()))?;
    for dir in [&programs, &lists] {
        try_writing(dir).map_err(|error| on_node(error.to_string()))?;
    }
    Ok((on_node(path.display().to_string()), plugins))
}

/// Connects to the pod as the kubelet will once the pod is captured, and puts everything back.
async fn probe(backend: Backend, pod: &Neighbour) -> Probe {
    let node = match NetNs::current() {
        Ok(node) => node,
        Err(error) => return Probe::Refused(format!("/proc: {error}")),
    };
    let probes = HostProbes {
        pods: [(pod.ip, pod.uid.clone())].into(),
        kubelet_user: nix::unistd::geteuid().as_raw(),
        ipv6: pod.ip.is_ipv6(),
    };
    if let Err(error) = apply_host(&node, &probes, backend) {
        return Probe::Refused(describe(&error));
    }
    let seen = network::ask(pod.ip, PROBE_LIMIT).await;
    match (remove_host(&node), seen) {
        (Err(error), _) => Probe::Refused(describe(&error)),
        (Ok(()), Ok(source)) => Probe::Seen(source),
        (Ok(()), Err(problem)) => Probe::Silent(problem),
    }
}
