//! One pod, and how far it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event::{
    Addition, Effect, Event, Offered, Order, Outcome, RequestId, Work, ZtunnelId, Ztunnels,
};
use crate::pod::Pod;

/// The pause after a first refusal; it doubles with each further one (protocol.md 5.4).
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// The longest pause between two attempts.
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Requests about one pod that may wait for an operation on it to end.
const MOST_QUEUED: usize = 16;

/// A pod that the agent knows.
#[derive(Debug)]
pub(super) struct Entry<N> {
    pub(super) pod: Arc<Pod>,
    pub(super) netns: N,
    pub(super) phase: Phase,
    /// Tells answers about this description of the pod from answers about earlier ones.
    pub(super) version: u64,
    /// The ztunnels that serve it.
    pub(super) served_by: Ztunnels,
    /// When it is offered to the latest ztunnel again.
    pub(super) retry_at: Option<Instant>,
    /// Refusals in a row.
    pub(super) refusals: u32,
    /// The latest refusal.
    pub(super) problem: Option<String>,
    /// When its rules are looked after.
    pub(super) verify_at: Instant,
    /// Who waits until it is served.
    pub(super) waiting: Vec<RequestId>,
    /// What has to wait until the operation under way has ended.
    pub(super) queue: VecDeque<Event<N>>,
}

/// What is under way.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Rules are being put in. The description to go back to if that fails, for a pod that was captured before.
    Capturing { before: Option<Arc<Pod>> },
    /// Rules are in; nothing, or an offer to a ztunnel.
    Captured,
    /// Rules are in and being verified.
    Verifying,
    /// Rules are being taken out. Who waits for it, and whether the pod has another namespace already.
    Releasing { request: Option<RequestId>, replaced: bool },
    /// Rules are out, and these ztunnels have not said yet that they let go of it.
    Leaving { from: Ztunnels, request: Option<RequestId> },
}

impl<N> Entry<N> {
    /// A pod whose rules are being put in. One of before this process began stays captured even if that fails.
    pub(super) fn new(addition: Addition<N>, now: Instant) -> Self {
        let before = addition.restored.then(|| addition.pod.clone());
        Self {
            pod: addition.pod,
            netns: addition.netns,
            phase: Phase::Capturing { before },
            version: 0,
            served_by: Ztunnels::new(),
            retry_at: None,
            refusals: 0,
            problem: None,
            verify_at: now,
            waiting: addition.request.into_iter().collect(),
            queue: VecDeque::new(),
        }
    }

    /// Whether an operation is under way, so that requests have to wait.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Captured)
    }

    /// Whether its rules are in.
    pub(super) fn is_captured(&self) -> bool {
        matches!(self.phase, Phase::Captured | Phase::Verifying)
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Releasing { .. } | Phase::Leaving { .. })
    }

    /// Whether the latest ztunnel serves it.
    pub(super) fn is_served_by(&self, latest: Option<ZtunnelId>) -> bool {
        latest.is_some_and(|latest| self.served_by.contains(&latest))
    }

    /// Puts a request off until the operation under way has ended, unless too many wait already.
    pub(super) fn put_off(&mut self, event: Event<N>) -> bool {
        let has_room = self.queue.len() < MOST_QUEUED;
        if has_room {
            self.queue.push_back(event);
        }
        has_room
    }

    /// Takes down a ztunnel's answer to an offer. `latest` is who the pod has to be served by.
    pub(super) fn answered(&mut self, offered: Offered, latest: Option<ZtunnelId>, now: Instant) {
        let is_latest = latest == Some(offered.ztunnel);
        match offered.outcome {
            Ok(()) => {
                self.served_by.insert(offered.ztunnel);
                if is_latest {
                    self.problem = None;
                    self.refusals = 0;
                    self.retry_at = None;
                }
            }
            Err(problem) if is_latest => {
                self.problem = Some(problem);
                self.retry_at = Some(now + pause(self.refusals));
                self.refusals = self.refusals.saturating_add(1);
            }
            // An older one need not serve it: the latest has had an offer of its own.
            Err(_) => {}
        }
    }

    /// Replies to everybody who waits until it is served.
    pub(super) fn reply(&mut self, outcome: &Outcome) -> Vec<Effect<N>> {
        let reply = |request| Effect::Reply { request, outcome: outcome.clone() };
        self.waiting.drain(..).map(reply).collect()
    }

    /// Does not try to tell `request` anything any more; says whether it waited.
    pub(super) fn forget_request(&mut self, request: RequestId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| *waiting != request);
        let of_phase = match &mut self.phase {
            Phase::Releasing { request, .. } | Phase::Leaving { request, .. } => Some(request),
            _ => None,
        };
        let of_queue = self.queue.iter_mut().filter_map(|event| match event {
            Event::Add(addition) => Some(&mut addition.request),
            Event::Remove(removal) => Some(&mut removal.request),
            _ => None,
        });
        let mut found = self.waiting.len() != before;
        for waiting in of_phase.into_iter().chain(of_queue) {
            found |= waiting.take_if(|waiting| *waiting == request).is_some();
        }
        found
    }

    /// Why it is not served yet, for somebody who does not want to wait any longer.
    pub(super) fn obstacle(&self, latest: Option<ZtunnelId>) -> String {
        match (&self.phase, latest, &self.problem) {
            (Phase::Capturing { .. }, ..) => "its rules are still being put in".into(),
            (Phase::Releasing { .. }, ..) => "its rules are still being taken out".into(),
            (Phase::Leaving { .. }, ..) => "a ztunnel has not let go of it yet".into(),
            (_, None, _) => "no ztunnel is connected: start one on this node".into(),
            (_, Some(_), Some(problem)) => format!("ztunnel refuses it: {problem}"),
            (_, Some(_), None) => "ztunnel has not answered yet".into(),
        }
    }
}

// === effects ===

impl<N: Clone> Entry<N> {
    /// Has the rules put in.
    pub(super) fn capture(&self, fresh: bool) -> Effect<N> {
        let (pod, netns) = (self.pod.clone(), self.netns.clone());
        Effect::Work(Work::Capture { pod, netns, fresh })
    }

    /// Has the rules taken out.
    pub(super) fn release(&mut self, request: Option<RequestId>, replaced: bool) -> Effect<N> {
        self.phase = Phase::Releasing { request, replaced };
        let (uid, netns) = (self.pod.uid.clone(), self.netns.clone());
        Effect::Work(Work::Release { uid, netns })
    }

    /// Has the rules looked after.
    pub(super) fn verify(&mut self) -> Effect<N> {
        self.phase = Phase::Verifying;
        let (pod, netns) = (self.pod.clone(), self.netns.clone());
        Effect::Work(Work::Verify { pod, netns })
    }

    /// Offers the pod, if it is captured, to the latest ztunnel, if that does not serve it.
    pub(super) fn offer_to(&mut self, latest: Option<ZtunnelId>) -> Option<Effect<N>> {
        self.retry_at = None;
        let ztunnel = latest.filter(|latest| !self.served_by.contains(latest))?;
        let (pod, netns, version) = (self.pod.clone(), self.netns.clone(), self.version);
        let offer = Effect::Tell(ztunnel, Order::Offer { pod, netns, version });
        self.is_captured().then_some(offer)
    }
}

fn pause(refusals: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1_u32.checked_shl(refusals).unwrap_or(u32::MAX)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let pauses: Vec<u128> = (0..12).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]);
        for refusals in [31, 32, u32::MAX] {
            assert_eq!(pause(refusals), LAST_RETRY);
        }
    }
}
