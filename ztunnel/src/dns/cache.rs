//! A pod's small cache of answers from its resolvers. Each pod has its own: resolvers may answer each differently, and
//! no pod learns what another one asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::{DNSClass, RecordType};

/// Answers kept for a pod.
const MAX_ENTRIES: usize = 256;
/// The longest answer that is kept, in bytes.
const MAX_BYTES: usize = 4096;

/// What makes two queries the same to a resolver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    name: String,
    kind: RecordType,
    class: DNSClass,
    dnssec: bool,
    unchecked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<Key, Entry>);

#[derive(Debug)]
struct Entry {
    response: Box<[u8]>,
    stored: Instant,
    expires: Instant,
}

impl Key {
    /// The key of a query; none for those whose answers are only for them: without recursion, or with a client subnet.
    pub(super) fn of(query: &Message) -> Option<Self> {
        let [question] = query.queries.as_slice() else { return None };
        let edns = query.edns.as_ref();
        let subnet = edns.is_some_and(|edns| edns.option(EdnsCode::Subnet).is_some());
        if subnet || !query.metadata.recursion_desired {
            return None;
        }
        Some(Self {
            name: question.name().to_ascii().to_ascii_lowercase(),
            kind: question.query_type(),
            class: question.query_class(),
            dnssec: edns.is_some_and(|edns| edns.flags().dnssec_ok),
            unchecked: query.metadata.checking_disabled,
        })
    }
}

impl Cache {
    /// A kept response and its age.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<(&[u8], Duration)> {
        let entry = self.0.get(key).filter(|entry| now < entry.expires)?;
        Some((&entry.response, now.saturating_duration_since(entry.stored)))
    }

    /// Keeps a response. A full cache lets go of what has expired, else of what expires next.
    pub(super) fn put(&mut self, key: Key, response: &[u8], lifetime: Duration, now: Instant) {
        if response.len() > MAX_BYTES {
            return;
        }
        if self.0.len() >= MAX_ENTRIES {
            self.0.retain(|_, entry| now < entry.expires);
        }
        if self.0.len() >= MAX_ENTRIES && !self.0.contains_key(&key) {
            let next = self.0.iter().min_by_key(|(_, entry)| entry.expires);
            if let Some(next) = next.map(|(key, _)| key.clone()) {
                self.0.remove(&next);
            }
        }
        let entry = Entry { response: response.into(), stored: now, expires: now + lifetime };
        self.0.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, MessageType, OpCode, Query};
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};

    use super::*;

    fn query(name: &str, kind: RecordType) -> Message {
        let mut query = Message::new(1, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        query
    }

    fn key(name: &str) -> Key {
        Key::of(&query(name, RecordType::A)).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn keeps_until_it_expires() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(key("a.example."), b"answer", MINUTE, now);
        let later = now + MINUTE / 2;
        assert_eq!(cache.get(&key("A.EXAMPLE."), later), Some((&b"answer"[..], MINUTE / 2)));
        assert_eq!(cache.get(&key("b.example."), now), None);
        assert_eq!(cache.get(&key("a.example."), now + MINUTE), None);
    }

    #[test]
    fn what_resolvers_tell_apart_is_kept_apart() {
        let plain = query("a.example.", RecordType::A);
        let mut unchecked = plain.clone();
        unchecked.metadata.checking_disabled = true;
        let mut dnssec = plain.clone();
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        dnssec.set_edns(edns.clone());
        let keys = [
            Key::of(&plain),
            Key::of(&unchecked),
            Key::of(&dnssec),
            Key::of(&query("a.example.", RecordType::AAAA)),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(key.is_some());
            assert!(!keys[..index].contains(key), "{index}");
        }
    }

    #[test]
    fn personal_answers_are_not_kept() {
        let mut without_recursion = query("a.example.", RecordType::A);
        without_recursion.metadata.recursion_desired = false;
        assert_eq!(Key::of(&without_recursion), None);
        let mut subnet = query("a.example.", RecordType::A);
        let mut edns = Edns::new();
        let from = ClientSubnet::new("192.0.2.0".parse().unwrap(), 24, 0);
        edns.options_mut().insert(EdnsOption::Subnet(from));
        subnet.set_edns(edns);
        assert_eq!(Key::of(&subnet), None);
    }

    #[test]
    fn stays_small() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for number in 0..2 * MAX_ENTRIES {
            let lifetime = MINUTE + Duration::from_secs(number as u64);
            cache.put(key(&format!("n{number}.example.")), b"answer", lifetime, now);
        }
        assert_eq!(cache.0.len(), MAX_ENTRIES);
        let last = key(&format!("n{}.example.", 2 * MAX_ENTRIES - 1));
        assert!(cache.get(&last, now).is_some(), "what lives longest stays");
        cache.put(key("long.example."), &[0; MAX_BYTES + 1], MINUTE, now);
        assert_eq!(cache.get(&key("long.example."), now), None);
        cache.put(key("late.example."), b"answer", MINUTE, now + 20 * MINUTE);
        assert_eq!(cache.0.len(), 1, "what has expired makes room first");
    }
}
