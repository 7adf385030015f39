//! The sources that a policy can match, so that the many policies about others need not be asked.

use std::collections::BTreeSet;

use ambit_model::{Authorization, Identity, Match, Str, StringMatch};
use ipnet::IpNet;

/// A source that a policy names exactly.
///
/// Plaintext comes from the namespace `""`, as in matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Everybody in a namespace.
    Namespace(Str),
    /// One service account of a namespace.
    ServiceAccount {
        /// The namespace.
        namespace: Str,
        /// The service account's name.
        name: Str,
    },
    /// A block of addresses; no bit beyond its prefix is set.
    Block(IpNet),
}

/// Who may be matched by a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Anybody: some rule has no clause that names sources exactly.
    Any,
    /// Only these: either names or blocks. None of them is within another.
    Only(BTreeSet<Source>),
}

// === impl Sources ===

impl Sources {
    /// The sources that `policy` names. It matches no connection of any other; whether it matches theirs,
    /// [`matches`](crate::matches) tells.
    pub fn of(policy: &Authorization) -> Self {
        // Not both, as a connection could be of a name and of a block, and would ask the policy twice.
        let only = all(policy, named).map(widest).or_else(|| all(policy, blocks).map(aggregated));
        only.map_or(Self::Any, Self::Only)
    }
}

/// The sources of all rules, where each has a clause that holds for none but those that `of_match` tells.
fn all<T>(policy: &Authorization, of_match: fn(&Match) -> Option<Vec<T>>) -> Option<Vec<T>> {
    let of_clause = |clause: &Vec<Match>| {
        // A clause without matches holds for everybody, a match without conditions counts as absent.
        let matches = clause.iter().filter(|m| !m.is_empty());
        let sources = || matches.map(of_match).collect::<Option<Vec<_>>>();
        (!clause.is_empty()).then(sources).flatten()
    };
    let of_rule = |rule: &Vec<Vec<Match>>| rule.iter().find_map(of_clause);
    let sources = policy.rules.iter().map(of_rule).collect::<Option<Vec<_>>>()?;
    Some(sources.into_iter().flatten().flatten().collect())
}

/// All but the service accounts whose namespace is among them.
fn widest(named: Vec<Source>) -> BTreeSet<Source> {
    let named: BTreeSet<Source> = named.into_iter().collect();
    let within = |source: &Source| match source {
        Source::ServiceAccount { namespace, .. } => {
            named.contains(&Source::Namespace(namespace.clone()))
        }
        Source::Namespace(_) | Source::Block(_) => false,
    };
    named.iter().filter(|source| !within(source)).cloned().collect()
}

fn aggregated(blocks: Vec<IpNet>) -> BTreeSet<Source> {
    IpNet::aggregate(&blocks).into_iter().map(|block| Source::Block(block.trunc())).collect()
}

fn blocks(m: &Match) -> Option<Vec<IpNet>> {
    (!m.source_ips.is_empty()).then(|| m.source_ips.clone())
}

fn named(m: &Match) -> Option<Vec<Source>> {
    let account = |namespace: &Str, name: &Str| Source::ServiceAccount {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    if !m.service_accounts.is_empty() {
        let wanted = m.service_accounts.iter();
        return Some(wanted.map(|a| account(&a.namespace, &a.service_account)).collect());
    }
    let principals = exact(&m.principals, |principal| {
        let identity: Identity = format!("{}{principal}", Identity::SCHEME).parse().ok()?;
        Some(account(&identity.namespace, &identity.service_account))
    });
    principals
        .or_else(|| exact(&m.namespaces, |namespace| Some(Source::Namespace(namespace.clone()))))
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
