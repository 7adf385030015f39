//! The delta xDS session as a pure machine: responses in, requests and events out. It outlives streams, because what
//! the client holds does.

mod held;
mod response;

use std::collections::BTreeMap;

use ambit_proto::discovery::{DeltaDiscoveryRequest, Node as ProtoNode, Status};
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::wire::Response;
use crate::{Batch, Interner, Node, ResourceType};

pub use held::Held;

/// `INVALID_ARGUMENT` of gRPC, the code of a refused response.
const INVALID_ARGUMENT: i32 = 3;
/// A refusal names at most this many resources, so that a hostile response cannot make it grow.
const MAX_NAMED: usize = 20;

/// What the client knows across streams.
#[derive(Debug)]
pub(crate) struct Session {
    node: Node,
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
    pub(crate) fn new(node: Node, held: Held) -> Self {
        Self { node, held, synced: Vec::new(), interner: Interner::default() }
    }

    /// The first requests of a stream, in the order in which they have to be sent: one wildcard subscription for each
    /// type, with the versions of what is held.
    pub(crate) fn connect(&self) -> Vec<DeltaDiscoveryRequest> {
        ResourceType::ALL
            .into_iter()
            .map(|kind| DeltaDiscoveryRequest {
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
        let Some(kind) = ResourceType::from_url(&message.type_url) else {
            return Outcome { content: None, answer };
        };
        let batch = response::decode(kind, message, &mut self.held, &mut self.interner);
        if !batch.rejected.is_empty() {
            answer.error_detail = Some(refusal(&batch));
        }
        let completes_sync = !self.synced.contains(&kind);
        if completes_sync {
            self.synced.push(kind);
        }
        Outcome { content: Some(Content { kind, batch, completes_sync }), answer }
    }
}

fn refusal(batch: &Batch) -> Status {
    let mut reasons: Vec<String> = batch
        .rejected
        .iter()
        .take(MAX_NAMED)
        .map(|r| format!("{}: {}", r.name, r.reason))
        .collect();
    if let Some(more @ 1..) = batch.rejected.len().checked_sub(MAX_NAMED) {
        reasons.push(format!("and {more} more"));
    }
    Status { code: INVALID_ARGUMENT, message: reasons.join("; "), details: Vec::new() }
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
