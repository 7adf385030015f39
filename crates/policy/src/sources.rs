//! The sources that a policy can match, so that the many policies about others need not be asked.

use std::collections::BTreeSet;

use ambit_model::{Authorization, Identity, Match, Str, StringMatch};

/// A source that a policy names exactly: a namespace, or a service account in it.
///
/// Plaintext comes from the namespace `""`, as in matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The namespace.
    pub namespace: Str,
    /// The service account; `None` for all of the namespace.
    pub service_account: Option<Str>,
}

/// Who may be matched by a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Anybody: some rule has no clause of exact names alone.
    Any,
    /// Only these. None of them is within another.
    Only(BTreeSet<Source>),
}

// === impl Sources ===

impl Sources {
    /// The sources that `policy` names. It matches no connection of any other; whether it matches theirs,
    /// [`matches`](crate::matches) tells.
    pub fn of(policy: &Authorization) -> Self {
        let rules =
            policy.rules.iter().map(|rule| rule.iter().find_map(|clause| of_clause(clause)));
        let Some(named) = rules.collect::<Option<Vec<_>>>() else {
            return Self::Any;
        };
        let mut named: BTreeSet<Source> = named.into_iter().flatten().collect();
        let wide: BTreeSet<Str> = named
            .iter()
            .filter(|s| s.service_account.is_none())
            .map(|s| s.namespace.clone())
            .collect();
        named.retain(|s| s.service_account.is_none() || !wide.contains(&s.namespace));
        Self::Only(named)
    }
}

/// The sources without which a clause does not hold; `None` where others may pass.
fn of_clause(clause: &[Match]) -> Option<Vec<Source>> {
    if clause.is_empty() {
        return None;
    }
    let matches = clause.iter().filter(|m| !m.is_empty());
    matches.map(of_match).collect::<Option<Vec<_>>>().map(|named| named.concat())
}

fn of_match(m: &Match) -> Option<Vec<Source>> {
    let account = |namespace: &Str, account: &Str| Source {
        namespace: namespace.clone(),
        service_account: Some(account.clone()),
    };
    if !m.service_accounts.is_empty() {
        let wanted = m.service_accounts.iter();
        return Some(wanted.map(|a| account(&a.namespace, &a.service_account)).collect());
    }
    let principals = exact(&m.principals, |principal| {
        let identity: Identity = format!("{}{principal}", Identity::SCHEME).parse().ok()?;
        Some(account(&identity.namespace, &identity.service_account))
    });
    principals.or_else(|| {
        exact(&m.namespaces, |namespace| {
            Some(Source { namespace: namespace.clone(), service_account: None })
        })
    })
}

/// What the values of a field name if there are some and all of them are exact.
fn exact(wanted: &[StringMatch], of: impl Fn(&Str) -> Option<Source>) -> Option<Vec<Source>> {
    let each = wanted.iter().map(|want| match want {
        StringMatch::Exact(value) => of(value),
        StringMatch::Prefix(_) | StringMatch::Suffix(_) | StringMatch::Presence() => None,
    });
    (!wanted.is_empty()).then(|| each.collect()).flatten()
}

#[cfg(test)]
mod tests;
