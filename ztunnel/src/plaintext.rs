//! Captured inbound connections that came in the clear, port 15006: policy, then the application.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use ambit_model::Workload;
use ambit_net::{ConnectError, original_dst};
use ambit_telemetry::{AccessLog, ConnectionSecurity, Direction, ResponseFlags};
use tokio::net::TcpStream;

use crate::authorize::{Allowed, Denied, authorize};
use crate::config::port;
use crate::connections::OwnedFacts;
use crate::context::Local;
use crate::pod::NotReady;
use crate::record::{Flow, Party};
use crate::run::{end, relay_tcp, run};

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

/// Carries one captured connection from accept to close.
pub(crate) async fn handle(local: Arc<Local>, tcp: TcpStream, source: SocketAddr) {
    let metrics = &local.context.metrics;
    let (destination, workload) = match target(&local, &tcp, source).await {
        Ok(target) => target,
        Err(error) => {
            metrics.refused(error.reason());
            AccessLog::failed(source, source, Direction::Inbound, &error);
            return ambit_net::reset(tcp);
        }
    };
    let facts = OwnedFacts::new(source, None, destination);
    let flow = flow(&local, source, destination, &workload);
    let admitted = local.turns.take(pin!(admit(&local, &facts))).await;
    match admitted {
        Ok((app, allowed)) => {
            let record = flow.open(&metrics.traffic, &local.pod.connections, Some(facts));
            allowed.confirm(&local.context, &local.pod, record.connection());
            let relay = relay_tcp(tcp, app, &record.connection().counters);
            let ended = run(record.connection(), &local.pod, pin!(relay)).await;
            end(record, &ended);
        }
        Err(error) => {
            metrics.refused(error.reason());
            flow.refuse(&metrics.traffic, error.flags(), &error);
            ambit_net::reset(tcp);
        }
    }
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

async fn admit(local: &Local, facts: &OwnedFacts) -> Result<(TcpStream, Allowed), PlaintextError> {
    let context = &local.context;
    let allowed = authorize(context, &context.state.snapshot(), &local.pod, facts)?;
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
