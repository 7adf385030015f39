//! All endpoints of a destination at one moment.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ambit_model::{
    GatewayDestination, Identity, NamespacedHostname, NetworkMode, Service, Str, TunnelProtocol,
    Workload,
};
use ambit_state::{Rank, Snapshot};

use super::endpoint::{Dial, Endpoint, Proxy};
use super::settings::{LocalityPattern, Settings};
use super::{Destination, Place, Way};
use crate::labels::KnownLabels;
use crate::rules::Labels;

/// The port on which node proxies and waypoints take HBONE.
const HBONE: u16 = 15008;

/// The endpoints of a destination, nearest first.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    /// Versions of the mesh's state, of the known labels and of the settings that they are from.
    pub(super) version: (u64, u64, u64),
    pub service: Option<Arc<Service>>,
    pub tiers: Vec<Tier>,
    /// Other services that lead to the same ports of the same workloads.
    pub beside: Vec<NamespacedHostname>,
}

/// Endpoints that are equally near.
#[derive(Debug)]
pub(crate) struct Tier {
    rank: (Rank, usize),
    pub members: Vec<Arc<Endpoint>>,
    /// The weight of each member, where it is not its own capacity.
    pub weights: Option<Vec<u64>>,
    /// Whether all members have the same weight.
    pub is_even: bool,
}

#[cfg(test)]
impl Tier {
    pub(super) fn of(members: Vec<Arc<Endpoint>>) -> Self {
        let mut tier = Self::new(Default::default());
        tier.members = members;
        tier.compare();
        tier
    }
}

// === impl Endpoints ===

impl Endpoints {
    pub(crate) fn len(&self) -> usize {
        self.tiers.iter().map(|tier| tier.members.len()).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.tiers.iter().flat_map(|tier| &tier.members)
    }

    /// The workload as an endpoint; it is kept if it is as it was.
    fn of_workload(
        &self,
        workload: Arc<Workload>,
        (ip, port): (IpAddr, u16),
        place: &Place,
    ) -> Arc<Endpoint> {
        let dial = at(&workload, SocketAddr::new(ip, port));
        match self.iter().next().filter(|e| e.is_of(&workload, &dial)) {
            Some(known) => known.clone(),
            None => Arc::new(Endpoint::new(workload, dial, place.workers, Instant::now())),
        }
    }

    /// The endpoints that `snapshot` knows; those that are as they were are kept, with all that is remembered of them.
    pub(super) fn renewed(
        &self,
        of: &Destination,
        snapshot: &Snapshot,
        (labels, settings): (&KnownLabels, &Settings),
        place: &Place,
        version: (u64, u64, u64),
    ) -> Self {
        if let Way::Workload(ip) = of.way {
            let workload = snapshot.workload_at(&place.network, ip);
            let mut beside = Vec::new();
            workload.iter().for_each(|w| add_services(&mut beside, w, of.port));
            let members: Vec<Arc<Endpoint>> =
                workload.into_iter().map(|w| self.of_workload(w, (ip, of.port), place)).collect();
            let tiers = vec![Tier { members, ..Tier::new(Default::default()) }];
            return Self { version, service: None, tiers, beside };
        }
        let Some(service) = snapshot.service(&of.service).cloned() else {
            return Self { version, ..Self::default() };
        };
        let known: HashMap<&Str, &Arc<Endpoint>> = self.iter().map(|e| (&e.uid, e)).collect();
        let own = place.address.and_then(|ip| snapshot.workload_at(&place.network, ip));
        let own = own.unwrap_or_default();
        let now = Instant::now();
        // A gateway leaves to a service's waypoint whatever is to be done for the service.
        let waypoint = (of.way == Way::Waypoint).then(|| waypoint_of(snapshot, &service)).flatten();
        let pool = waypoint.as_ref().unwrap_or(&service);
        let mut tiers: Vec<Tier> = Vec::new();
        let mut beside = Vec::new();
        for candidate in snapshot.endpoints(pool) {
            let workload = candidate.workload();
            let chosen = waypoint.is_some() || has_labels(labels, &workload, &of.labels);
            if workload.capacity == 0 || !chosen {
                continue;
            }
            let Some(rank) = candidate.rank(pool, &own) else { continue };
            let rank = (rank, settings.nearness(&own.locality, &workload.locality));
            let dial = match &waypoint {
                Some(waypoint) => through(waypoint, &workload, &service, of.port),
                None => dial(&service, &workload, of.port),
            };
            let Some(dial) = dial else { continue };
            if let Some(port) = target(&service, &workload, of.port) {
                add_services(&mut beside, &workload, port);
            }
            let endpoint = match known.get(&workload.uid) {
                Some(known) if known.is_of(&workload, &dial) => (*known).clone(),
                _ => Arc::new(Endpoint::new(workload, dial, place.workers, now)),
            };
            match tiers.iter_mut().find(|tier| tier.rank == rank) {
                Some(tier) => tier.members.push(endpoint),
                None => tiers.push(Tier { members: vec![endpoint], ..Tier::new(rank) }),
            }
        }
        tiers.sort_by_key(|tier| std::cmp::Reverse(tier.rank));
        if let Some(shares) = settings.locality.shares(&own.locality) {
            tiers.iter_mut().for_each(|tier| tier.distribute(shares));
            tiers.retain(|tier| !tier.members.is_empty());
        }
        tiers.iter_mut().for_each(Tier::compare);
        beside.retain(|other| *other != of.service);
        Self { version, service: Some(service), tiers, beside }
    }
}

/// Adds the services by which that port of a workload is reached.
fn add_services(found: &mut Vec<NamespacedHostname>, workload: &Workload, port: u16) {
    for (service, ports) in &workload.services {
        if ports.values().any(|target| *target == port) && !found.contains(service) {
            found.push(service.clone());
        }
    }
}

/// The port of `workload` that `port` of `service` leads to.
fn target(service: &Service, workload: &Workload, port: u16) -> Option<u16> {
    let own = workload.services.get(&service.key()).and_then(|ports| ports.get(&port));
    own.or_else(|| service.ports.get(&port)).copied().filter(|port| *port > 0)
}

// === impl Tier ===

impl Tier {
    fn new(rank: (Rank, usize)) -> Self {
        Self { rank, members: Vec::new(), weights: None, is_even: false }
    }

    /// Finds out whether all members count alike.
    fn compare(&mut self) {
        let mut capacities = self.members.iter().map(|endpoint| endpoint.workload.capacity);
        let first = capacities.next();
        self.is_even = self.weights.is_none() && capacities.all(|other| Some(other) == first);
    }

    /// Gives each locality its share, and each endpoint there its part by capacity.
    fn distribute(&mut self, shares: &[(LocalityPattern, u32)]) {
        /// Fine enough for a share of one among many endpoints.
        const UNIT: u64 = 10_000;
        let share_of = |endpoint: &Endpoint| {
            shares.iter().position(|(pattern, _)| pattern.covers(&endpoint.workload.locality))
        };
        self.members.retain(|endpoint| share_of(endpoint).is_some());
        let mut capacities = vec![0_u64; shares.len()];
        for endpoint in &self.members {
            if let Some(capacity) = share_of(endpoint).and_then(|at| capacities.get_mut(at)) {
                *capacity += u64::from(endpoint.workload.capacity);
            }
        }
        let weight = |endpoint: &Arc<Endpoint>| {
            let at = share_of(endpoint)?;
            let whole = u64::from(shares.get(at)?.1) * UNIT;
            Some(whole * u64::from(endpoint.workload.capacity) / (*capacities.get(at)?).max(1))
        };
        self.weights = Some(self.members.iter().map(|e| weight(e).unwrap_or_default()).collect());
    }
}

/// The service of the waypoint that stands in front of `service`.
fn waypoint_of(snapshot: &Snapshot, service: &Service) -> Option<Arc<Service>> {
    let GatewayDestination::Hostname(key) = &service.waypoint.as_ref()?.destination else {
        return None;
    };
    snapshot.service(key).cloned()
}

/// How `port` of `service` is reached through a pod of its waypoint (protocol facts 2.8).
fn through(waypoint: &Service, pod: &Workload, service: &Service, port: u16) -> Option<Dial> {
    let gateway = service.waypoint.as_ref()?;
    let own = pod.services.get(&waypoint.key());
    let target = own.and_then(|ports| ports.get(&gateway.hbone_mtls_port)).copied();
    let proxy = SocketAddr::new(*pod.workload_ips.first()?, target.unwrap_or(HBONE));
    let authority = SocketAddr::new(service.vips.first()?.address, port);
    let identities = vec![pod.identity()];
    Some(Dial::Hbone { proxy, authority, identities, role: Proxy::Waypoint })
}

/// How a workload is reached at an address of its own.
fn at(workload: &Workload, address: SocketAddr) -> Dial {
    if workload.protocol == TunnelProtocol::Hbone {
        let proxy = SocketAddr::new(address.ip(), HBONE);
        let (authority, identities) = (address, vec![workload.identity()]);
        return Dial::Hbone { proxy, authority, identities, role: Proxy::Node };
    }
    Dial::Tcp(address)
}

fn has_labels(known: &KnownLabels, workload: &Workload, wanted: &Labels) -> bool {
    wanted.is_empty()
        || known.get(&workload.uid).is_some_and(|labels| {
            wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        })
}

/// How `workload` is reached for `port` of `service` (protocol facts 2.4).
fn dial(service: &Service, workload: &Workload, port: u16) -> Option<Dial> {
    let target = target(service, workload, port)?;
    let preferred =
        |ip: &&IpAddr| service.ip_families.is_none_or(|families| families.accepts(**ip));
    let ips = &workload.workload_ips;
    let Some(ip) = ips.iter().find(preferred).or(ips.first()) else {
        return (!workload.hostname.is_empty())
            .then(|| Dial::Name(workload.hostname.clone(), target));
    };
    let authority = SocketAddr::new(*ip, target);
    let tunnel = workload.protocol == TunnelProtocol::Hbone
        && workload.network_mode == NetworkMode::Standard;
    if !tunnel {
        return Some(Dial::Tcp(authority));
    }
    let mut identities = vec![workload.identity()];
    identities
        .extend(service.subject_alt_names.iter().filter_map(|san| san.parse::<Identity>().ok()));
    let proxy = SocketAddr::new(*ip, HBONE);
    Some(Dial::Hbone { proxy, authority, identities, role: Proxy::Node })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            namespace: "shop".into(),
            hostname: "web.shop.svc.cluster.local".into(),
            ports: [(80, 8080), (81, 0)].into(),
            subject_alt_names: vec!["spiffe://cluster.local/ns/shop/sa/other".into(), "x".into()],
            ..Service::default()
        }
    }

    fn workload() -> Workload {
        Workload {
            namespace: "shop".into(),
            workload_ips: vec!["10.0.0.1".parse().unwrap()],
            ..Workload::default()
        }
    }

    #[test]
    fn a_pod_of_the_mesh_is_reached_through_its_node() {
        let workload = Workload { protocol: TunnelProtocol::Hbone, ..workload() };
        let Some(Dial::Hbone { proxy, authority, identities, .. }) =
            dial(&service(), &workload, 80)
        else {
            panic!("a tunnel")
        };
        assert_eq!(
            (proxy.to_string(), authority.to_string()),
            ("10.0.0.1:15008".into(), "10.0.0.1:8080".into())
        );
        let names: Vec<String> = identities.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "spiffe://cluster.local/ns/shop/sa/default",
                "spiffe://cluster.local/ns/shop/sa/other"
            ]
        );
    }

    #[test]
    fn others_are_reached_directly() {
        let direct = Dial::Tcp("10.0.0.1:8080".parse().unwrap());
        assert_eq!(dial(&service(), &workload(), 80), Some(direct));
        let node = Workload {
            protocol: TunnelProtocol::Hbone,
            network_mode: NetworkMode::HostNetwork,
            ..workload()
        };
        assert!(matches!(dial(&service(), &node, 80), Some(Dial::Tcp(_))));
        let named =
            Workload { workload_ips: vec![], hostname: "api.example.com".into(), ..workload() };
        assert_eq!(dial(&service(), &named, 80), Some(Dial::Name("api.example.com".into(), 8080)));
    }

    #[test]
    fn an_endpoints_own_target_port_wins_and_without_one_it_takes_no_part() {
        let key: NamespacedHostname = service().key();
        let own =
            Workload { services: [(key, [(80, 9090), (81, 9091)].into())].into(), ..workload() };
        assert_eq!(dial(&service(), &own, 80), Some(Dial::Tcp("10.0.0.1:9090".parse().unwrap())));
        assert_eq!(dial(&service(), &own, 81), Some(Dial::Tcp("10.0.0.1:9091".parse().unwrap())));
        assert_eq!(dial(&service(), &workload(), 81), None);
        assert_eq!(dial(&service(), &workload(), 82), None);
    }
}
