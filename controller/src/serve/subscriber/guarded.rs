//! Nothing is served unguarded: what a proxy serves is told after the policies that guard it, and they are taken back
//! after it, however long an answer takes. Workloads are told after the policies that they refer to.

use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_xds::ResourceType;

use super::state::{State, View};
use super::{Published, Push, Subscriber};

/// Types that wait for each other: an answer to one may let another go.
pub(super) const CHAIN: [ResourceType; 5] = [
    ResourceType::Address,
    ResourceType::Route,
    ResourceType::Listener,
    ResourceType::RequestPolicy,
    ResourceType::TrafficPolicy,
];
/// Who may send requests, and whom they may be sent to: without its TLS a destination would be spoken to in the clear.
pub(super) const GUARDS: [ResourceType; 2] =
    [ResourceType::RequestPolicy, ResourceType::TrafficPolicy];
/// What a proxy serves.
const GUARDED: [ResourceType; 2] = [ResourceType::Route, ResourceType::Listener];

/// What has to be told before a type.
fn guards(kind: ResourceType) -> &'static [ResourceType] {
    match kind {
        ResourceType::Address => &[ResourceType::Authorization],
        kind if GUARDED.contains(&kind) => &GUARDS,
        _ => &[],
    }
}

// === impl Subscriber ===

impl Subscriber {
    /// What to send of one type now, if anything.
    pub(super) fn next(&mut self, kind: ResourceType, published: &Published) -> Option<Push> {
        if !guards(kind).iter().all(|kind| self.has_all(*kind, published)) {
            return None;
        }
        let keep = GUARDS.contains(&kind)
            && !GUARDED.into_iter().all(|kind| self.is_current(kind, published));
        let view = View::new(kind, self.gateway.as_ref(), published);
        let push = match &mut self.states[kind as usize] {
            Some(state) => state.push(view, keep)?,
            slot => {
                let first = self.early.iter().position(|early| early.type_url == kind.url())?;
                let (state, push) = State::first(view, self.early.swap_remove(first));
                *slot = Some(state);
                push
            }
        };
        Some(self.number(push))
    }

    /// Keeps the first request for a type until it can be answered. A client that says more before it has had an answer
    /// adds to it.
    pub(super) fn early(&mut self, request: DeltaDiscoveryRequest) {
        match self.early.iter_mut().find(|early| early.type_url == request.type_url) {
            Some(early) => {
                early.resource_names_subscribe.extend(request.resource_names_subscribe);
            }
            None => self.early.push(request),
        }
    }

    /// Whether the client has been sent what there is of a type, if it wants any.
    fn has_all(&self, kind: ResourceType, published: &Published) -> bool {
        let view = View::new(kind, self.gateway.as_ref(), published);
        self.states[kind as usize].as_ref().is_none_or(|state| state.has_all(view.resources))
    }

    /// Whether the client has been sent what there is of a type and told what there is no more, if it wants any.
    fn is_current(&self, kind: ResourceType, published: &Published) -> bool {
        let view = View::new(kind, self.gateway.as_ref(), published);
        self.states[kind as usize].as_ref().is_none_or(|state| state.has(view.resources))
    }
}
