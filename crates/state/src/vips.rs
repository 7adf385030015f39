//! The virtual addresses of one network: single ones and ranges.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{NetworkAddress, NetworkCidr, Service, Str};
use imbl::OrdMap;
use ipnet::IpNet;

use crate::group::{Group, Viewpoint, best, join, leave};

/// The virtual addresses of all networks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vips {
    networks: OrdMap<Str, Network>,
}

#[derive(Clone, Debug, Default)]
struct Network {
    single: OrdMap<IpAddr, Group>,
    ranges: OrdMap<IpNet, Group>,
    /// How many ranges have a prefix of that length; IPv6 apart from IPv4.
    lengths: OrdMap<(bool, u8), usize>,
}

// === impl Vips ===

impl Vips {
    /// The services with exactly that virtual address.
    pub(crate) fn exactly(&self, network: &str, ip: IpAddr) -> &[Arc<Service>] {
        let group = self.networks.get(network).and_then(|network| network.single.get(&ip));
        group.map_or(&[], |group| group.as_slice())
    }

    /// The services of each range around an address, with the length of its prefix, shortest first.
    pub(crate) fn ranges(
        &self,
        network: &str,
        ip: IpAddr,
    ) -> impl Iterator<Item = (u8, &[Arc<Service>])> {
        self.networks.get(network).into_iter().flat_map(move |network| network.around(ip))
    }

    /// The best visible service behind an address: exact addresses first; then, of the ranges around it, those of the
    /// client's namespace, the longest prefix, the canonical service.
    pub(crate) fn at(
        &self,
        network: &str,
        ip: IpAddr,
        from: Viewpoint<'_>,
    ) -> Option<&Arc<Service>> {
        best(self.exactly(network, ip), from).or_else(|| {
            self.ranges(network, ip)
                .flat_map(|(length, services)| services.iter().map(move |s| (length, s)))
                .filter(|(_, service)| service.visible_to(from.namespace))
                .map(|(length, s)| ((&*s.namespace == from.namespace, length, s.canonical), s))
                // `max_by_key` would take the last of equals.
                .reduce(|best, next| if next.0 > best.0 { next } else { best })
                .map(|(_, service)| service)
        })
    }

    pub(crate) fn insert(&mut self, service: &Arc<Service>) {
        for NetworkAddress { network, address } in vips_of(service) {
            let network = self.networks.entry(network).or_default();
            join(&mut network.single, address.to_canonical(), service);
        }
        for NetworkCidr { network, cidr } in ranges_of(service) {
            let network = self.networks.entry(network).or_default();
            join(&mut network.ranges, cidr, service);
            *network.lengths.entry(length_of(&cidr)).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, service: &Arc<Service>) {
        for NetworkAddress { network: name, address } in vips_of(service) {
            let Some(network) = self.networks.get_mut(&name) else {
                continue;
            };
            leave(&mut network.single, &address.to_canonical(), service);
            self.forget_if_empty(&name);
        }
        for NetworkCidr { network: name, cidr } in ranges_of(service) {
            let Some(network) = self.networks.get_mut(&name) else {
                continue;
            };
            leave(&mut network.ranges, &cidr, service);
            match network.lengths.get_mut(&length_of(&cidr)) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    network.lengths.remove(&length_of(&cidr));
                }
            }
            self.forget_if_empty(&name);
        }
    }

    fn forget_if_empty(&mut self, name: &str) {
        if self.networks.get(name).is_some_and(|n| n.single.is_empty() && n.ranges.is_empty()) {
            self.networks.remove(name);
        }
    }
}

// === impl Network ===

impl Network {
    fn around(&self, ip: IpAddr) -> impl Iterator<Item = (u8, &[Arc<Service>])> {
        let v6 = ip.is_ipv6();
        self.lengths.range((v6, 0)..=(v6, u8::MAX)).filter_map(move |((_, length), _)| {
            let range = IpNet::new(ip, *length).ok()?.trunc();
            Some((*length, self.ranges.get(&range)?.as_slice()))
        })
    }
}

fn vips_of(service: &Service) -> Vec<NetworkAddress> {
    let mut vips = service.vips.clone();
    vips.sort();
    vips.dedup();
    vips
}

/// The ranges of a service with their host bits cleared.
fn ranges_of(service: &Service) -> Vec<NetworkCidr> {
    let trunc = |vip: &NetworkCidr| NetworkCidr::new(vip.network.clone(), vip.cidr.trunc());
    let mut ranges: Vec<_> = service.cidr_vips.iter().map(trunc).collect();
    ranges.sort();
    ranges.dedup();
    ranges
}

fn length_of(range: &IpNet) -> (bool, u8) {
    (matches!(range, IpNet::V6(_)), range.prefix_len())
}
