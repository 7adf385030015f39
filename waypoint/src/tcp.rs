//! Connections that are not looked into: bytes to an endpoint and back.

use std::sync::Arc;
use std::time::Instant;

use ambit_policy::{ConnectionFacts, decide_connection};
use ambit_telemetry::{
    PeerLabels, Reporter, RequestProtocol, ResponseFlags, ServiceLabels, TrafficLabels,
};
use tokio::io::copy_bidirectional;

use crate::connection::Connection;
use crate::destination::{Destination, Endpoint, Permit, Request};
use crate::detect::Protocol;
use crate::io::Io;
use crate::request;
use crate::rules::Shares;
use crate::target::Target;
use crate::upstream::{ConnectFailure, connect, originate, usable};

/// Endpoints that are tried.
const TRIES: usize = 3;

/// Why a connection leads nowhere.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("denied: {0}")]
    Denied(String),
    #[error("no rule matches")]
    NoRoute,
    #[error("the rule's backend cannot be used: {0}")]
    Invalid(ambit_model::Str),
    #[error("no healthy upstream")]
    NoEndpoint,
    #[error("as many connections as the destination's connectionPool allows")]
    Overflow,
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
}

/// A connection with an endpoint, which counts as one for as long as the value lives.
struct Opened {
    io: Io,
    endpoint: Arc<Endpoint>,
    _permit: Permit,
}

/// Passes the connection on to an endpoint, byte by byte, until both sides have ended.
pub(crate) async fn pass(connection: Arc<Connection>, client: Io, protocol: Protocol) {
    let ended = connection.drain.ended.clone();
    if ended.run_until_cancelled(run(&connection, client, protocol)).await.is_none() {
        tracing::debug!(peer = %connection.peer, "connection closed because the proxy drains");
    }
}

async fn run(connection: &Connection, mut client: Io, protocol: Protocol) {
    let mut sni = None;
    if protocol == Protocol::Tls {
        match crate::sni::read(&mut client).await {
            Ok((name, read)) => {
                sni = name;
                client = client.unread(read);
            }
            Err(error) => return tracing::debug!(peer = %connection.peer, %error, "no TLS"),
        }
    }
    let metrics = &connection.local.context.metrics.traffic;
    let allowed = authorize(connection, sni.as_deref());
    let opened = match allowed.and_then(|()| destination(connection, protocol, sni.as_deref())) {
        Ok(destination) => open(connection, &destination, protocol).await,
        Err(error) => Err(error),
    };
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let flags = match error {
                Failed::Denied(_) => ResponseFlags::Deny,
                _ => ResponseFlags::Connect,
            };
            metrics.open(&labels(connection, None)).close(flags);
            tracing::warn!(peer = %connection.peer, %error, "connection failed");
            return;
        }
    };
    let record = metrics.open(&labels(connection, Some(&opened.endpoint)));
    let result = copy_bidirectional(&mut client, &mut opened.io).await;
    let flags = match &result {
        Ok((received, sent)) => {
            record.received(*received);
            record.sent(*sent);
            ResponseFlags::None
        }
        Err(error) => {
            tracing::debug!(peer = %connection.peer, %error, "connection broke");
            ResponseFlags::Connect
        }
    };
    record.close(flags);
}

/// Asks the policies that apply. What only a request could show lets no connection pass.
fn authorize(connection: &Connection, sni: Option<&str>) -> Result<(), Failed> {
    let rules = connection.local.context.rules.load();
    let (service, endpoints) = request::guarded(connection, &rules);
    let beside = endpoints.as_ref().map_or(&[][..], |endpoints| &endpoints.beside);
    let facts = ConnectionFacts {
        source_identity: connection.caller.identity.as_ref(),
        source_ip: connection.peer.ip(),
        destination: connection.destination,
        sni: sni.or(connection.sni()),
    };
    let decision = decide_connection(&facts, rules.policies.of(service.as_ref(), beside));
    match (decision.denied(), decision.asks.first()) {
        (false, None) => Ok(()),
        (true, _) => Err(Failed::Denied(decision.to_string())),
        (false, Some(ask)) => Err(Failed::Denied(format!(
            "{} has {} asked, which nobody knows",
            ask.policy, ask.provider
        ))),
    }
}

/// Where the connection goes by its rules, else to the service itself.
fn destination(
    connection: &Connection,
    protocol: Protocol,
    sni: Option<&str>,
) -> Result<Arc<Destination>, Failed> {
    let rules = connection.local.context.rules.load();
    let (caller, to) = (&connection.caller, connection.destination.ip());
    let (table, default) = match &connection.target {
        Target::Service { service, port } => {
            let route = rules.services.get(&service.key());
            let port = route.and_then(|route| route.port(*port)).ok_or(Failed::NoRoute)?;
            (port.table(caller), Some(port.default.clone()))
        }
        Target::Front { port, .. } => {
            let host = sni.or(connection.sni()).unwrap_or_default();
            let front = rules.fronts.get(port).and_then(|front| front.table(host));
            (Some(&**front.ok_or(Failed::NoRoute)?), None)
        }
        Target::Workload { workload, address } => {
            (None, Some(connection.local.context.destinations.workload(workload, *address)))
        }
    };
    let Some(table) = table else { return default.ok_or(Failed::NoRoute) };
    let shares = match protocol {
        Protocol::Tls if table.has_tls() => table.tls(sni.unwrap_or_default(), to, caller),
        _ if table.has_tcp() => table.tcp(to, caller),
        _ if table.has_tls() => table.tls(connection.sni().unwrap_or_default(), to, caller),
        // Rules for requests alone do not bind what carries none.
        _ => return default.ok_or(Failed::NoRoute),
    };
    chosen(shares.ok_or(Failed::NoRoute)?)
}

fn chosen(shares: &Shares) -> Result<Arc<Destination>, Failed> {
    let backend = shares.choose(&mut rand::rng()).ok_or(Failed::NoRoute)?;
    backend.to.clone().map_err(Failed::Invalid)
}

async fn open(
    connection: &Connection,
    destination: &Arc<Destination>,
    protocol: Protocol,
) -> Result<Opened, Failed> {
    let settings = destination.settings().clone();
    let limit = settings.pool.connect_timeout;
    let limit = limit.unwrap_or(connection.local.context.config.limits.connect);
    let (mut tried, mut last) = (Vec::new(), Failed::NoEndpoint);
    for _ in 0..TRIES {
        let endpoints = destination.endpoints();
        let request = Request { hash: None, tried: &tried, now: Instant::now() };
        let chosen = destination.choice.choose(&endpoints, &settings, &request, &mut rand::rng());
        let Some(endpoint) = chosen.filter(|endpoint| !tried.contains(&endpoint.uid)) else {
            return Err(last);
        };
        let permit = destination.connections.acquire(settings.pool.max_connections);
        let permit = permit.ok_or(Failed::Overflow)?;
        let headers = connection.source.headers.clone();
        match connect(&connection.local, &endpoint.dial, headers, limit).await {
            Ok(io) => {
                // A client that speaks TLS speaks it with the endpoint.
                let wrapped = protocol != Protocol::Tls && endpoint.dial.is_direct();
                let tls = settings.tls.as_ref().filter(|_| wrapped).map(usable).transpose()?;
                let io = originate(io, tls, limit, |tls| &tls.opaque).await?;
                return Ok(Opened { io, endpoint: endpoint.clone(), _permit: permit });
            }
            Err(error) => {
                tried.push(endpoint.uid.clone());
                last = error.into();
            }
        }
    }
    Err(last)
}

fn labels(connection: &Connection, endpoint: Option<&Endpoint>) -> TrafficLabels {
    TrafficLabels {
        source: Some(connection.labels.clone()),
        destination_service: connection.target.service().map(|s| ServiceLabels::from(&**s)),
        destination: Some(endpoint.map_or_else(PeerLabels::default, |e| e.labels.clone())),
        request_protocol: RequestProtocol::Tcp,
        security: connection.security,
        ..TrafficLabels::new(Reporter::Waypoint)
    }
}
