//! Workloads that could take the connection: behind a service, a waypoint or a gateway.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ambit_model::{
    GatewayAddress, GatewayDestination, Identity, LoadBalancerMode, NamespacedHostname, Service,
    Str, Workload,
};

use super::hop::{Hop, Leg, Unresolved};
use crate::group::Viewpoint;
use crate::record::Record;
use crate::{Refusal, Snapshot, balance};

/// A workload to dial, and the port of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) record: &'a Arc<Record>,
    pub(crate) port: u16,
    /// The service through which it was found.
    pub(crate) service: Option<&'a Arc<Service>>,
    /// The address it was looked for under, for the choice among its own.
    pub(crate) wanted: SocketAddr,
}

/// What a candidate is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is the destination.
    Endpoint,
    /// It is a waypoint: with an application tunnel, its service need not know the port (protocol facts 2.8).
    Waypoint,
    /// It is a gateway to another network: that it is on that network is no obstacle.
    Gateway,
}

/// Who looks for candidates, and which of them are out of the question.
#[derive(Clone, Debug)]
pub(crate) struct Search<'a, 's> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) source: &'s Workload,
    pub(crate) tried: &'s [Str],
    pub(crate) excluded: Vec<&'a Arc<Record>>,
}

// === impl Search ===

impl<'a> Search<'a, '_> {
    /// Chooses an endpoint of `service` for `wanted`, whose port is a service port.
    pub(crate) fn endpoint(
        &self,
        service: &'a Arc<Service>,
        wanted: SocketAddr,
        purpose: Purpose,
        rng: &mut impl rand::Rng,
    ) -> Option<Candidate<'a>> {
        let port = TargetPort::of(service, wanted.port(), purpose);
        let usable = self.snapshot.eligible(service).filter(|record| {
            !self.rules_out(record)
                && self.can_reach(record, service, purpose)
                && port.is_known(record)
        });
        let record = balance::choose(service.load_balancer.as_ref(), self.source, usable, rng)?;
        Some(Candidate { record, port: port.on(record)?, service: Some(service), wanted })
    }

    /// Chooses a workload behind a gateway address. `original` is the client's destination: its family is preferred
    /// where the gateway is named and not addressed.
    pub(crate) fn behind(
        &self,
        gateway: &GatewayAddress,
        original: SocketAddr,
        purpose: Purpose,
        rng: &mut impl rand::Rng,
    ) -> Option<Candidate<'a>> {
        let port = gateway.hbone_mtls_port;
        let Snapshot { services, workloads, .. } = self.snapshot;
        let (service, workload, ip) = match &gateway.destination {
            GatewayDestination::Address(at) => {
                let ip = at.address.to_canonical();
                let from = Viewpoint::of(&self.source.namespace);
                (services.vips.at(&at.network, ip, from), workloads.at(&at.network, ip), ip)
            }
            GatewayDestination::Hostname(key) => {
                (services.get(key), workloads.by_hostname(key), original.ip())
            }
        };
        let wanted = SocketAddr::new(ip, port);
        match (service, workload) {
            (Some(service), _) if is_passthrough(service) => None,
            (Some(service), _) => self.endpoint(service, wanted, purpose, rng),
            (None, Some(record)) if !self.rules_out(record) => {
                Some(Candidate { record, port, service: None, wanted })
            }
            (None, _) => None,
        }
    }

    pub(crate) fn rules_out(&self, record: &Record) -> bool {
        self.tried.iter().any(|uid| record.has_uid(uid))
            || self.excluded.iter().any(|other| std::ptr::eq(Arc::as_ptr(other), record))
    }

    /// Whether there is any way to the endpoint: an address that the service's families allow, a hostname, or, from
    /// another network, a gateway.
    fn can_reach(&self, record: &Record, service: &Service, purpose: Purpose) -> bool {
        if purpose != Purpose::Gateway && self.is_remote(record) {
            return record.shape.network_gateway().is_some();
        }
        record.shape.hostname().is_some()
            || record.addresses().iter().any(|ip| accepts(service, *ip))
    }

    /// Whether the workload is on another network than the client.
    pub(crate) fn is_remote(&self, record: &Record) -> bool {
        record.shape.network != self.source.network
    }
}

pub(crate) fn is_passthrough(service: &Service) -> bool {
    let balancer = service.load_balancer.as_ref();
    balancer.is_some_and(|balancer| balancer.mode == LoadBalancerMode::Passthrough)
}

fn accepts(service: &Service, ip: IpAddr) -> bool {
    service.ip_families.is_none_or(|families| families.accepts(ip))
}

/// What endpoints have behind a service port: their own mapping, else the service's, if that has a number.
struct TargetPort {
    service: NamespacedHostname,
    port: u16,
    /// 0 where every endpoint has its own.
    of_service: Option<u16>,
    purpose: Purpose,
}

// === impl TargetPort ===

impl TargetPort {
    fn of(service: &Service, port: u16, purpose: Purpose) -> Self {
        let of_service = service.ports.get(&port).copied();
        Self { service: service.key(), port, of_service, purpose }
    }

    /// Whether the endpoint has one; without a look at the endpoint where the service answers for all.
    fn is_known(&self, record: &Record) -> bool {
        self.of_service.is_some_and(|target| target > 0) || self.on(record).is_some()
    }

    fn on(&self, record: &Record) -> Option<u16> {
        let tunnelled = self.purpose == Purpose::Waypoint && record.shape.has_application_tunnel();
        if self.of_service.is_none() && !tunnelled {
            return None;
        }
        let own = record.shape.port(&self.service, self.port);
        own.or(self.of_service.filter(|target| *target > 0)).or(tunnelled.then_some(self.port))
    }
}

// === impl Candidate ===

impl Candidate<'_> {
    /// The hop to it: by one of its addresses, else by its hostname.
    pub(crate) fn hop(&self, leg: Leg) -> Result<Hop, Refusal> {
        let Self { record, wanted, .. } = self;
        if let Some(ip) = self.address() {
            return Ok(leg.at(ip));
        }
        let host = record.shape.hostname().ok_or_else(|| Refusal::NoAddress(record.uid()))?.clone();
        Ok(Hop::Hostname(Unresolved { host, prefer_ipv6: wanted.is_ipv6(), leg }))
    }

    /// The very address it was looked for under, else the first that the service's families allow, best of the family
    /// that was asked for (protocol facts 7, "Pod IP choice").
    fn address(&self) -> Option<IpAddr> {
        let (ips, wanted) = (self.record.addresses(), self.wanted.ip());
        if ips.contains(&wanted) {
            return Some(wanted);
        }
        let allowed = || {
            let accepted = |ip: &&IpAddr| self.service.is_none_or(|service| accepts(service, **ip));
            ips.iter().filter(accepted)
        };
        allowed().find(|ip| ip.is_ipv4() == wanted.is_ipv4()).or_else(|| allowed().next()).copied()
    }

    /// The identities it may have: its own, and those the service names.
    pub(crate) fn identities(&self) -> Vec<Identity> {
        let own = self.record.identity();
        let mut identities = self.service_identities();
        identities.retain(|identity| *identity != own);
        identities.insert(0, own);
        identities
    }

    /// The identities the service names. Names that are no SPIFFE identities are passed over.
    pub(crate) fn service_identities(&self) -> Vec<Identity> {
        let names = self.service.map_or(&[][..], |service| &service.subject_alt_names);
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }
}
