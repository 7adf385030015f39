//! The order of decisions: table 2.4 of the protocol facts, row by row.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_model::{GatewayAddress, Service, TunnelProtocol};

use super::candidate::{Candidate, Purpose, Search, is_passthrough};
use super::hop::{Hop, Leg};
use super::request::Request;
use crate::balance::sample;
use crate::group::Viewpoint;
use crate::record::Record;
use crate::{Refusal, Snapshot};

/// Where a connection goes, in terms of the snapshot.
#[derive(Debug)]
pub(crate) enum Route<'a> {
    /// To its original destination, which may belong to a PASSTHROUGH service.
    Passthrough(Option<&'a Arc<Service>>),
    /// To a workload.
    Dial {
        /// The one to dial.
        record: &'a Arc<Record>,
        /// The one that is meant, where it is known.
        destination: Option<&'a Arc<Record>>,
        /// The service that was addressed.
        service: Option<&'a Arc<Service>>,
        hop: Hop,
    },
}

/// How many endpoints are considered when the way to one turns out to be closed.
const ATTEMPTS: usize = 16;

/// Decides where `request` goes.
pub(crate) fn route<'a>(
    snapshot: &'a Snapshot,
    request: &Request<'_>,
    rng: &mut impl rand::Rng,
) -> Result<Route<'a>, Refusal> {
    if request.is_loop() {
        return Err(Refusal::SelfCall(request.destination));
    }
    let Request { source, tried, .. } = *request;
    let wanted = request.wanted();
    let workload = snapshot.workloads.at(&source.network, wanted.ip());
    let from = Viewpoint::of(&source.namespace);
    let service = snapshot.services.vips.at(&source.network, wanted.ip(), from);
    // In the waypoint step a workload with that address wins over the service, in the endpoint step the service does.
    let addressed = service.filter(|_| workload.is_none());
    let search = Search { snapshot, source, tried, excluded: Vec::new() };
    let router = Router { search, request, wanted, addressed };

    if let Some(service) = addressed
        && let Some(waypoint) = waypoint_of(service, rng)
    {
        return router.service_waypoint(service, waypoint, rng);
    }
    match (service, workload) {
        (Some(service), _) if is_passthrough(service) => Ok(Route::Passthrough(Some(service))),
        (Some(service), _) => router.service(service, rng),
        (None, Some(record)) => {
            let port = wanted.port();
            router.local(Candidate { record, port, service: None, wanted }, rng)
        }
        (None, None) => Ok(Route::Passthrough(None)),
    }
}

/// The waypoint in front of a service: one of several by weight, else the single one.
fn waypoint_of<'a>(service: &'a Service, rng: &mut impl rand::Rng) -> Option<&'a GatewayAddress> {
    let weighted = service.weighted_waypoints.iter().map(|w| (w.weight, &w.destination));
    sample(weighted, rng).or(service.waypoint.as_ref())
}

struct Router<'a, 'r> {
    search: Search<'a, 'r>,
    request: &'r Request<'r>,
    wanted: SocketAddr,
    /// The service, where the destination is its address and no workload's.
    addressed: Option<&'a Arc<Service>>,
}

// === impl Router ===

impl<'a> Router<'a, '_> {
    /// Rows 1 and 2: through the waypoint of a service.
    fn service_waypoint<R: rand::Rng>(
        &self,
        service: &'a Arc<Service>,
        waypoint: &GatewayAddress,
        rng: &mut R,
    ) -> Result<Route<'a>, Refusal> {
        self.first_open(
            rng,
            |search, rng| search.behind(waypoint, self.wanted, Purpose::Waypoint, rng),
            |candidate, rng| match self.search.is_remote(candidate.record) {
                true => self.remote(candidate, service, rng),
                false => self.through(candidate, Some(service)),
            },
        )
        .map_err(|refusal| {
            refusal.unwrap_or_else(|| Refusal::unknown_waypoint(waypoint, &service.key()))
        })
    }

    /// Rows 3, 4, 5 and 8: to an endpoint of a service.
    fn service<R: rand::Rng>(
        &self,
        service: &'a Arc<Service>,
        rng: &mut R,
    ) -> Result<Route<'a>, Refusal> {
        self.first_open(
            rng,
            |search, rng| search.endpoint(service, self.wanted, Purpose::Endpoint, rng),
            |candidate, rng| match self.search.is_remote(candidate.record) {
                true => self.remote(candidate, service, rng),
                false => self.local(candidate, rng),
            },
        )
        .map_err(|refusal| {
            refusal.unwrap_or_else(|| Refusal::no_upstream(service, self.wanted.port()))
        })
    }

    /// Rows 3, 4, 6 and 7: to a workload of this network, through its waypoint if it was not called as a service.
    fn local<R: rand::Rng>(
        &self,
        candidate: Candidate<'a>,
        rng: &mut R,
    ) -> Result<Route<'a>, Refusal> {
        let Candidate { record, port, service, .. } = candidate;
        if self.addressed.is_none()
            && let Some(waypoint) = record.shape.waypoint()
            && !self.comes_from(waypoint)
        {
            return self.workload_waypoint(candidate, waypoint, rng);
        }
        if self.search.rules_out(record) {
            return Err(Refusal::Exhausted(record.uid()));
        }
        let hop = candidate.hop(match record.shape.protocol {
            TunnelProtocol::Tcp => Leg::Tcp { port },
            TunnelProtocol::Hbone => Leg::Hbone { port, identities: candidate.identities() },
        })?;
        Ok(Route::Dial { record, destination: Some(record), service, hop })
    }

    /// Row 6: through the waypoint of a workload.
    fn workload_waypoint<R: rand::Rng>(
        &self,
        target: Candidate<'a>,
        waypoint: &GatewayAddress,
        rng: &mut R,
    ) -> Result<Route<'a>, Refusal> {
        self.first_open(
            rng,
            |search, rng| search.behind(waypoint, self.wanted, Purpose::Waypoint, rng),
            |candidate, _| match self.search.is_remote(candidate.record) {
                // Only traffic to services crosses networks.
                true => Err(Refusal::NoGateway(candidate.record.uid())),
                false => self.through(candidate, target.service),
            },
        )
        .map_err(|refusal| {
            refusal.unwrap_or_else(|| Refusal::unknown_waypoint(waypoint, &target.record.uid()))
        })
    }

    /// To a waypoint of this network.
    fn through(
        &self,
        waypoint: Candidate<'a>,
        service: Option<&'a Arc<Service>>,
    ) -> Result<Route<'a>, Refusal> {
        let Candidate { record, port, .. } = waypoint;
        let identities = waypoint.identities();
        let hop = waypoint.hop(Leg::Waypoint { port, authority: self.wanted, identities })?;
        Ok(Route::Dial { record, destination: None, service, hop })
    }

    /// Rows 2 and 5: to a workload of another network, through that network's gateway (protocol facts 2.7).
    fn remote(
        &self,
        candidate: Candidate<'a>,
        service: &'a Arc<Service>,
        rng: &mut impl rand::Rng,
    ) -> Result<Route<'a>, Refusal> {
        let uid = || candidate.record.uid();
        let Some(address) = candidate.record.shape.network_gateway() else {
            return Err(Refusal::NoGateway(uid()));
        };
        let identities = candidate.service_identities();
        if identities.is_empty() {
            return Err(Refusal::NoRemoteIdentity { workload: uid() });
        }
        let gateway =
            self.search.behind(address, self.wanted, Purpose::Gateway, rng).ok_or_else(|| {
                Refusal::UnknownGateway {
                    gateway: address.destination.to_string().into(),
                    workload: uid(),
                }
            })?;
        let hop = gateway.hop(Leg::DoubleHbone {
            port: gateway.port,
            gateway_identities: gateway.identities(),
            authority: format!("{}:{}", service.hostname, self.wanted.port()),
            identities,
        })?;
        Ok(Route::Dial {
            record: gateway.record,
            destination: Some(candidate.record),
            service: Some(service),
            hop,
        })
    }

    /// Whether the connection comes from that very waypoint: by its identity and from its address.
    fn comes_from(&self, waypoint: &GatewayAddress) -> bool {
        let source = self.request.source;
        let (identity, ip) = (source.identity(), self.request.source_ip.to_canonical());
        self.search.snapshot.any_behind(waypoint, |record| {
            record.has_identity(&identity) && record.addresses().contains(&ip)
        })
    }

    /// The route to the first candidate that has one. The error is that of the first candidate, if there was any.
    fn first_open<R: rand::Rng>(
        &self,
        rng: &mut R,
        find: impl Fn(&Search<'a, '_>, &mut R) -> Option<Candidate<'a>>,
        open: impl Fn(Candidate<'a>, &mut R) -> Result<Route<'a>, Refusal>,
    ) -> Result<Route<'a>, Option<Refusal>> {
        let mut search = self.search.clone();
        let mut first = None;
        for _ in 0..ATTEMPTS {
            let Some(candidate) = find(&search, rng) else {
                break;
            };
            match open(candidate, rng) {
                Ok(route) => return Ok(route),
                Err(refusal) => {
                    first.get_or_insert(refusal);
                    search.excluded.push(candidate.record);
                }
            }
        }
        Err(first)
    }
}
