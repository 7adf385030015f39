//! The delta xDS session as a pure machine: responses in, requests and events out. It outlives streams, because what
//! the client holds does.

mod held;
mod response;

use std::collections::BTreeMap;

use ambit_proto::discovery::{DeltaDiscoveryRequest, Node as ProtoNode, Status};
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::wire::Response;
use crate::{Batch, Config, Interner, Node, Rejected, ResourceType};

pub use held::Held;

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

/// What follows from one response.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What to hand out first; `None` for a type that was never asked for.
    pub(crate) content: Option<Content>,
    /// The answer, to be sent once the content has been handed out.
    pub(crate) answer: DeltaDiscoveryRequest,
}

/// The decoded content of a response.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) kind: ResourceType,
    pub(crate) batch: Batch,
    /// Whether this is the first response for its type in the session's life.
    pub(crate) completes_sync: bool,
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

    /// Takes a response in. Resources are judged one by one: good ones are used even where others are refused.
    pub(crate) fn response(&mut self, message: Response) -> Outcome {
        let mut answer = DeltaDiscoveryRequest {
            type_url: message.type_url.clone(),
            response_nonce: message.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let kind = ResourceType::from_url(&message.type_url).filter(|k| self.types.contains(k));
        let Some(kind) = kind else {
            return Outcome { content: None, answer };
        };
        let batch = response::decode(kind, message, &mut self.held, &mut self.interner);
        answer.error_detail = refusal(&batch.rejected);
        let completes_sync = !self.synced.contains(&kind);
        if completes_sync {
            self.synced.push(kind);
        }
        Outcome { content: Some(Content { kind, batch, completes_sync }), answer }
    }

    /// Adds what the owner refused of a response to its answer.
    pub(crate) fn refused(&mut self, rejected: &[Rejected], answer: &mut DeltaDiscoveryRequest) {
        for Rejected { kind, name, .. } in rejected {
            // The empty version makes the control plane speak of the resource again after a reconnect.
            self.held.insert(*kind, name.clone(), "");
        }
        let Some(more) = refusal(rejected) else { return };
        match &mut answer.error_detail {
            Some(detail) => detail.message = format!("{}; {}", detail.message, more.message),
            none => *none = Some(more),
        }
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
