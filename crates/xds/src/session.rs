//! The delta xDS session as a pure machine: responses in, requests and events out. It outlives streams, because what
//! the client holds does.

mod held;
mod response;

use std::collections::BTreeMap;

use ambit_proto::discovery::{DeltaDiscoveryRequest, Node as ProtoNode, Status};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tracing::info;

use crate::wire::Response;
use crate::{Config, Event, Interner, Node, Rejected, ResourceType};

pub use held::Held;
pub use response::Batch;

/// `INVALID_ARGUMENT` of gRPC, the code of a refused response.
const INVALID_ARGUMENT: i32 = 3;
/// A refusal names at most this many resources, so that a hostile response cannot make it grow.
const MAX_NAMED: usize = 20;

/// What the client knows across streams.
#[derive(Debug)]
pub(crate) struct Session {
    node: Node,
    types: &'static [ResourceType],
    held: Held,
    synced: Vec<ResourceType>,
    interner: Interner,
}

/// What followed from one response.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it was about; `None` for a type that was never asked for.
    pub(crate) kind: Option<ResourceType>,
    /// What was refused, here and by the owner.
    pub(crate) rejected: Vec<Rejected>,
    /// The answer to send.
    pub(crate) answer: DeltaDiscoveryRequest,
}

// === impl Session ===

impl Session {
    /// A session that begins with what `held` says is already known.
    pub(crate) fn new(config: &Config, held: Held) -> Self {
        let Config { node, types, .. } = config;
        Self { node: node.clone(), types, held, synced: Vec::new(), interner: Interner::default() }
    }

    /// The first requests of a stream, in the order in which they have to be sent: one wildcard subscription for each
    /// type, with the versions of what is held.
    pub(crate) fn connect(&self) -> Vec<DeltaDiscoveryRequest> {
        self.types
            .iter()
            .map(|&kind| DeltaDiscoveryRequest {
                node: Some(node(&self.node)),
                type_url: kind.url().to_owned(),
                initial_resource_versions: self.held.versions(kind),
                ..DeltaDiscoveryRequest::default()
            })
            .collect()
    }

    /// Takes a response in and hands `apply` what comes of it. Resources are judged one by one: good ones are used even
    /// where others are refused.
    pub(crate) fn response(
        &mut self,
        message: Response,
        apply: &mut impl FnMut(Event<'_>) -> Vec<Rejected>,
    ) -> Outcome {
        let mut answer = DeltaDiscoveryRequest {
            type_url: message.type_url.clone(),
            response_nonce: message.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let mut rejected = Vec::new();
        let kind = ResourceType::from_url(&message.type_url).filter(|k| self.types.contains(k));
        if let Some(kind) = kind {
            let held = (&mut self.held, &mut self.interner);
            let refused = apply(Event::Batch(Batch::new(kind, message, held, &mut rejected)));
            for Rejected { kind, name, .. } in &refused {
                // The empty version makes the control plane speak of the resource again after a reconnect.
                self.held.insert(*kind, name.clone(), "");
            }
            rejected.extend(refused);
            answer.error_detail = refusal(&rejected);
            if !self.synced.contains(&kind) {
                self.synced.push(kind);
                info!(url = kind.url(), "first synchronisation complete");
                apply(Event::Synced(kind));
            }
        }
        Outcome { kind, rejected, answer }
    }
}

fn refusal(rejected: &[Rejected]) -> Option<Status> {
    if rejected.is_empty() {
        return None;
    }
    let mut reasons: Vec<String> =
        rejected.iter().take(MAX_NAMED).map(|r| format!("{}: {}", r.name, r.reason)).collect();
    if let Some(more @ 1..) = rejected.len().checked_sub(MAX_NAMED) {
        reasons.push(format!("and {more} more"));
    }
    let message = reasons.join("; ");
    Some(Status { code: INVALID_ARGUMENT, message, details: Vec::new() })
}

fn node(node: &Node) -> ProtoNode {
    let fields: BTreeMap<String, Value> = node
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), Value { kind: Some(Kind::StringValue(value.clone())) }))
        .collect();
    ProtoNode { id: node.id.clone(), cluster: String::new(), metadata: Some(Struct { fields }) }
}

#[cfg(test)]
mod tests;
