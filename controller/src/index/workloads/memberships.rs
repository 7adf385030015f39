//! The services a workload stands behind.

use std::collections::BTreeMap;

use ambit_model::{NamespacedHostname, PortMap, Str};

use crate::index::{World, services};
use crate::watch::kinds::{EndpointSlice, Resolution};
use crate::watch::{Key, Kind, Meta};

/// The services a workload stands behind, with its own ports.
pub(super) type Memberships = BTreeMap<NamespacedHostname, PortMap>;

/// The services that select a workload or have been given it, with the ports that it has for them: `named` finds the target ports that are
/// names, `own` the numbers that the workload itself gives to ports of services.
pub(super) fn memberships(
    world: World<'_>,
    (kind, meta): (Kind, &Meta),
    named: &dyn Fn(&str) -> Option<u16>,
    own: &BTreeMap<Str, u16>,
) -> Memberships {
    let mut shares = Memberships::new();
    for service in world.inputs.services(&meta.namespace) {
        let selects = !service.selector.is_empty() && service.selector.matches(&meta.labels);
        if !selects || service.external_name {
            continue;
        }
        let mut ports = services::endpoint_ports(service, named);
        for port in &service.ports {
            if let Some(number) = own.get(&port.name) {
                ports.insert(port.port, *number);
            }
        }
        let hostname = world.inputs.hostname(&service.meta);
        shares.insert(NamespacedHostname::new(meta.namespace.clone(), hostname), ports);
    }
    for slice in world.inputs.slices_of(&Key::new(kind, meta.namespace.clone(), meta.name.clone()))
    {
        if let Some((host, ports)) = slice_ports(world, slice) {
            shares.entry(host).or_insert(ports);
        }
    }
    for entry in world.inputs.service_entries(&meta.namespace) {
        let selector = entry.selector.as_ref().filter(|s| !s.is_empty());
        if !selector.is_some_and(|s| s.matches(&meta.labels))
            || entry.resolution == Resolution::None
        {
            continue;
        }
        let target = |name: &Str, target| own.get(name).copied().unwrap_or(target);
        let ports: PortMap =
            entry.ports.iter().map(|p| (p.number, target(&p.name, p.target))).collect();
        shares.extend(services::hosts(world, entry).map(|host| (host, ports.clone())));
    }
    shares
}

/// The service of an EndpointSlice, with the ports that the endpoints have for it.
pub(super) fn slice_ports(
    world: World<'_>,
    slice: &EndpointSlice,
) -> Option<(NamespacedHostname, PortMap)> {
    let service = world.inputs.service(&slice.meta.namespace, &slice.service)?;
    if service.external_name {
        return None;
    }
    let behind = |name: &Str| slice.ports.iter().find(|p| p.name == *name).map(|p| p.port);
    let ports = service.ports.iter().filter_map(|p| Some((p.port, behind(&p.name)?))).collect();
    let hostname = world.inputs.hostname(&service.meta);
    Some((NamespacedHostname::new(slice.meta.namespace.clone(), hostname), ports))
}
