//! What pod sources ask for.

use tokio::time::Instant;

use super::entry::{Entry, Phase};
use super::event::{Addition, Effect, Event, Removal, RequestId};
use super::{Effects, State, reply};

impl<N: Clone + PartialEq> State<N> {
    pub(super) fn add(&mut self, now: Instant, addition: Addition<N>) -> Effects<N> {
        let latest = self.latest();
        let Some(entry) = self.pods.get_mut(&addition.pod.uid) else {
            return self.add_new(now, addition);
        };
        if entry.is_busy() {
            return put_off(entry, addition.request, Event::Add(addition));
        }
        if entry.netns != addition.netns {
            return self.replace(now, addition);
        }
        entry.waiting.extend(addition.request);
        let is_changed = entry.pod != addition.pod;
        let before = std::mem::replace(&mut entry.pod, addition.pod);
        match entry.phase {
            Phase::Captured if is_changed => {
                entry.phase = Phase::Capturing { before: Some(before) };
                return vec![entry.capture(false)];
            }
            Phase::Lingering { .. } => entry.phase = Phase::Introduced { passes: true },
            _ if !is_changed => return entry.advance(latest),
            _ => {}
        }
        if is_changed {
            entry.renew(&mut self.versions);
        }
        let mut effects: Vec<_> = entry.offer_to(latest).into_iter().collect();
        effects.extend(entry.advance(latest));
        effects
    }

    /// The pod was set up anew. What is left in its old namespace is cleaned up first.
    fn replace(&mut self, now: Instant, addition: Addition<N>) -> Effects<N> {
        let uid = addition.pod.uid.clone();
        let Some(entry) = self.pods.get_mut(&uid) else { return Vec::new() };
        let mut effects = put_off(entry, addition.request, Event::Add(addition));
        match entry.phase {
            Phase::Introduced { passes } => effects.extend(self.leave(now, &uid, None, passes)),
            Phase::Lingering { .. } => effects.extend(self.leave(now, &uid, None, true)),
            _ => effects.push(entry.release(None, true)),
        }
        effects
    }

    fn add_new(&mut self, now: Instant, addition: Addition<N>) -> Effects<N> {
        let taken = self.pods.values().find(|other| other.netns == addition.netns);
        if let Some(other) = taken {
            let owner = &other.pod.uid;
            let problem =
                format!("its network namespace is that of pod {owner}: remove that first");
            return reply(addition.request, Err(problem));
        }
        let latest = self.latest();
        let restored = addition.restored;
        let uid = addition.pod.uid.clone();
        let mut entry = Entry::new(addition, now);
        let effect = if restored {
            Some(entry.capture(false))
        } else {
            entry.renew(&mut self.versions);
            entry.offer_to(latest)
        };
        self.pods.insert(uid, entry);
        effect.into_iter().collect()
    }

    pub(super) fn remove(&mut self, now: Instant, removal: Removal) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(&removal.uid) else {
            return reply(removal.request, Ok(()));
        };
        if entry.is_busy() {
            return put_off(entry, removal.request, Event::Remove(removal));
        }
        let Removal { request, uid, alive } = removal;
        match entry.phase {
            Phase::Introduced { passes } => self.leave(now, &uid, request, passes && alive),
            Phase::Lingering { .. } if alive => reply(request, Ok(())),
            _ if alive => vec![entry.release(request, false)],
            _ => self.leave(now, &uid, request, false),
        }
    }

    pub(super) fn give_up(&mut self, request: RequestId) -> Effects<N> {
        let latest = self.latest();
        let mut pods = self.pods.values_mut();
        let Some(entry) = pods.find_map(|entry| entry.forget_request(request).then_some(entry))
        else {
            return Vec::new();
        };
        let problem = format!("not done yet, and being tried further: {}", entry.obstacle(latest));
        reply(Some(request), Err(problem))
    }
}

/// Has `event` wait for the operation under way, or refuses it if too many do.
fn put_off<N>(entry: &mut Entry<N>, request: Option<RequestId>, event: Event<N>) -> Vec<Effect<N>> {
    match entry.put_off(event) {
        true => Vec::new(),
        false => reply(
            request,
            Err("too many requests for this pod are waiting: try again later".into()),
        ),
    }
}
