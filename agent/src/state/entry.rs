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
    /// It waits for the latest ztunnel to accept it, and goes without the mesh until then. Whether there are rules of an
    /// earlier time in it, which let everything pass.
    Introduced { passes: bool },
    /// Rules are being put in. The description to go back to if that fails, for a pod that was captured before.
    Capturing { before: Option<Arc<Pod>> },
    /// Rules are in; nothing, or an offer to a ztunnel.
    Captured,
    /// Rules are in and being verified.
    Verifying,
    /// Rules are being exchanged for those that let everything pass. Who waits for it, and whether the pod has another
    /// namespace already.
    Releasing { request: Option<RequestId>, replaced: bool },
    /// These ztunnels have not said yet that they let go of it. Whether there are rules to be taken out.
    Leaving { from: Ztunnels, request: Option<RequestId>, passes: bool },
    /// Everything new passes; it is served until then for what was captured, and for peers that have not heard yet.
    Lingering { until: Instant },
    /// Rules are being taken out.
    Clearing,
}

impl<N> Entry<N> {
    /// A new pod. One of before this process began has its rules, and stays captured whatever happens.
    pub(super) fn new(addition: Addition<N>, now: Instant) -> Self {
        let phase = match addition.restored {
            true => Phase::Capturing { before: Some(addition.pod.clone()) },
            false => Phase::Introduced { passes: false },
        };
        Self {
            pod: addition.pod,
            netns: addition.netns,
            phase,
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
        !matches!(self.phase, Phase::Introduced { .. } | Phase::Captured | Phase::Lingering { .. })
    }

    /// Whether its rules are in.
    pub(super) fn is_captured(&self) -> bool {
        matches!(self.phase, Phase::Captured | Phase::Verifying)
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(
            self.phase,
            Phase::Releasing { .. }
                | Phase::Leaving { .. }
                | Phase::Lingering { .. }
                | Phase::Clearing
        )
    }

    /// When it is offered again, its rules are verified, or taken out.
    pub(super) fn due(&self, may_verify: bool) -> Option<Instant> {
        match self.phase {
            Phase::Introduced { .. } | Phase::Verifying => self.retry_at,
            Phase::Captured => {
                let verify = Some(self.verify_at).filter(|_| may_verify);
                [self.retry_at, verify].into_iter().flatten().min()
            }
            Phase::Lingering { until } => Some(until),
            _ => None,
        }
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

    /// Nobody serves it as it is described now.
    pub(super) fn renew(&mut self, versions: &mut u64) {
        *versions += 1;
        self.version = *versions;
        self.served_by.clear();
        self.refusals = 0;
        self.problem = None;
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
            (Phase::Clearing, ..) => "its former rules are still being taken out".into(),
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

    /// Has the rules exchanged for those that let everything pass.
    pub(super) fn release(&mut self, request: Option<RequestId>, replaced: bool) -> Effect<N> {
        self.phase = Phase::Releasing { request, replaced };
        let (pod, netns) = (self.pod.clone(), self.netns.clone());
        Effect::Work(Work::Release { pod, netns })
    }

    /// Has the rules taken out.
    pub(super) fn clear(&mut self) -> Effect<N> {
        self.phase = Phase::Clearing;
        let (uid, netns) = (self.pod.uid.clone(), self.netns.clone());
        Effect::Work(Work::Clear { uid, netns })
    }

    /// Goes on as far as the ztunnels that serve the pod now allow: its rules go in when the latest does, and who waits is
    /// told when both are true.
    pub(super) fn advance(&mut self, latest: Option<ZtunnelId>) -> Vec<Effect<N>> {
        if !self.is_served_by(latest) {
            return Vec::new();
        }
        match self.phase {
            Phase::Introduced { .. } => {
                self.phase = Phase::Capturing { before: None };
                vec![self.capture(true)]
            }
            Phase::Captured | Phase::Verifying => self.reply(&Ok(())),
            _ => Vec::new(),
        }
    }

    /// Has the rules looked after.
    pub(super) fn verify(&mut self) -> Effect<N> {
        self.phase = Phase::Verifying;
        let (pod, netns) = (self.pod.clone(), self.netns.clone());
        Effect::Work(Work::Verify { pod, netns })
    }

    /// Offers the pod, if it is to be served now, to the latest ztunnel, if that does not serve it.
    pub(super) fn offer_to(&mut self, latest: Option<ZtunnelId>) -> Option<Effect<N>> {
        self.retry_at = None;
        let ztunnel = latest.filter(|latest| !self.served_by.contains(latest))?;
        let (pod, netns, version) = (self.pod.clone(), self.netns.clone(), self.version);
        let offer = Effect::Tell(ztunnel, Order::Offer { pod, netns, version });
        let is_wanted = self.is_captured() || matches!(self.phase, Phase::Introduced { .. });
        is_wanted.then_some(offer)
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
