//! Policies of one scope, found by the source of a connection: only those that can match it are asked.

use std::cmp::Ordering;
use std::sync::Arc;

use ambit_model::{Action, Authorization, Identity, Str};
use ambit_policy::{Candidate, Source, Sources};
use equivalent::{Comparable, Equivalent};
use imbl::OrdMap;

/// Policies by the sources they name. A clone shares everything until one of the two changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct BySource {
    policies: OrdMap<Key, Arc<Authorization>>,
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

/// A place in the order of keys: before all policies of a source.
struct Before<'a>(Option<(&'a str, Option<&'a str>)>);

// === impl BySource ===

impl BySource {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those that may match a connection of that source, and whether there are any that allow.
    pub(crate) fn candidates<'a>(
        &'a self,
        source: Option<&Identity>,
    ) -> impl Iterator<Item = Candidate<'a>> {
        let namespace = source.map_or("", |identity| &*identity.namespace);
        let account =
            source.map(|identity| Before(Some((namespace, Some(&identity.service_account)))));
        let may_match = [Before(None), Before(Some((namespace, None)))]
            .into_iter()
            .chain(account)
            .flat_map(|source| self.of(source));
        let allows = [(self.allows, false), (self.dry_run_allows, true)].into_iter();
        let allows = allows.filter(|(count, _)| *count > 0);
        may_match
            .map(|policy| Candidate::Known(policy))
            .chain(allows.map(|(_, dry_run)| Candidate::HasAllow { dry_run }))
    }

    fn of<'a>(&'a self, source: Before<'_>) -> impl Iterator<Item = &'a Arc<Authorization>> {
        let wanted = source.0;
        let from = self.policies.range(source..);
        from.take_while(move |(key, _)| key.parts() == wanted).map(|(_, policy)| policy)
    }

    pub(crate) fn insert(&mut self, name: &Str, policy: &Arc<Authorization>) {
        for key in keys(name, policy) {
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
            self.policies.remove(&key);
        }
        self.len -= 1;
        if let Some(count) = self.count(policy) {
            *count -= 1;
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
    fn parts(&self) -> Option<(&str, Option<&str>)> {
        self.source.as_ref().map(|s| (&*s.namespace, s.service_account.as_deref()))
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
        self.0.cmp(&key.parts()).then(Ordering::Less)
    }
}

#[cfg(test)]
mod tests;
