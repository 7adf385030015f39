//! Captured inbound connections that came in the clear, port 15006: policy, then the application.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use ambit_model::Workload;
use ambit_net::{ConnectError, original_dst};
use ambit_policy::Facts;
use ambit_telemetry::{AccessLog, ConnectionSecurity, Direction, ResponseFlags};
use tokio::net::TcpStream;

use crate::authorize::{Allowed, Denied, authorize};
use crate::config::port;
use crate::context::Local;
use crate::flow::{Flow, Party};
use crate::pod::NotReady;
use crate::run::{Carry, end, relay_tcp, run};

/// Why a connection did not reach the application.
#[derive(Debug, thiserror::Error)]
enum PlaintextError {
    #[error("cannot tell where it was going: {0}")]
    OriginalDestination(#[source] std::io::Error),
    #[error("port {0} is a port of this proxy")]
    SelfCall(u16),
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Opens one captured connection; what is returned carries it to its end.
pub(crate) async fn open(local: Arc<Local>, tcp: TcpStream, source: SocketAddr) -> Option<Carry> {
    let metrics = &local.context.metrics;
    let (destination, workload) = match target(&local, &tcp, source).await {
        Ok(target) => target,
        Err(error) => {
            metrics.refused(error.reason());
            AccessLog::failed(source, source, Direction::Inbound, &error);
            ambit_net::reset(tcp);
            return None;
        }
    };
    let flow = flow(&local, source, destination, &workload);
    let admitted = local.turns.take(pin!(admit(&local, source, destination))).await;
    match admitted {
        Ok(app) => Some(Box::pin(carry(local, flow, tcp, app))),
        Err(error) => {
            metrics.refused(error.reason());
            flow.refuse(&metrics.traffic, error.flags(), &error);
            ambit_net::reset(tcp);
            None
        }
    }
}

/// Carries it to the application.
pub(crate) async fn carry(
    local: Arc<Local>,
    flow: Box<Flow>,
    tcp: TcpStream,
    (app, allowed): (TcpStream, Allowed),
) {
    let record = local.pod.connections.open(flow, &local.context.metrics.traffic);
    allowed.confirm(&local.context, &local.pod, &record);
    let relay = relay_tcp(tcp, app, record.counters());
    let ended = run(&record, &local.pod, pin!(relay)).await;
    end(record, &ended);
}

async fn target(
    local: &Local,
    tcp: &TcpStream,
    source: SocketAddr,
) -> Result<(SocketAddr, Arc<Workload>), PlaintextError> {
    let destination = original_dst(tcp, source).map_err(PlaintextError::OriginalDestination)?;
    if port::RESERVED.contains(&destination.port()) {
        return Err(PlaintextError::SelfCall(destination.port()));
    }
    Ok((destination, local.pod.workload(&local.context.state).await?))
}

async fn admit(
    local: &Local,
    source: SocketAddr,
    destination: SocketAddr,
) -> Result<(TcpStream, Allowed), PlaintextError> {
    let context = &local.context;
    let facts = Facts { source_ip: source.ip(), source_identity: None, destination };
    let allowed = authorize(context, &context.state.snapshot(), &local.pod, &facts)?;
    let app = local.pod.connect_app_beside_client(facts.source_ip, facts.destination).await?;
    Ok((app, allowed))
}

fn flow(
    local: &Local,
    source: SocketAddr,
    destination: SocketAddr,
    workload: &Arc<Workload>,
) -> Box<Flow> {
    let known = local.context.state.snapshot().workload_at(&workload.network, source.ip());
    Box::new(Flow {
        direction: Direction::Inbound,
        source: Party::of(source, known),
        destination: Party::of(destination, Some(workload.clone())),
        authority: None,
        application: Some(destination),
        service: None,
        security: ConnectionSecurity::Unknown,
        protocol: "TCP",
        counters: Arc::default(),
    })
}

// === impl PlaintextError ===

impl PlaintextError {
    fn reason(&self) -> &'static str {
        match self {
            Self::OriginalDestination(_) => "no_original_destination",
            Self::SelfCall(_) => "self_call",
            Self::NotReady(error) => error.reason(),
            Self::Denied(_) => "denied",
            Self::Connect(error) => error.reason(),
        }
    }

    fn flags(&self) -> ResponseFlags {
        match self {
            Self::Denied(_) => ResponseFlags::Deny,
            _ => ResponseFlags::Connect,
        }
    }
}
