//! A client's connection: who opened it, what for, and what that means for everything on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ambit_hbone::{Baggage, ConnectHeaders, Forwarded};
use ambit_lifecycle::Drain;
use ambit_model::{Identity, Str, Workload};
use ambit_telemetry::{ConnectionSecurity, PeerLabels};
use http::HeaderValue;
use xxhash_rust::xxh64::xxh64;

use crate::context::Local;
use crate::rules::Caller;
use crate::series::KnownSeries;
use crate::target::Target;
use crate::upstream;

/// A connection that a client opened, and everything about it that its requests share.
pub(crate) struct Connection {
    pub local: Arc<Local>,
    pub drain: Drain,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    pub target: Target,
    pub caller: Caller,
    /// How metrics name the client.
    pub labels: PeerLabels,
    pub security: ConnectionSecurity,
    /// On whose behalf its requests are sent on.
    pub source: upstream::Source,
    pub scheme: &'static str,
    /// The client's address, as endpoints of gateways are told it.
    pub forwarded_for: Option<HeaderValue>,
    /// The metric series that its requests were counted in.
    pub series: KnownSeries,
}

/// What is known of a client before its connection is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub address: SocketAddr,
    pub identity: Option<Identity>,
    pub workload: Option<Arc<Workload>>,
    pub baggage: Option<Baggage>,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(local: Arc<Local>, drain: Drain, client: Client, target: Target) -> Self {
        let context = &local.context;
        let caller = client.caller(context);
        let labels = client.labels();
        let source = client.source(&target);
        let destination = match &target {
            Target::Workload { address, .. } => *address,
            Target::Front { port, .. } => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port),
            Target::Service { service, port } => {
                let vip = service.vips.first().map(|vip| vip.address);
                SocketAddr::new(vip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), *port)
            }
        };
        Self {
            peer: client.address,
            destination,
            security: match client.identity {
                Some(_) => ConnectionSecurity::MutualTls,
                None => ConnectionSecurity::Unknown,
            },
            local,
            drain,
            scheme: match &target {
                Target::Front { name: Some(_), .. } => "https",
                _ => "http",
            },
            forwarded_for: match &target {
                Target::Front { .. } => {
                    HeaderValue::try_from(client.address.ip().to_canonical().to_string()).ok()
                }
                _ => None,
            },
            target,
            caller,
            labels,
            source,
            series: KnownSeries::default(),
        }
    }
}

impl Connection {
    /// Whether a gateway of the mesh opened it, as its certificate proves. Not kept: the peer's record may arrive later
    /// than its connection.
    pub(crate) fn is_from_gateway(&self) -> bool {
        let context = &self.local.context;
        let Some(identity) = &self.caller.identity else { return false };
        let workload =
            context.state.snapshot().workload_at(&context.config.node.network, self.peer.ip());
        workload.is_some_and(|workload| {
            workload.identity() == *identity && context.labels.is_gateway(&workload.uid)
        })
    }

    /// The name that TLS was opened for.
    pub(crate) fn sni(&self) -> Option<&str> {
        match &self.target {
            Target::Front { name, .. } => name.as_deref().filter(|name| !name.is_empty()),
            _ => None,
        }
    }
}

// === impl Client ===

impl Client {
    fn caller(&self, context: &crate::context::Context) -> Caller {
        // A workload that is found by an address counts only if it is who the certificate says.
        let workload = self.proven_workload();
        let namespace: Option<Str> = match &self.identity {
            Some(identity) => Some(identity.namespace.clone()),
            None => workload.map(|workload| workload.namespace.clone()),
        };
        let labels = workload.and_then(|workload| context.labels.get(&workload.uid));
        Caller { identity: self.identity.clone(), namespace, labels }
    }

    fn proven_workload(&self) -> Option<&Arc<Workload>> {
        self.workload.as_ref().filter(|workload| {
            self.identity.as_ref().is_none_or(|identity| workload.identity() == *identity)
        })
    }

    fn labels(&self) -> PeerLabels {
        let labels = match (self.proven_workload(), &self.baggage) {
            (Some(workload), _) => PeerLabels::from_workload(workload),
            (None, Some(baggage)) => {
                let text = |value: &Option<String>| value.as_deref().into();
                PeerLabels {
                    workload: text(&baggage.workload),
                    canonical_service: text(&baggage.service),
                    canonical_revision: text(&baggage.revision),
                    namespace: text(&baggage.namespace),
                    app: text(&baggage.service),
                    cluster: text(&baggage.cluster),
                    region: text(&baggage.region),
                    zone: text(&baggage.zone),
                    ..PeerLabels::default()
                }
            }
            (None, None) => PeerLabels::default(),
        };
        match &self.identity {
            Some(identity) => labels.with_principal(identity.to_string().as_str()),
            None => labels,
        }
    }

    /// What endpoints' node proxies are told: the workload that really asks, and for which service.
    fn source(&self, target: &Target) -> upstream::Source {
        let baggage = match (self.proven_workload(), &self.baggage) {
            (Some(workload), _) => baggage_of(workload).to_header(),
            (None, Some(baggage)) => baggage.to_header(),
            (None, None) => None,
        };
        let host = target.service().map(|service| service.hostname.to_string());
        let key = baggage.as_ref().map_or(0, |baggage| xxh64(baggage.as_bytes(), 0));
        let forwarded = Forwarded { source: self.address, host }.to_header();
        let headers = ConnectHeaders { baggage, forwarded, ..ConnectHeaders::default() };
        upstream::Source { headers, key }
    }
}

fn baggage_of(workload: &Workload) -> Baggage {
    let text = |text: &Str| (!text.is_empty()).then(|| text.to_string());
    Baggage {
        cluster: text(&workload.cluster_id),
        namespace: text(&workload.namespace),
        workload_type: Some(workload.workload_type.as_str().to_owned()),
        workload: text(&workload.workload_name),
        service: text(&workload.canonical_name),
        revision: text(&workload.canonical_revision),
        region: text(&workload.locality.region),
        zone: text(&workload.locality.zone),
    }
}
