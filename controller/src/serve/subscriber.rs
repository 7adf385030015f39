//! What one stream sends, as a pure machine: requests and states in, pushes out.
//!
//! A change is pushed at once, unless the last push of the type has not been answered yet; whatever changes meanwhile
//! goes out together with the answer, except workloads of the client's own node, which go ahead.

mod state;
mod urgent;

use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_xds::ResourceType;
use prost_types::value::Kind;

use super::{Caller, Published};
use crate::index::{Resource, Resources};
use crate::watch::one_line;

use state::State;

/// One stream.
#[derive(Debug)]
pub(crate) struct Subscriber {
    caller: Caller,
    node: Option<String>,
    states: [Option<State>; ResourceType::ALL.len()],
    pushes: u64,
}

/// A response to send.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) kind: ResourceType,
    pub(crate) generation: u64,
    pub(crate) nonce: String,
    pub(crate) content: Content,
    pub(crate) removed: Vec<Str>,
}

/// The resources of a response.
#[derive(Debug)]
pub(crate) enum Content {
    /// All there are: the first response to most clients, which share its bytes.
    Everything(Resources),
    /// These.
    Some(Vec<Arc<Resource>>),
}

/// What follows from a request.
#[derive(Debug, Default)]
pub(crate) struct Reaction {
    /// What to send.
    pub(crate) push: Option<Push>,
    /// Why the client refused the last push, if it did.
    pub(crate) refused: Option<String>,
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The client does not say who it is.
    #[error("the first request has no node id")]
    NoNode,
    /// The client says that it is in a namespace other than its token's.
    #[error("the node's namespace is not that of its token")]
    OtherNamespace,
    /// The client says that it has a service account other than its token's.
    #[error("the node's service account is not that of its token")]
    OtherServiceAccount,
}

// === impl Subscriber ===

impl Subscriber {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller, node: None, states: Default::default(), pushes: 0 }
    }

    /// The id the client gave itself.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Takes a request in.
    pub(crate) fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        published: &Published,
    ) -> Result<Reaction, Refusal> {
        if self.node.is_none() {
            self.node = Some(identify(&request, &self.caller)?);
        }
        // Types that are not served are not answered.
        let Some(kind) = ResourceType::from_url(&request.type_url) else {
            return Ok(Reaction::default());
        };
        let mut reaction = Reaction::default();
        let slot = &mut self.states[kind as usize];
        let push = match slot {
            None => {
                let (state, push) = State::first(kind, request, published);
                *slot = Some(state);
                Some(push)
            }
            Some(state) => {
                if state.answered(&request.response_nonce) {
                    reaction.refused = request.error_detail.as_ref().map(|e| one_line(&e.message));
                }
                state.resubscribe(&request);
                state.push(kind, published)
            }
        };
        reaction.push = match push {
            Some(push) => Some(self.number(push)),
            None => self.urgent(published),
        };
        Ok(reaction)
    }

    /// Takes a new state in. Policies go first: proxies of Istio pass over references to policies that they do not know.
    pub(crate) fn published(&mut self, published: &Published) -> Vec<Push> {
        let pushes: Vec<Push> = [ResourceType::Authorization, ResourceType::Address]
            .into_iter()
            .filter_map(|kind| self.states[kind as usize].as_mut()?.push(kind, published))
            .collect();
        let mut pushes: Vec<Push> = pushes.into_iter().map(|push| self.number(push)).collect();
        pushes.extend(self.urgent(published));
        pushes
    }

    /// The last generation of which the client has answered everything that concerns it; `None` before it has
    /// subscribed to anything.
    pub(crate) fn acked(&self) -> Option<u64> {
        self.states.iter().flatten().map(State::acked).min()
    }

    fn nonce(&mut self, push: &Push) -> String {
        self.pushes += 1;
        format!("{}-{}", push.generation, self.pushes)
    }

    fn number(&mut self, mut push: Push) -> Push {
        push.nonce = self.nonce(&push);
        if let Some(state) = &mut self.states[push.kind as usize] {
            state.sent(push.nonce.clone(), push.generation);
        }
        push
    }
}

// === impl Content ===

impl Content {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Everything(resources) => resources.len(),
            Self::Some(resources) => resources.len(),
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The value of the metric label `reason`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoNode => "no_node",
            Self::OtherNamespace => "namespace",
            Self::OtherServiceAccount => "service_account",
        }
    }
}

/// Who the client is. Its token has proved who it may be.
fn identify(request: &DeltaDiscoveryRequest, caller: &Caller) -> Result<String, Refusal> {
    let node = request.node.as_ref().filter(|node| !node.id.is_empty()).ok_or(Refusal::NoNode)?;
    let metadata = |name: &str| {
        let value = node.metadata.as_ref()?.fields.get(name)?.kind.as_ref()?;
        match value {
            Kind::StringValue(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        }
    };
    // type~ip~pod.namespace~domain
    let of_id = || node.id.split('~').nth(2).and_then(|pod| pod.rsplit_once('.')).map(|(_, ns)| ns);
    if metadata("NAMESPACE").or_else(of_id) != Some(&*caller.namespace) {
        return Err(Refusal::OtherNamespace);
    }
    if metadata("SERVICE_ACCOUNT").is_some_and(|name| name != &*caller.service_account) {
        return Err(Refusal::OtherServiceAccount);
    }
    Ok(one_line(&node.id))
}

#[cfg(test)]
mod tests;
