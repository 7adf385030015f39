//! Running connections: bytes until both directions end, policy says no, or the proxy drains.

use std::fmt::Display;
use std::io;
use std::pin::Pin;

use ambit_hbone::Stream;
use ambit_net::{Counters, Outcome, Side};
use ambit_telemetry::ResponseFlags;
use futures_util::{FutureExt, TryFutureExt};
use tokio::net::TcpStream;

use crate::connections::{Connection, Record};
use crate::pod::Pod;

/// Why a running connection did not end in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("connection closed due to policy change")]
    Policy,
    #[error("connection closed because the proxy drains")]
    Drain,
    #[error("{0}")]
    Tunnel(#[from] ambit_hbone::Error),
    #[error("the {0} reset the connection")]
    Reset(End),
    #[error("connection with the {0}: {1}")]
    Tcp(End, #[source] io::Error),
}

/// Who broke a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Client,
    Server,
}

/// What carries an open connection to its end. Boxed by itself, so that the connection's task has no more room than it
/// needs from then on, and none for what it took to open it.
pub(crate) type Carry = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves a connection from accept to close: opens it, then carries it.
pub(crate) fn serve(
    open: impl Future<Output = Option<Carry>> + Send,
) -> impl Future<Output = ()> + Send {
    let open = Box::pin(open);
    async move {
        let carry = open.await;
        if let Some(carry) = carry {
            carry.await;
        }
    }
}

/// Runs `relay` until it ends, the connection is killed, or `pod` must let go of its connections.
///
/// `relay` is pinned by the caller: an argument of an async function is held twice.
pub(crate) async fn run(
    connection: &Connection,
    pod: &Pod,
    relay: Pin<&mut impl Future<Output = Result<(), Ended>>>,
) -> Result<(), Ended> {
    tokio::select! {
        ended = relay => ended,
        () = connection.killed() => Err(Ended::Policy),
        () = pod.drain.ended.cancelled() => Err(Ended::Drain),
    }
}

/// Moves bytes between two sockets; `client` opened the connection.
pub(crate) fn relay_tcp(
    client: TcpStream,
    server: TcpStream,
    counters: &Counters,
) -> impl Future<Output = Result<(), Ended>> + Send {
    ambit_net::relay(client, server, counters).map(|outcome| match outcome {
        Outcome::Finished => Ok(()),
        Outcome::Reset { by } => Err(Ended::Reset(by.into())),
        Outcome::Failed { side, error } => Err(Ended::Tcp(side.into(), error)),
    })
}

/// Moves bytes between a tunnel and a socket, which is on `tcp_side`.
pub(crate) fn relay_tunnel(
    stream: Stream,
    tcp: TcpStream,
    counters: &Counters,
    tcp_side: Side,
) -> impl Future<Output = Result<(), Ended>> + Send {
    ambit_hbone::relay(stream, tcp, counters, tcp_side).err_into()
}

/// Tells of the end.
pub(crate) fn end(record: Record<'_>, ended: &Result<(), Ended>) {
    match ended {
        Ok(()) => record.end(ResponseFlags::None, None),
        Err(error) => record.end(error.flags(), Some(error as &dyn Display)),
    }
}

// === impl End ===

impl From<Side> for End {
    fn from(side: Side) -> Self {
        match side {
            Side::A => Self::Client,
            Side::B => Self::Server,
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

// === impl Ended ===

impl Ended {
    /// The flag that the connection's metrics carry.
    pub(crate) fn flags(&self) -> ResponseFlags {
        match self {
            Self::Policy => ResponseFlags::Deny,
            Self::Drain => ResponseFlags::None,
            Self::Tunnel(_) | Self::Reset(_) | Self::Tcp(..) => ResponseFlags::Connect,
        }
    }
}
