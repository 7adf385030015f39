//! Workloads: pods, WorkloadEntries, endpoints of ServiceEntries and of EndpointSlices.

mod labels;
mod memberships;
mod names;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};

use ambit_model::{
    HealthStatus, Locality, NamespacedHostname, NetworkMode, PortMap, Str, TunnelProtocol,
    Workload, WorkloadType,
};
use ambit_xds::encode::Encoded;

use super::inputs::is_addressable;
use super::waypoints::{self, Traffic};
use super::{Output, World, guards, policies, services, targets};
use crate::watch::kinds::{
    EndpointSlice, EntryHost, EntryWorkload, Pod, Resolution, ServiceEntry, SliceEndpoint,
    WorkloadEntry,
};
use crate::watch::{Key, Kind, Meta, Problem};

use memberships::{memberships, slice_ports};

/// The workload of a pod that has an address and has not ended.
pub(super) fn pod(world: World<'_>, pod: &Pod) -> Output {
    if !is_addressable(pod) {
        return Output::default();
    }
    if let Err(problem) = own_addresses(world, pod) {
        return Output::refused(problem);
    }
    let mut output = Output::default();
    let uid =
        format!("{}//Pod/{}/{}", world.settings.cluster_id, pod.meta.namespace, pod.meta.name);
    let network_mode =
        if pod.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard };
    let healthy = pod.ready && !pod.meta.deleting;
    let named = |name: &str| pod.ports.iter().find(|(n, _)| &**n == name).map(|(_, port)| *port);
    let mut workload = Workload {
        workload_ips: pod.ips.clone(),
        service_account: pod.service_account.clone(),
        network_mode,
        node: pod.node.clone(),
        workload_name: pod.owner.clone(),
        canonical_name: names::canonical(&pod.meta, &pod.owner),
        locality: world.inputs.locality(&pod.node),
        application_tunnel: tunnel::application_tunnel(world, &pod.meta, &mut output.problems),
        status: if healthy { HealthStatus::Healthy } else { HealthStatus::Unhealthy },
        services: memberships(world, (Kind::Pod, &pod.meta), &named, &BTreeMap::new()),
        ..base(world, uid, &pod.meta)
    };
    // A gateway's own pods are not sent through it.
    if waypoints::gateway_name(&pod.meta).is_none() {
        set_waypoint(world, &pod.meta, &mut workload, &mut output);
    }
    output.push_on(&pod.node, Encoded::workload(&workload));
    labels::push(world, &workload.uid, &pod.meta, is_gateway(world, pod), &mut output);
    output
}

/// Whether a pod is a proxy of an ingress gateway.
fn is_gateway(world: World<'_>, pod: &Pod) -> bool {
    let gateway = waypoints::gateway_name(&pod.meta)
        .and_then(|name| world.inputs.gateway(&pod.meta.namespace, name));
    gateway.is_some_and(targets::is_ingress)
}

/// The workload of a WorkloadEntry.
pub(super) fn workload_entry(world: World<'_>, entry: &WorkloadEntry) -> Output {
    let mut output = Output::default();
    let kind = "networking.istio.io/WorkloadEntry";
    let (namespace, name) = (&entry.meta.namespace, &entry.meta.name);
    let uid = format!("{}/{kind}/{namespace}/{name}", world.settings.cluster_id);
    let ports = &entry.workload.ports;
    let named = |name: &str| ports.get(name).copied();
    let mut workload = Workload {
        services: memberships(world, (Kind::WorkloadEntry, &entry.meta), &named, ports),
        ..outside(base(world, uid, &entry.meta), &entry.workload)
    };
    set_waypoint(world, &entry.meta, &mut workload, &mut output);
    output.push(Encoded::workload(&workload));
    labels::push(world, &workload.uid, &entry.meta, false, &mut output);
    output
}

/// The endpoints that are written into a ServiceEntry; or, where DNS finds them, its hosts.
pub(super) fn service_entry(world: World<'_>, entry: &ServiceEntry) -> Output {
    let mut output = Output::default();
    let hosts: Vec<NamespacedHostname> = services::hosts(world, entry).collect();
    if hosts.is_empty() || entry.resolution == Resolution::None {
        return output;
    }
    let uid = |end: &str| {
        let (namespace, name) = (&entry.meta.namespace, &entry.meta.name);
        let kind = "networking.istio.io/ServiceEntry";
        format!("{}/{kind}/{namespace}/{name}/{end}", world.settings.cluster_id)
    };
    let ports = |own: &BTreeMap<Str, u16>| -> PortMap {
        let target =
            |p: &crate::watch::kinds::EntryPort| own.get(&p.name).copied().unwrap_or(p.target);
        entry.ports.iter().map(|p| (p.number, target(p))).collect()
    };
    let mut seen = BTreeSet::new();
    for (i, endpoint) in entry.endpoints.iter().enumerate() {
        let end = match &endpoint.host {
            EntryHost::Ip(ip) => ip.to_string(),
            EntryHost::Name(name) => name.to_string(),
            EntryHost::Network => endpoint.network.to_string(),
        };
        if !seen.insert(end.clone()) {
            let message = format!("{end} is an endpoint already; this one is left out");
            output.problems.push(Problem::new(format!("spec.endpoints[{i}].address"), message));
            continue;
        }
        let labels = endpoint.labels.clone();
        let meta = Meta { labels, annotations: BTreeMap::new(), ..entry.meta.clone() };
        let shares = hosts.iter().map(|host| (host.clone(), ports(&endpoint.ports)));
        labels::push(world, &uid(&end), &meta, false, &mut output);
        output.push(Encoded::workload(&Workload {
            services: shares.collect(),
            ..outside(base(world, uid(&end), &meta), endpoint)
        }));
    }
    if entry.resolution == Resolution::Dns && entry.endpoints.is_empty() && entry.selector.is_none()
    {
        for host in hosts.iter().filter(|host| !host.hostname.starts_with('*')) {
            let meta = Meta { labels: BTreeMap::new(), ..entry.meta.clone() };
            output.push(Encoded::workload(&Workload {
                hostname: host.hostname.clone(),
                services: BTreeMap::from([(host.clone(), ports(&BTreeMap::new()))]),
                ..base(world, uid(&host.hostname), &meta)
            }));
        }
    }
    output
}

/// The endpoints of an EndpointSlice that are no pods. They cannot be found by their address, only as endpoints.
pub(super) fn endpoint_slice(world: World<'_>, slice: &EndpointSlice) -> Output {
    let mut output = Output::default();
    let Some((host, ports)) = slice_ports(world, slice) else { return output };
    for SliceEndpoint { ip, node, ready } in &slice.endpoints {
        let kind = "discovery.k8s.io/EndpointSlice";
        let (namespace, name) = (&slice.meta.namespace, &slice.meta.name);
        let uid = format!("{}/{kind}/{namespace}/{name}/{ip}", world.settings.cluster_id);
        output.push(Encoded::workload(&Workload {
            uid: uid.into(),
            name: name.clone(),
            namespace: namespace.clone(),
            trust_domain: world.settings.trust_domain.clone(),
            cluster_id: world.settings.cluster_id.clone(),
            network: world.network(),
            workload_ips: vec![*ip],
            network_mode: NetworkMode::HostNetwork,
            workload_type: WorkloadType::Pod,
            workload_name: name.clone(),
            canonical_name: name.clone(),
            canonical_revision: "latest".into(),
            node: node.clone(),
            locality: world.inputs.locality(node),
            status: if *ready { HealthStatus::Healthy } else { HealthStatus::Unhealthy },
            services: BTreeMap::from([(host.clone(), ports.clone())]),
            ..Workload::default()
        }));
    }
    output
}

/// Puts a workload behind its waypoints. One without its own label takes the namespace's where it can; services report
/// on that.
fn set_waypoint(world: World<'_>, meta: &Meta, workload: &mut Workload, output: &mut Output) {
    let bound = waypoints::bind(world, meta, Traffic::Workload);
    workload.authorization_policies.extend(guards::names(world, meta, &bound.gateways));
    workload.waypoint = bound.waypoint;
    if meta.label("istio.io/use-waypoint").is_some() {
        output.problems.extend(bound.refused.map(|refusal| refusal.problem));
    }
}

/// What workloads with metadata have in common.
fn base(world: World<'_>, uid: String, meta: &Meta) -> Workload {
    let tunnel = meta.label("networking.istio.io/tunnel");
    let native_tunnel = tunnel.is_some_and(|value| &**value == "http");
    let redirection = meta.annotation("ambient.istio.io/redirection");
    let captured = redirection.is_some_and(|value| &**value == "enabled");
    let network = meta.label("topology.istio.io/network").cloned();
    let namespace = world.inputs.namespace(&meta.namespace);
    let encrypt_local = namespace.and_then(|n| n.meta.annotation("ambit.dev/encrypt-local"));
    Workload {
        uid: uid.into(),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        trust_domain: world.settings.trust_domain.clone(),
        cluster_id: world.settings.cluster_id.clone(),
        network: network.unwrap_or_else(|| world.network()),
        protocol: if native_tunnel || captured {
            TunnelProtocol::Hbone
        } else {
            TunnelProtocol::Tcp
        },
        native_tunnel,
        encrypt_local: encrypt_local.is_some_and(|value| &**value == "true"),
        workload_name: meta.name.clone(),
        workload_type: WorkloadType::Pod,
        canonical_name: names::canonical(meta, &meta.name),
        canonical_revision: names::revision(meta),
        authorization_policies: policies::names(world, meta),
        ..Workload::default()
    }
}

/// What an entry says about its workload.
fn outside(base: Workload, entry: &EntryWorkload) -> Workload {
    let (workload_ips, hostname) = match &entry.host {
        EntryHost::Ip(ip) => (vec![*ip], Str::default()),
        EntryHost::Name(name) => (Vec::new(), name.clone()),
        EntryHost::Network => (Vec::new(), Str::default()),
    };
    let network =
        if entry.network.is_empty() { base.network.clone() } else { entry.network.clone() };
    let locality = if entry.locality == Locality::default() {
        base.locality.clone()
    } else {
        entry.locality.clone()
    };
    Workload {
        workload_ips,
        hostname,
        network,
        locality,
        capacity: entry.weight,
        service_account: entry.service_account.clone(),
        ..base
    }
}

/// A newer pod may have an address that this one still names.
fn own_addresses(world: World<'_>, pod: &Pod) -> Result<(), Problem> {
    if pod.host_network {
        return Ok(());
    }
    let key = Key::new(Kind::Pod, pod.meta.namespace.clone(), pod.meta.name.clone());
    let network = pod.meta.label("topology.istio.io/network").cloned().unwrap_or_default();
    for ip in &pod.ips {
        if let Some(owner) = world.inputs.pod_with(&network, *ip).filter(|owner| **owner != key) {
            let message = format!("{ip} is already the address of {owner}; the pod is left out");
            return Err(Problem::new("status.podIP", message));
        }
    }
    Ok(())
}
