//! Services: those of Kubernetes and those of ServiceEntries.

mod balancing;

use ambit_model::{
    NamespacedHostname, NetworkAddress, NetworkCidr, PortMap, Service as Model, Str, Visibility,
};
use ambit_proto::workload::AppProtocol;
use ambit_xds::encode::{self, Encoded};

use super::waypoints::{self, Bound};
use super::{Output, World};
use crate::watch::kinds::{EntryAddress, Service, ServiceEntry, TargetPort};
use crate::watch::{Key, Kind, Meta, Problem};

/// A Service of Kubernetes.
pub(super) fn service(world: World<'_>, service: &Service) -> Output {
    if service.external_name {
        return Output::default();
    }
    let key = Key::new(Kind::Service, service.meta.namespace.clone(), service.meta.name.clone());
    for ip in &service.cluster_ips {
        if let Some(owner) = world.inputs.service_with(*ip).filter(|owner| **owner != key) {
            let message =
                format!("{ip} is already the address of {owner}; the service is left out");
            return Output::refused(Problem::new("spec.clusterIP", message));
        }
    }
    let mut output = Output::default();
    let balancer = balancing::of_service(world, service, &mut output.problems);
    let network = world.network();
    let ips = service.cluster_ips.iter().chain(&service.ingress_ips);
    let hostname = world.inputs.hostname(&service.meta);
    let mut model = Model {
        name: service.meta.name.clone(),
        namespace: service.meta.namespace.clone(),
        canonical: world.inputs.canonical(&hostname) == Some(&key),
        hostname,
        vips: ips.map(|ip| NetworkAddress::new(network.clone(), *ip)).collect(),
        ports: service.ports.iter().map(|p| (p.port, fixed(&p.target))).collect(),
        load_balancer: balancer,
        ip_families: service.families,
        ..Model::default()
    };
    set_waypoints(&mut model, waypoints::bind_service(world, &service.meta), &mut output);
    let protocols = service.ports.iter().map(|p| (p.port, p.app_protocol));
    output.push(encoded(world, &model, &service.meta, protocols));
    output
}

/// The services of a ServiceEntry, one for each host that is nobody else's in the namespace.
pub(super) fn service_entry(world: World<'_>, entry: &ServiceEntry) -> Output {
    let mut output = Output::default();
    let balancer = balancing::of_entry(world, entry, &mut output.problems);
    let bound = waypoints::bind_entry(world, entry);
    output.problems.extend(bound.refused.iter().map(|refusal| refusal.problem.clone()));
    for (i, host) in entry.hosts.iter().enumerate() {
        if let Err(problem) = owns(world, entry, host) {
            output.problems.push(problem.within(&format!("spec.hosts[{i}]")));
            continue;
        }
        let (vips, cidr_vips) = addresses(world, entry, host);
        let key = entry_key(&entry.meta);
        let mut model = Model {
            name: entry.meta.name.clone(),
            namespace: entry.meta.namespace.clone(),
            hostname: host.clone(),
            vips,
            cidr_vips,
            ports: entry.ports.iter().map(|p| (p.number, p.target)).collect(),
            subject_alt_names: entry.subject_alt_names.clone(),
            load_balancer: balancer.clone(),
            canonical: world.inputs.canonical(host) == Some(&key),
            visibility: if entry.private { Visibility::Namespace } else { Visibility::Public },
            ..Model::default()
        };
        // Behind a wildcard a waypoint could not tell where to go.
        if !host.starts_with('*') {
            let Bound { waypoint, weighted, .. } = &bound;
            (model.waypoint, model.weighted_waypoints) = (waypoint.clone(), weighted.clone());
        }
        let protocols = entry.ports.iter().map(|p| (p.number, p.app_protocol));
        output.push(encoded(world, &model, &entry.meta, protocols));
    }
    output
}

/// The hosts of `entry` that are its own.
pub(super) fn hosts<'a>(
    world: World<'a>,
    entry: &'a ServiceEntry,
) -> impl Iterator<Item = NamespacedHostname> + 'a {
    let own = entry.hosts.iter().filter(move |host| owns(world, entry, host).is_ok());
    own.map(|host| NamespacedHostname::new(entry.meta.namespace.clone(), host.clone()))
}

/// The ports of a service as its endpoints have them; a named port is whatever `named` makes of it, or missing.
pub(super) fn endpoint_ports(service: &Service, named: impl Fn(&str) -> Option<u16>) -> PortMap {
    let target = |target: &TargetPort| match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => named(name),
    };
    service.ports.iter().filter_map(|p| Some((p.port, target(&p.target)?))).collect()
}

fn owns(world: World<'_>, entry: &ServiceEntry, host: &Str) -> Result<(), Problem> {
    let key = entry_key(&entry.meta);
    match world.inputs.owner_of(&entry.meta.namespace, host).filter(|owner| **owner != key) {
        None => Ok(()),
        Some(owner) => {
            let message = format!("{host} is already the host of {owner}; this one is left out");
            Err(Problem::new("", message))
        }
    }
}

fn entry_key(meta: &Meta) -> Key {
    Key::new(Kind::ServiceEntry, meta.namespace.clone(), meta.name.clone())
}

fn addresses(
    world: World<'_>,
    entry: &ServiceEntry,
    host: &Str,
) -> (Vec<NetworkAddress>, Vec<NetworkCidr>) {
    let network = world.network();
    let (mut single, mut ranges) = (Vec::new(), Vec::new());
    for address in &entry.addresses {
        match address {
            EntryAddress::Ip(ip) => single.push(NetworkAddress::new(network.clone(), *ip)),
            EntryAddress::Range(range) => ranges.push(NetworkCidr::new(network.clone(), *range)),
        }
    }
    let allocated = world.inputs.allocated(&entry.meta, host).into_iter().flatten();
    single.extend(allocated.map(|ip| NetworkAddress::new(network.clone(), ip)));
    (single, ranges)
}

fn fixed(target: &TargetPort) -> u16 {
    match target {
        TargetPort::Number(number) => *number,
        TargetPort::Name(_) => 0,
    }
}

fn set_waypoints(model: &mut Model, bound: Bound, output: &mut Output) {
    model.waypoint = bound.waypoint;
    model.weighted_waypoints = bound.weighted;
    output.problems.extend(bound.refused.map(|refusal| refusal.problem));
}

/// The message of `model` with what only the wire knows.
fn encoded(
    world: World<'_>,
    model: &Model,
    meta: &Meta,
    protocols: impl Iterator<Item = (u16, AppProtocol)>,
) -> Encoded {
    let mut message = encode::service(model);
    for (number, protocol) in protocols {
        for port in message.ports.iter_mut().filter(|p| p.service_port == u32::from(number)) {
            port.app_protocol = protocol.into();
        }
    }
    let label = "istio.io/ingress-use-waypoint";
    let namespace = world.inputs.namespace(&meta.namespace);
    let flag = meta.label(label).or_else(|| namespace?.meta.label(label));
    message.ingress_use_waypoint = flag.is_some_and(|value| &**value == "true");
    Encoded::service(message)
}
