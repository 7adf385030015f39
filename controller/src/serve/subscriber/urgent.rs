//! What does not wait for the answer to the last push: workloads of the client's own node, without which a pod that
//! starts there is not served. Clients take responses in order and answer each, so one more may be on its way.

use std::sync::Arc;

use ambit_xds::ResourceType;

use super::state::{State, View, Wanted};
use super::{Content, Published, Push, Subscriber};
use crate::index::{Resource, Resources};

/// The response that went ahead of an answer.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    /// Its nonce, until it is answered.
    pub(super) unanswered: Option<String>,
    /// The workloads of the client's node when they were last looked at.
    looked: Resources,
}

impl Subscriber {
    /// What to send in spite of an unanswered push, if anything.
    pub(super) fn urgent(&mut self, published: &Published) -> Option<Push> {
        // Proxies of Istio pass over references to policies that they do not know.
        let policies = self.states[ResourceType::Authorization as usize].as_ref();
        if !policies?.has(&published.snapshot.authorizations) {
            return None;
        }
        let state = self.states[ResourceType::Address as usize].as_mut()?;
        let mut push = state.urgent(&self.caller.node, published)?;
        push.nonce = self.nonce(&push);
        let state = self.states[ResourceType::Address as usize].as_mut()?;
        state.urgent.unanswered = Some(push.nonce.clone());
        Some(push)
    }
}

impl State {
    fn urgent(&mut self, node: &str, published: &Published) -> Option<Push> {
        if self.unanswered.is_none()
            || self.urgent.unanswered.is_some()
            || self.wanted != Wanted::All
        {
            return None;
        }
        let there = published.snapshot.on(node)?;
        let (mut changed, _) = there.since(&self.urgent.looked);
        self.urgent.looked = there.clone();
        changed.retain(|resource: &Arc<Resource>| self.has.get(&resource.name) != Some(resource));
        for resource in &changed {
            self.has.insert(resource.clone());
        }
        let view = View::new(ResourceType::Address, None, published);
        (!changed.is_empty()).then(|| view.push(Content::Some(changed), Vec::new()))
    }
}
