//! Which pods are captured and who serves them: decisions alone, no IO, no clock.
//!
//! Pods are offered to the latest ztunnel, again and again until it accepts them; then their rules go in, so that nothing
//! is captured that nobody serves. When a pod leaves, everything new passes its rules at once, but ztunnels serve it a
//! while longer: for what was captured, and for peers that have not heard yet. Then they let go of it, and its rules come
//! out; without them the kernel would translate nothing any more. (Istio's agent puts rules in first and takes them out
//! first, protocol.md 5.4.) One operation is under way on each pod at a time; what is asked meanwhile waits its turn.

mod entry;
mod event;
mod operations;
mod requests;
mod ztunnels;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use event::{
    Addition, Census, Effect, Event, Offered, Order, Outcome, Removal, RequestId, Work, ZtunnelId,
};

use entry::{Entry, Phase};
use event::Ztunnels;

/// How long a pod that has left is served: longer than a DNS proxy waits for its upstream, and than peers need to hear.
pub(crate) const LINGER: Duration = Duration::from_secs(6);

/// All pods of the node. `N` is a network namespace.
#[derive(Debug)]
pub(crate) struct State<N> {
    pods: BTreeMap<String, Entry<N>>,
    ztunnels: Ztunnels,
    versions: u64,
    verify_interval: Duration,
}

/// Effects, in order.
type Effects<N> = Vec<Effect<N>>;

impl<N: Clone + PartialEq> State<N> {
    /// No pods and no ztunnels. Each pod's rules are verified once in `verify_interval`.
    pub(crate) fn new(verify_interval: Duration) -> Self {
        Self { pods: BTreeMap::new(), ztunnels: Ztunnels::new(), versions: 0, verify_interval }
    }

    /// Takes note of an event at `now`: what is to be done about it.
    pub(crate) fn handle(&mut self, now: Instant, event: Event<N>) -> Effects<N> {
        match event {
            Event::Add(addition) => self.add(now, addition),
            Event::Remove(removal) => self.remove(now, removal),
            Event::GiveUp(request) => self.give_up(request),
            Event::Captured { uid, outcome } => self.captured(now, &uid, outcome),
            Event::Released { uid, outcome } => self.released(now, &uid, outcome),
            Event::Cleared { uid, .. } => self.end(now, &uid),
            Event::Verified { uid } => self.verified(now, &uid),
            Event::Connected(ztunnel) => self.connected(ztunnel),
            Event::Gone(ztunnel) => self.gone(now, ztunnel),
            Event::Offered(offered) => self.offered(now, offered),
            Event::Withdrawn { ztunnel, uid } => self.withdrawn(now, &uid, ztunnel),
            Event::Tick => self.tick(now),
        }
    }

    /// When [`Event::Tick`] is due.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let may_verify = !self.is_verifying();
        self.pods.values().filter_map(|entry| entry.due(may_verify)).min()
    }

    /// How many pods are where.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census { ztunnels: self.ztunnels.len(), ..Census::default() };
        for entry in self.pods.values() {
            match entry.is_leaving() {
                true => census.leaving += 1,
                false if entry.is_served_by(self.latest()) => census.served += 1,
                false => census.pending += 1,
            }
        }
        census
    }

    /// The ztunnel that has to serve every pod.
    fn latest(&self) -> Option<ZtunnelId> {
        self.ztunnels.last().copied()
    }

    fn is_verifying(&self) -> bool {
        let verifying = |entry: &Entry<N>| matches!(entry.phase, Phase::Verifying);
        self.pods.values().any(verifying)
    }

    fn tick(&mut self, now: Instant) -> Effects<N> {
        let latest = self.latest();
        let mut effects = Vec::new();
        for entry in self.pods.values_mut() {
            if entry.retry_at.is_some_and(|at| at <= now) {
                effects.extend(entry.offer_to(latest));
            }
        }
        let lingered =
            |entry: &Entry<N>| matches!(entry.phase, Phase::Lingering { until } if until <= now);
        let gone: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, entry)| lingered(entry))
            .map(|(uid, _)| uid.clone())
            .collect();
        effects.extend(gone.iter().flat_map(|uid| self.leave(now, uid, None, true)));
        if !self.is_verifying() {
            let due = self
                .pods
                .values_mut()
                .filter(|entry| matches!(entry.phase, Phase::Captured) && entry.verify_at <= now)
                .min_by_key(|entry| entry.verify_at);
            effects.extend(due.map(Entry::verify));
        }
        effects
    }

    /// Goes on with what had to wait for an operation on the pod.
    fn replay(&mut self, now: Instant, uid: &str) -> Effects<N> {
        let mut effects = Vec::new();
        while let Some(entry) = self.pods.get_mut(uid).filter(|entry| !entry.is_busy())
            && let Some(event) = entry.queue.pop_front()
        {
            effects.extend(self.handle(now, event));
        }
        effects
    }

    /// Drops the pod and goes on with what had to wait.
    fn end(&mut self, now: Instant, uid: &str) -> Effects<N> {
        let queue = self.pods.remove(uid).map(|entry| entry.queue);
        let mut effects = vec![Effect::Forget { uid: uid.to_owned() }];
        for event in queue.into_iter().flatten() {
            effects.extend(self.handle(now, event));
        }
        effects
    }
}

/// A reply to somebody who waits for one.
fn reply<N>(request: Option<RequestId>, outcome: Outcome) -> Effects<N> {
    let reply = request.map(|request| Effect::Reply { request, outcome });
    reply.into_iter().collect()
}

#[cfg(test)]
mod tests;
