//! The access log: one line for each connection, scope `access`, with Istio's fields in Istio's order.
//!
//! Everything is borrowed and nothing is formatted unless the level is on; a disabled call costs one load and a
//! branch. The lines stand outside every span, so that their scope is `access` alone.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{Level, event};

/// What the log says of a connection from beginning to end.
#[derive(Clone, Copy)]
pub struct AccessLog<'a> {
    /// The client.
    pub source: AccessPeer<'a>,
    /// The server; inbound, its address is that of the captured connection, port 15008 for HBONE.
    pub destination: AccessPeer<'a>,
    /// The HBONE authority, where there is one.
    pub hbone_addr: Option<&'a dyn Display>,
    /// The hostname of the service that was called, if one was.
    pub service: Option<&'a str>,
    /// As seen from the captured pod.
    pub direction: Direction,
}

/// What the log says of one side.
#[derive(Clone, Copy)]
pub struct AccessPeer<'a> {
    /// Its address.
    pub addr: SocketAddr,
    /// The pod's name, else its canonical service.
    pub workload: Option<&'a str>,
    /// Its namespace.
    pub namespace: Option<&'a str>,
    /// Its SPIFFE identity, only where mutual TLS or the node has proved it.
    pub identity: Option<&'a str>,
    /// Its cluster.
    pub cluster: Option<&'a str>,
}

/// Which way a connection goes, as seen from the captured pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// How a connection ended.
#[derive(Clone, Copy)]
pub struct Outcome<'a> {
    /// Bytes the client sent, seen from the log's direction.
    pub bytes_sent: u64,
    /// Bytes the client got.
    pub bytes_recv: u64,
    /// From accepting to closing.
    pub duration: Duration,
    /// What went wrong; the line is then an error.
    pub error: Option<&'a dyn Display>,
}

/// Writes the event with the fields every line of a connection has, then those given.
macro_rules! access_event {
    ($level:expr, $log:expr, $message:literal $(, $($field:ident).+ = $value:expr)*) => {
        event!(
            target: "access",
            parent: None,
            $level,
            src.addr = %$log.source.addr,
            src.workload = $log.source.workload,
            src.namespace = $log.source.namespace,
            src.identity = $log.source.identity,
            src.cluster = $log.source.cluster,
            dst.addr = %$log.destination.addr,
            dst.hbone_addr = $log.hbone_addr.map(tracing::field::display),
            dst.service = $log.service,
            dst.workload = $log.destination.workload,
            dst.namespace = $log.destination.namespace,
            dst.identity = $log.destination.identity,
            dst.cluster = $log.destination.cluster,
            direction = $log.direction.as_str(),
            $($($field).+ = $value,)*
            $message
        )
    };
}

// === impl AccessLog ===

impl AccessLog<'_> {
    /// Whether completed connections are logged at all. Where it is false, nothing needs to be gathered for the log
    /// of a connection that ends well; errors are logged at a level of their own.
    pub fn enabled() -> bool {
        tracing::enabled!(target: "access", Level::INFO)
    }

    /// `connection opened`, at debug.
    pub fn opened(&self) {
        access_event!(Level::DEBUG, self, "connection opened");
    }

    /// `connection complete`, at info, or at error where there is one.
    pub fn complete(&self, outcome: Outcome<'_>) {
        let Outcome { bytes_sent, bytes_recv, duration, error } = outcome;
        match error {
            None => access_event!(
                Level::INFO,
                self,
                "connection complete",
                bytes_sent = bytes_sent,
                bytes_recv = bytes_recv,
                duration = milliseconds(duration).as_str()
            ),
            Some(error) => access_event!(
                Level::ERROR,
                self,
                "connection complete",
                bytes_sent = bytes_sent,
                bytes_recv = bytes_recv,
                duration = milliseconds(duration).as_str(),
                error = error.to_string().as_str()
            ),
        }
    }

    /// `connection failed`, at warn: a connection that was refused before it was known what it is.
    pub fn failed(
        source: SocketAddr,
        destination: SocketAddr,
        direction: Direction,
        error: &dyn Display,
    ) {
        event!(
            target: "access",
            parent: None,
            Level::WARN,
            src.addr = %source,
            dst.addr = %destination,
            direction = direction.as_str(),
            error = error.to_string().as_str(),
            "connection failed"
        );
    }
}

// === impl Direction ===

impl Direction {
    /// The field's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
