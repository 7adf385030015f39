//! What is known of a connection, and what metrics and the access log tell of it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use ambit_hbone::{Authority, Baggage};
use ambit_model::{Identity, Service, Workload};
use ambit_net::Counters;
use ambit_policy::Facts;
use ambit_telemetry::{
    AccessLog, AccessPeer, ConnectionSecurity, Direction, LabelValue, Outcome, PeerLabels,
    Reporter, ResponseFlags, ServiceLabels, TrafficLabels, TrafficMetrics,
};
use ambit_tunnel::PoolKey;

/// Everything known about a connection when it opens; boxed, so that tasks stay small.
pub(crate) struct Flow {
    pub direction: Direction,
    pub source: Party,
    pub destination: Party,
    /// The `:authority` of its CONNECT.
    pub authority: Option<String>,
    /// The application of an inbound connection, which policy is asked about.
    pub application: Option<SocketAddr>,
    /// The service that was called.
    pub service: Option<Arc<Service>>,
    pub security: ConnectionSecurity,
    /// How dumps call the way the bytes take.
    pub protocol: &'static str,
    /// Bytes moved: `a` is the side that opened the connection.
    pub counters: Arc<Counters>,
}

/// One end of a connection.
#[derive(Clone)]
pub(crate) struct Party {
    pub address: SocketAddr,
    pub workload: Option<Arc<Workload>>,
    /// As proved by TLS or by the pod's network namespace.
    pub identity: Option<Identity>,
    /// What the peer's proxy says of it, used where there is no workload.
    pub baggage: Option<Box<Baggage>>,
}

// === impl Flow ===

impl Flow {
    /// What policy is asked about; outbound connections are not asked about here.
    pub(crate) fn facts(&self) -> Option<Facts<'_>> {
        Some(Facts {
            source_ip: self.source.address.ip(),
            source_identity: self.source.identity.as_ref(),
            destination: self.application?,
        })
    }

    /// Counts and logs the connection as one that never opened.
    pub(crate) fn refuse(
        &self,
        metrics: &TrafficMetrics,
        flags: ResponseFlags,
        error: &dyn Display,
    ) {
        metrics.open(&self.labels()).close(flags);
        self.with_log(|log| {
            log.complete(Outcome {
                bytes_sent: 0,
                bytes_recv: 0,
                duration: std::time::Duration::ZERO,
                error: Some(error),
            });
        });
    }

    /// The same through a tunnel: both identities are proved.
    pub(crate) fn over_tls(
        mut self: Box<Self>,
        source: &Identity,
        key: &PoolKey,
        authority: &Authority,
    ) -> Box<Self> {
        self.source.identity = Some(source.clone());
        self.destination.identity = match &self.destination.workload {
            Some(workload) if key.identities.contains(&workload.identity()) => {
                Some(workload.identity())
            }
            _ => key.identities.first().cloned(),
        };
        self.authority = Some(authority.to_string());
        self.security = ConnectionSecurity::MutualTls;
        self.protocol = "HBONE";
        self
    }

    /// What metrics call it.
    pub(crate) fn labels(&self) -> TrafficLabels {
        let reporter = match self.direction {
            Direction::Outbound => Reporter::Source,
            Direction::Inbound => Reporter::Destination,
        };
        TrafficLabels {
            source: self.source.labels(),
            destination: self.destination.labels(),
            destination_service: self.service.as_deref().map(|service| ServiceLabels {
                hostname: (&service.hostname).into(),
                namespace: (&service.namespace).into(),
                name: (&service.name).into(),
            }),
            security: self.security,
            ..TrafficLabels::new(reporter)
        }
    }

    /// Hands the access log's line to `write`.
    pub(crate) fn with_log(&self, write: impl FnOnce(&AccessLog<'_>)) {
        let source_identity = self.source.identity.as_ref().map(Identity::to_string);
        let destination_identity = self.destination.identity.as_ref().map(Identity::to_string);
        write(&AccessLog {
            source: self.source.access(source_identity.as_deref()),
            destination: self.destination.access(destination_identity.as_deref()),
            hbone_addr: self.authority.as_ref().map(|authority| authority as &dyn Display),
            service: self.service.as_ref().map(|service| &*service.hostname),
            direction: self.direction,
        });
    }
}

// === impl Party ===

impl Party {
    /// An end of which only the address is known.
    pub(crate) fn unknown(address: SocketAddr) -> Self {
        Self { address, workload: None, identity: None, baggage: None }
    }

    /// An end that is a workload.
    pub(crate) fn of(address: SocketAddr, workload: Option<Arc<Workload>>) -> Self {
        Self { workload, ..Self::unknown(address) }
    }

    /// What metrics call it, if anything is known.
    pub(crate) fn labels(&self) -> Option<PeerLabels> {
        let labels = match (&self.workload, &self.baggage) {
            (Some(workload), _) => PeerLabels::from_workload(workload),
            (None, Some(baggage)) => from_baggage(baggage),
            (None, None) => {
                self.identity.as_ref()?;
                PeerLabels::default()
            }
        };
        Some(match &self.identity {
            Some(identity) => labels.with_principal(identity.to_string().as_str()),
            None => labels,
        })
    }

    fn access<'a>(&'a self, identity: Option<&'a str>) -> AccessPeer<'a> {
        let workload = self.workload.as_deref();
        let baggage = self.baggage.as_ref();
        AccessPeer {
            addr: self.address,
            workload: workload
                .map(|w| if w.name.is_empty() { &*w.canonical_name } else { &*w.name })
                .or_else(|| baggage?.workload.as_deref()),
            namespace: workload.map(|w| &*w.namespace).or_else(|| baggage?.namespace.as_deref()),
            identity,
            cluster: workload.map(|w| &*w.cluster_id).or_else(|| baggage?.cluster.as_deref()),
        }
    }
}

fn from_baggage(baggage: &Baggage) -> PeerLabels {
    let label = |value: &Option<String>| LabelValue::from(value.as_deref());
    PeerLabels {
        workload: label(&baggage.workload),
        canonical_service: label(&baggage.service),
        canonical_revision: label(&baggage.revision),
        namespace: label(&baggage.namespace),
        principal: LabelValue::default(),
        app: label(&baggage.workload),
        cluster: label(&baggage.cluster),
        region: label(&baggage.region),
        zone: label(&baggage.zone),
    }
}
