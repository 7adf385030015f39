//! Whether policies let a request pass.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::NamespacedHostname;
use ambit_policy::{
    EncodedSlashes, HeaderValues, RequestDecision, RequestFacts, RequestHit, RequestPath,
    decide_request,
};
use http::HeaderMap;

use super::answer::Answer;
use super::head::Head;
use crate::connection::Connection;
use crate::destination::Endpoints;
use crate::rules::Rules;
use crate::target::Target;

/// The headers of a request, for policies.
struct Lines<'a>(&'a HeaderMap);

impl HeaderValues for Lines<'_> {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.get_all(name).iter().for_each(|value| see(value.as_bytes()));
    }
}

/// The service whose policies apply to a connection. Where it has none, and where it is a workload that is asked for, the
/// policies of the other services of its endpoints do.
pub(crate) fn guarded(
    connection: &Connection,
    rules: &Rules,
) -> (Option<NamespacedHostname>, Option<Arc<Endpoints>>) {
    match &connection.target {
        Target::Front { .. } => (None, None),
        Target::Workload { workload, address } => {
            let destinations = &connection.local.context.destinations;
            (None, Some(destinations.workload(workload, *address).endpoints()))
        }
        Target::Service { service, port } => {
            let key = service.key();
            let port = rules.services.get(&key).and_then(|route| route.port(*port));
            let unguarded = port.filter(|_| !rules.policies.guards(&key));
            let endpoints = unguarded.map(|port| port.default.endpoints());
            (Some(key), endpoints)
        }
    }
}

/// Asks the policies that apply to the request's service.
///
/// # Errors
/// The answer to a request that is denied.
pub(super) fn authorize(connection: &Connection, head: &Head) -> Result<(), Answer> {
    let rules = connection.local.context.rules.load();
    let (service, endpoints) = guarded(connection, &rules);
    let beside = endpoints.as_ref().map_or(&[][..], |endpoints| &endpoints.beside);
    let mut candidates = rules.policies.of(service.as_ref(), beside).peekable();
    if candidates.peek().is_none() {
        return Ok(());
    }
    let target = head.path_and_query().as_bytes();
    let path = RequestPath::parse(head.method.as_str(), target, EncodedSlashes::default())
        .map_err(|refused| Answer::invalid(refused.to_string()))?;
    let facts = RequestFacts {
        method: head.method.as_str(),
        path: &path,
        host: Some(head.authority()),
        headers: &Lines(&head.headers),
        source_identity: connection.caller.identity.as_ref(),
        source_ip: connection.peer.ip(),
        remote_ip: remote_ip(connection, head),
        destination: connection.destination,
        sni: connection.sni(),
        auth: None,
    };
    let decision = decide_request(&facts, candidates);
    report(connection, &decision);
    if decision.denied() {
        return Err(Answer::denied(decision.to_string()));
    }
    // Nobody is there to be asked.
    match decision.asks.first() {
        Some(ask) => Err(Answer::denied(format!(
            "{} has {} asked, which this waypoint does not know",
            ask.policy, ask.provider
        ))),
        None => Ok(()),
    }
}

/// The address of whoever asked first, as far as the mesh has seen: behind one of its gateways, the client that the
/// gateway added to `X-Forwarded-For`; otherwise the peer, whatever the header says.
fn remote_ip(connection: &Connection, head: &Head) -> IpAddr {
    let client = head.client_of_gateway().filter(|_| connection.is_from_gateway());
    client.unwrap_or_else(|| connection.peer.ip())
}

/// Tells of policies that match and change nothing.
fn report(connection: &Connection, decision: &RequestDecision<'_>) {
    for policy in &decision.audits {
        tracing::info!(target: "audit", peer = %connection.peer, %policy, "request matches");
    }
    for hit in &decision.dry_run {
        let RequestHit { policy, action } = hit;
        tracing::info!(target: "dry_run", peer = %connection.peer, %policy, ?action, "request matches");
    }
    if decision.dry_run_would_deny {
        tracing::info!(target: "dry_run", peer = %connection.peer, "request would be denied");
    }
}
