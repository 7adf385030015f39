//! What one stream sends, as a pure machine: requests and states in, pushes out.
//!
//! A change is pushed at once, unless the last push of the type has not been answered yet; whatever changes meanwhile
//! goes out together with the answer, except workloads of the client's own node, which go ahead.

mod guarded;
mod state;
mod urgent;

use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_xds::ResourceType;
use prost_types::value::Kind;

use super::{Caller, Published};
use crate::index::{Resource, Resources, Snapshot};
use crate::watch::one_line;

use state::State;

/// One stream.
#[derive(Debug)]
pub(crate) struct Subscriber {
    caller: Caller,
    node: Option<String>,
    /// The Gateway, `namespace/name`, that it is a proxy of; none for node proxies.
    gateway: Option<Str>,
    states: [Option<State>; ResourceType::ALL.len()],
    /// First requests that have to wait for something else.
    early: Vec<DeltaDiscoveryRequest>,
    pushes: u64,
}

/// The order in which new states are told: policies before what refers to them, for proxies of Istio pass over
/// references to policies that they do not know, and destinations before what leads to them.
const ORDER: [ResourceType; ResourceType::ALL.len()] = [
    ResourceType::Authorization,
    ResourceType::Address,
    ResourceType::WorkloadLabels,
    ResourceType::TrafficPolicy,
    ResourceType::RequestPolicy,
    ResourceType::Route,
    ResourceType::Listener,
];

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
    /// The client says that it is a proxy of a Gateway that is not there.
    #[error("there is no such Gateway in the namespace of the token")]
    UnknownGateway,
    /// The client says that it is a proxy of a Gateway whose proxies have another service account.
    #[error("proxies of this Gateway have a service account other than that of the token")]
    OtherGateway,
}

// === impl Subscriber ===

impl Subscriber {
    pub(crate) fn new(caller: Caller) -> Self {
        Self {
            caller,
            node: None,
            gateway: None,
            states: Default::default(),
            early: Vec::new(),
            pushes: 0,
        }
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
            self.gateway = gateway(&request, &self.caller, &published.snapshot)?;
        }
        // Types that are not served are not answered.
        let Some(kind) = ResourceType::from_url(&request.type_url) else {
            return Ok(Reaction::default());
        };
        let mut reaction = Reaction::default();
        match &mut self.states[kind as usize] {
            None => self.early(request),
            Some(state) => {
                if state.answered(&request.response_nonce) {
                    reaction.refused = request.error_detail.as_ref().map(|e| one_line(&e.message));
                }
                state.resubscribe(&request);
            }
        }
        let after = std::iter::once(kind).chain(guarded::CHAIN);
        let push = after.into_iter().find_map(|kind| self.next(kind, published));
        reaction.push = push.or_else(|| self.urgent(published));
        Ok(reaction)
    }

    /// Takes a new state in.
    pub(crate) fn published(&mut self, published: &Published) -> Vec<Push> {
        let order = ORDER.into_iter().chain(guarded::GUARDS);
        let mut pushes: Vec<Push> = order.filter_map(|kind| self.next(kind, published)).collect();
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
            Self::UnknownGateway => "no_gateway",
            Self::OtherGateway => "gateway",
        }
    }
}

/// Who the client is. Its token has proved who it may be.
fn identify(request: &DeltaDiscoveryRequest, caller: &Caller) -> Result<String, Refusal> {
    let node = request.node.as_ref().filter(|node| !node.id.is_empty()).ok_or(Refusal::NoNode)?;
    let metadata = |name: &str| metadata(request, name);
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

/// The Gateway that the client says it is a proxy of. Node proxies say nothing of the kind.
fn gateway(
    request: &DeltaDiscoveryRequest,
    caller: &Caller,
    snapshot: &Snapshot,
) -> Result<Option<Str>, Refusal> {
    let Some(name) = metadata(request, "GATEWAY") else { return Ok(None) };
    let gateway: Str = format!("{}/{name}", caller.namespace).into();
    match snapshot.account(&gateway) {
        None => Err(Refusal::UnknownGateway),
        Some(account) if *account != caller.service_account => Err(Refusal::OtherGateway),
        Some(_) => Ok(Some(gateway)),
    }
}

fn metadata<'a>(request: &'a DeltaDiscoveryRequest, name: &str) -> Option<&'a str> {
    let fields = &request.node.as_ref()?.metadata.as_ref()?.fields;
    match fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
