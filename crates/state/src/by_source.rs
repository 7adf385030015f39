//! Policies of one scope, found by the source of a connection: only those that can match it are asked.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{Action, Authorization, Identity, Str};
use ambit_policy::{Candidate, Source, Sources};
use equivalent::{Comparable, Equivalent};
use imbl::OrdMap;
use ipnet::IpNet;

/// Policies by the sources they name. A clone shares everything until one of the two changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct BySource {
    policies: OrdMap<Key, Arc<Authorization>>,
    /// How many keys are blocks of such an address family (IPv6 or not) and prefix length.
    prefixes: OrdMap<(bool, u8), usize>,
    len: usize,
    allows: usize,
    dry_run_allows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// `None` for policies that may match anybody.
    source: Option<Source>,
    /// The policy's.
    name: Str,
}

/// The source of a key, to look for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Any,
    Namespace(&'a str),
    ServiceAccount { namespace: &'a str, name: &'a str },
    Block(IpNet),
}

/// A place in the order of keys: before all policies of a source.
struct Before<'a>(Place<'a>);

// === impl BySource ===

impl BySource {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those that may match a connection of `identity` from `address`, and whether there are any that allow.
    pub(crate) fn candidates<'a>(
        &'a self,
        identity: Option<&Identity>,
        address: IpAddr,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let namespace = identity.map_or("", |identity| &*identity.namespace);
        let account = identity
            .map(|identity| Place::ServiceAccount { namespace, name: &identity.service_account });
        let may_match = [Place::Any, Place::Namespace(namespace)]
            .into_iter()
            .chain(account)
            .chain(self.blocks(address).map(Place::Block))
            .flat_map(|place| self.of(place));
        let allows = [(self.allows, false), (self.dry_run_allows, true)].into_iter();
        let allows = allows.filter(|(count, _)| *count > 0);
        may_match
            .map(|policy| Candidate::Known(policy))
            .chain(allows.map(|(_, dry_run)| Candidate::HasAllow { dry_run }))
    }

    /// The blocks around `address` of all prefix lengths that there are.
    fn blocks(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let address = address.to_canonical();
        let family = address.is_ipv6();
        let lengths = self.prefixes.range((family, 0)..=(family, u8::MAX));
        lengths.filter_map(move |((_, length), _)| Some(IpNet::new(address, *length).ok()?.trunc()))
    }

    fn of<'a>(&'a self, place: Place<'_>) -> impl Iterator<Item = &'a Arc<Authorization>> {
        let from = self.policies.range(Before(place)..);
        from.take_while(move |(key, _)| key.place() == place).map(|(_, policy)| policy)
    }

    pub(crate) fn insert(&mut self, name: &Str, policy: &Arc<Authorization>) {
        for key in keys(name, policy) {
            if let Some(prefix) = key.prefix() {
                *self.prefixes.entry(prefix).or_default() += 1;
            }
            self.policies.insert(key, policy.clone());
        }
        self.len += 1;
        if let Some(count) = self.count(policy) {
            *count += 1;
        }
    }

    /// Removes a policy that was inserted.
    pub(crate) fn remove(&mut self, name: &Str, policy: &Authorization) {
        for key in keys(name, policy) {
            if let Some(prefix) = key.prefix() {
                self.forget(prefix);
            }
            self.policies.remove(&key);
        }
        self.len -= 1;
        if let Some(count) = self.count(policy) {
            *count -= 1;
        }
    }

    /// One block less has that prefix.
    fn forget(&mut self, prefix: (bool, u8)) {
        match self.prefixes.get_mut(&prefix) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.prefixes.remove(&prefix);
            }
        }
    }

    /// The counter of policies of that kind.
    fn count(&mut self, policy: &Authorization) -> Option<&mut usize> {
        match (policy.action, policy.dry_run) {
            (Action::Allow, false) => Some(&mut self.allows),
            (Action::Allow, true) => Some(&mut self.dry_run_allows),
            (Action::Deny, _) => None,
        }
    }
}

/// The keys of a policy, one for each source that it names.
fn keys(name: &Str, policy: &Authorization) -> Vec<Key> {
    let key = |source| Key { source, name: name.clone() };
    match Sources::of(policy) {
        Sources::Any => vec![key(None)],
        Sources::Only(named) => named.into_iter().map(|source| key(Some(source))).collect(),
    }
}

// === impl Key ===

impl Key {
    fn place(&self) -> Place<'_> {
        match &self.source {
            None => Place::Any,
            Some(Source::Namespace(namespace)) => Place::Namespace(namespace),
            Some(Source::ServiceAccount { namespace, name }) => {
                Place::ServiceAccount { namespace, name }
            }
            Some(Source::Block(block)) => Place::Block(*block),
        }
    }

    /// The address family (IPv6 or not) and prefix length of a block.
    fn prefix(&self) -> Option<(bool, u8)> {
        match self.source {
            Some(Source::Block(block)) => Some((block.addr().is_ipv6(), block.prefix_len())),
            _ => None,
        }
    }
}

// === impl Before ===

impl Equivalent<Key> for Before<'_> {
    fn equivalent(&self, _: &Key) -> bool {
        false
    }
}

impl Comparable<Key> for Before<'_> {
    fn compare(&self, key: &Key) -> Ordering {
        self.0.cmp(&key.place()).then(Ordering::Less)
    }
}

#[cfg(test)]
mod tests;
