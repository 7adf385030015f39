//! The path between two pods of this node: policy as ever, bytes by splice, no TLS and no tunnel.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::{Service, Workload};
use ambit_net::{ConnectError, Counters};
use ambit_policy::Facts;
use ambit_telemetry::{ConnectionSecurity, Direction, ResponseFlags};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::authorize::{Allowed, Denied, authorize};
use crate::config::port;
use crate::context::{Context, Local};
use crate::flow::{Flow, Party};
use crate::pod::Pod;
use crate::run::{Ended, end, relay_tcp, run};

/// How long a successful probe lets connections take the local path.
const FRESH: Duration = Duration::from_secs(5);
/// How long a probe may take; a NetworkPolicy drops it.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// The destinations to which a pod has lately been seen to reach port 15008.
///
/// A NetworkPolicy that would stop HBONE between two pods has to stop the local path as well: only an address that
/// answered a real TCP connect from the source's own namespace is used.
#[derive(Default)]
pub(crate) struct Reachable {
    seen: Mutex<HashMap<IpAddr, Instant>>,
}

/// One connection on the local path.
pub(crate) struct LocalConnection {
    pub source: Party,
    pub service: Option<Arc<Service>>,
    pub target: Arc<Pod>,
    pub workload: Arc<Workload>,
    /// The application's address.
    pub destination: SocketAddr,
}

/// Why a connection on the local path failed before it was open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("port {0} is a port of this proxy; connect to the application's own port")]
    SelfCall(u16),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

// === impl Reachable ===

impl Reachable {
    /// Whether `pod` reaches the tunnel port of `destination`: known for a few seconds, else tried.
    pub(crate) async fn check(&self, pod: &Pod, destination: IpAddr) -> bool {
        if self.seen.lock().get(&destination).is_some_and(|seen| seen.elapsed() < FRESH) {
            return true;
        }
        let probe = SocketAddr::new(destination, port::HBONE);
        let reached = pod.connect(probe, PROBE_DEADLINE).await.is_ok();
        let mut seen = self.seen.lock();
        if reached {
            seen.insert(destination, Instant::now());
        } else {
            seen.remove(&destination);
        }
        seen.retain(|_, at| at.elapsed() < FRESH);
        reached
    }
}

// === impl LocalConnection ===

impl LocalConnection {
    /// Authorizes the connection as the destination's proxy and dials the application as the source.
    ///
    /// # Errors
    /// The destination is the proxy itself, policy denies it, or the application does not answer.
    pub(crate) async fn dial(&self, local: &Local) -> Result<(TcpStream, Allowed), LocalError> {
        let context = &local.context;
        let dialed = self.admit(context).await;
        if let Err(error) = &dialed {
            self.flow(Direction::Inbound).refuse(&context.metrics.traffic, error.flags(), error);
        }
        dialed
    }

    async fn admit(&self, context: &Context) -> Result<(TcpStream, Allowed), LocalError> {
        let port = self.destination.port();
        if port::RESERVED.contains(&port) {
            return Err(LocalError::SelfCall(port));
        }
        let allowed = authorize(context, &context.state.snapshot(), &self.target, &self.facts())?;
        let source = self.source.address.ip();
        Ok((self.target.connect_app(source, self.destination).await?, allowed))
    }

    /// Carries the connection to its end and tells of it from both sides.
    pub(crate) async fn carry(
        self: Box<Self>,
        local: Arc<Local>,
        tcp: TcpStream,
        (app, allowed): (TcpStream, Allowed),
    ) {
        let traffic = &local.context.metrics.traffic;
        let (source, target) = (&local.pod, &self.target);
        // Its task is the source's; the destination's end has to wait for it too.
        let _of_target = target.drain.tasks.token();
        let counters = Arc::<Counters>::default();
        let flow =
            |direction| Box::new(Flow { counters: counters.clone(), ..self.flow(direction) });
        let outbound = source.connections.open(flow(Direction::Outbound), traffic);
        let inbound = target.connections.open(flow(Direction::Inbound), traffic);
        allowed.confirm(&local.context, target, &inbound);
        let mut relay = pin!(relay_tcp(tcp, app, &counters));
        let ended = tokio::select! {
            ended = run(&inbound, target, relay.as_mut()) => ended,
            () = source.drain.ended.cancelled() => Err(Ended::Drain),
        };
        end(inbound, &ended);
        end(outbound, &ended);
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            source_ip: self.source.address.ip(),
            source_identity: self.source.identity.as_ref(),
            destination: self.destination,
        }
    }

    fn flow(&self, direction: Direction) -> Flow {
        Flow {
            direction,
            source: self.source.clone(),
            destination: Party {
                identity: Some(self.workload.identity()),
                ..Party::of(self.destination, Some(self.workload.clone()))
            },
            authority: None,
            application: (direction == Direction::Inbound).then_some(self.destination),
            service: self.service.clone(),
            security: ConnectionSecurity::NodeLocal,
            protocol: "LOCAL",
            counters: Arc::default(),
        }
    }
}

// === impl LocalError ===

impl LocalError {
    /// The flag that the connection's metrics carry.
    pub(crate) fn flags(&self) -> ResponseFlags {
        match self {
            Self::Denied(_) => ResponseFlags::Deny,
            Self::SelfCall(_) | Self::Connect(_) => ResponseFlags::Connect,
        }
    }
}
