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
            // The pod was set up anew. What is left in its old namespace is cleaned up first.
            let mut effects = vec![entry.release(None, true)];
            effects.extend(put_off(entry, addition.request, Event::Add(addition)));
            return effects;
        }
        entry.waiting.extend(addition.request);
        if entry.pod != addition.pod {
            let before = Some(std::mem::replace(&mut entry.pod, addition.pod));
            entry.phase = Phase::Capturing { before };
            return vec![entry.capture(false)];
        }
        match entry.is_served_by(latest) {
            true => entry.reply(&Ok(())),
            false => Vec::new(),
        }
    }

    fn add_new(&mut self, now: Instant, addition: Addition<N>) -> Effects<N> {
        let taken = self.pods.values().find(|other| other.netns == addition.netns);
        if let Some(other) = taken {
            let owner = &other.pod.uid;
            let problem =
                format!("its network namespace is that of pod {owner}: remove that first");
            return reply(addition.request, Err(problem));
        }
        let fresh = !addition.restored;
        let uid = addition.pod.uid.clone();
        let entry = Entry::new(addition, now);
        let effects = vec![entry.capture(fresh)];
        self.pods.insert(uid, entry);
        effects
    }

    pub(super) fn remove(&mut self, now: Instant, removal: Removal) -> Effects<N> {
        let Some(entry) = self.pods.get_mut(&removal.uid) else {
            return reply(removal.request, Ok(()));
        };
        if entry.is_busy() {
            return put_off(entry, removal.request, Event::Remove(removal));
        }
        if removal.alive {
            return vec![entry.release(removal.request, false)];
        }
        self.leave(now, &removal.uid, removal.request)
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
