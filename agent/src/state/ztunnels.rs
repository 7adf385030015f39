//! Ztunnels that come, go and answer.

use tokio::time::Instant;

use super::entry::Phase;
use super::event::{Effect, Offered, Order, ZtunnelId};
use super::{Effects, State};

impl<N: Clone + PartialEq> State<N> {
    /// A ztunnel learns of every pod before it serves none of them wrongly: those with rules are offered to it, and
    /// those that are being worked on it shall keep if it has them.
    pub(super) fn connected(&mut self, ztunnel: ZtunnelId) -> Effects<N> {
        self.ztunnels.insert(ztunnel);
        let latest = self.latest();
        let mut effects = Vec::new();
        for (uid, entry) in &mut self.pods {
            entry.refusals = 0;
            match &entry.phase {
                Phase::Introduced { .. } | Phase::Captured | Phase::Verifying => {
                    effects.extend(entry.offer_to(latest));
                }
                Phase::Capturing { .. } | Phase::Releasing { .. } | Phase::Lingering { .. } => {
                    effects.push(Effect::Tell(ztunnel, Order::Keep { uid: uid.clone() }));
                }
                Phase::Leaving { .. } | Phase::Clearing => {}
            }
        }
        effects.push(Effect::Tell(ztunnel, Order::SnapshotSent));
        effects
    }

    pub(super) fn gone(&mut self, now: Instant, ztunnel: ZtunnelId) -> Effects<N> {
        let was_latest = self.latest() == Some(ztunnel);
        self.ztunnels.remove(&ztunnel);
        let latest = self.latest();
        let mut effects = Vec::new();
        for entry in self.pods.values_mut() {
            entry.served_by.remove(&ztunnel);
            if let Phase::Leaving { from, .. } = &mut entry.phase {
                from.remove(&ztunnel);
            }
            if was_latest {
                entry.refusals = 0;
                entry.problem = None;
                effects.extend(entry.offer_to(latest));
                effects.extend(entry.advance(latest));
            }
        }
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        effects.extend(uids.iter().flat_map(|uid| self.finish_if_left(now, uid)));
        effects
    }

    pub(super) fn offered(&mut self, now: Instant, offered: Offered) -> Effects<N> {
        let latest = self.latest();
        let Some(entry) = self.pods.get_mut(&offered.uid) else { return Vec::new() };
        if entry.version != offered.version || !self.ztunnels.contains(&offered.ztunnel) {
            return Vec::new();
        }
        entry.answered(offered, latest, now);
        entry.advance(latest)
    }

    pub(super) fn withdrawn(&mut self, now: Instant, uid: &str, ztunnel: ZtunnelId) -> Effects<N> {
        if let Some(entry) = self.pods.get_mut(uid)
            && let Phase::Leaving { from, .. } = &mut entry.phase
        {
            from.remove(&ztunnel);
        }
        self.finish_if_left(now, uid)
    }
}
