//! Operations on a pod's rules that have ended.

use tokio::time::Instant;

use super::entry::Phase;
use super::event::{Effect, Order, Outcome, RequestId};
use super::{Effects, State, reply};

impl<N: Clone + PartialEq> State<N> {
    pub(super) fn captured(&mut self, now: Instant, uid: &str, outcome: Outcome) -> Effects<N> {
        let latest = self.latest();
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        let Phase::Capturing { before } = &mut entry.phase else { return Vec::new() };
        let before = before.take();
        let mut effects = Vec::new();
        if outcome.is_ok() {
            self.versions += 1;
            entry.version = self.versions;
            entry.served_by.clear();
            entry.refusals = 0;
            entry.problem = None;
        } else {
            effects.extend(entry.reply(&outcome));
            let Some(before) = before else {
                effects.push(Effect::Forget { uid: uid.to_owned() });
                effects.extend(self.drop_pod(now, uid));
                return effects;
            };
            entry.pod = before;
        }
        entry.phase = Phase::Captured;
        entry.verify_at = now + self.verify_interval;
        effects.extend(entry.offer_to(latest));
        effects.extend(self.replay(now, uid));
        effects
    }

    pub(super) fn released(&mut self, now: Instant, uid: &str, outcome: Outcome) -> Effects<N> {
        let latest = self.latest();
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        let Phase::Releasing { request, replaced } = entry.phase else { return Vec::new() };
        match outcome {
            // Had ztunnel to let go of a pod that still has rules, the pod would be cut off.
            Err(problem) if !replaced => {
                entry.phase = Phase::Captured;
                let problem =
                    format!("its rules cannot be taken out, so it stays captured: {problem}");
                let mut effects = reply(request, Err(problem));
                effects.extend(entry.offer_to(latest));
                effects.extend(self.replay(now, uid));
                effects
            }
            _ => self.leave(now, uid, request),
        }
    }

    pub(super) fn verified(&mut self, now: Instant, uid: &str) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        if !matches!(entry.phase, Phase::Verifying) {
            return Vec::new();
        }
        entry.phase = Phase::Captured;
        entry.verify_at = now + self.verify_interval;
        self.replay(now, uid)
    }

    /// Tells ztunnels to let go of a pod that is not captured any more.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        uid: &str,
        request: Option<RequestId>,
    ) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        entry.phase = Phase::Leaving { from: self.ztunnels.clone(), request };
        let mut effects = entry.reply(&Err("the pod was removed meanwhile".into()));
        effects.push(Effect::Forget { uid: uid.to_owned() });
        let withdraw =
            |ztunnel: &_| Effect::Tell(*ztunnel, Order::Withdraw { uid: uid.to_owned() });
        effects.extend(self.ztunnels.iter().map(withdraw));
        effects.extend(self.finish_if_left(now, uid));
        effects
    }

    /// Drops a pod that every ztunnel has let go of.
    pub(super) fn finish_if_left(&mut self, now: Instant, uid: &str) -> Effects<N> {
        match self.pods.get(uid).map(|entry| &entry.phase) {
            Some(Phase::Leaving { from, request }) if from.is_empty() => {
                let mut effects = reply(*request, Ok(()));
                effects.extend(self.drop_pod(now, uid));
                effects
            }
            _ => Vec::new(),
        }
    }
}
