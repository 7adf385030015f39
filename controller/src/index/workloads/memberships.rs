//! The services a workload stands behind.

use std::collections::BTreeMap;

use ambit_model::{NamespacedHostname, PortMap, Str};

use crate::index::{World, services};
use crate::watch::Meta;
use crate::watch::kinds::Resolution;

/// The services a workload stands behind, with its own ports.
pub(super) type Memberships = BTreeMap<NamespacedHostname, PortMap>;

/// The services that select a workload, with the ports that it has for them: `named` finds the target ports that are
/// names, `own` the numbers that the workload itself gives to ports of services.
pub(super) fn memberships(
    world: World<'_>,
    meta: &Meta,
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
