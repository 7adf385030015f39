//! Operations on a pod's rules that have ended.

use tokio::time::Instant;

use super::entry::Phase;
use super::event::{Effect, Order, Outcome, RequestId};
use super::{Effects, LINGER, State, reply};

impl<N: Clone + PartialEq> State<N> {
    pub(super) fn captured(&mut self, now: Instant, uid: &str, outcome: Outcome) -> Effects<N> {
        let latest = self.latest();
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        let Phase::Capturing { before } = &mut entry.phase else { return Vec::new() };
        let mut effects = Vec::new();
        match (outcome, before.take()) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => entry.renew(&mut self.versions),
            (failure, None) => {
                effects.extend(entry.reply(&failure));
                effects.extend(self.leave(now, uid, None, false));
                return effects;
            }
            (failure, Some(before)) => {
                effects.extend(entry.reply(&failure));
                entry.pod = before;
            }
        }
        entry.phase = Phase::Captured;
        entry.verify_at = now + self.verify_interval;
        effects.extend(entry.advance(latest));
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
            _ if replaced => self.leave(now, uid, request, true),
            _ => {
                entry.phase = Phase::Lingering { until: now + LINGER };
                let mut effects = entry.reply(&Err("the pod was removed meanwhile".into()));
                effects.extend(reply(request, Ok(())));
                effects.extend(self.replay(now, uid));
                effects
            }
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

    /// Tells ztunnels to let go of a pod that is not captured any more. `passes`: there are rules to be taken out.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        uid: &str,
        request: Option<RequestId>,
        passes: bool,
    ) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        entry.phase = Phase::Leaving { from: self.ztunnels.clone(), request, passes };
        let mut effects = entry.reply(&Err("the pod was removed meanwhile".into()));
        let withdraw =
            |ztunnel: &_| Effect::Tell(*ztunnel, Order::Withdraw { uid: uid.to_owned() });
        effects.extend(self.ztunnels.iter().map(withdraw));
        effects.extend(self.finish_if_left(now, uid));
        effects
    }

    /// Goes on with a pod that every ztunnel has let go of.
    pub(super) fn finish_if_left(&mut self, now: Instant, uid: &str) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(uid) else { return Vec::new() };
        let (request, passes) = match &entry.phase {
            Phase::Leaving { from, request, passes } if from.is_empty() => (*request, *passes),
            _ => return Vec::new(),
        };
        let mut effects = reply(request, Ok(()));
        match passes {
            true => effects.push(entry.clear()),
            false => effects.extend(self.end(now, uid)),
        }
        effects
    }
}
