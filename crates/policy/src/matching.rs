//! Whether one policy matches one connection.

use ambit_model::{Authorization, Identity, Match, ServiceAccountMatch, StringMatch};
use ipnet::IpNet;

use crate::Facts;

/// Whether `policy` matches the connection, whatever its action.
///
/// Any rule, all its clauses, any match of each. A policy without rules never matches, a rule without clauses always
/// does, a clause without matches is true, and a match without conditions is skipped.
pub fn matches(policy: &Authorization, facts: &Facts<'_>) -> bool {
    let facts = Facts { source_ip: facts.source_ip.to_canonical(), ..*facts };
    policy.rules.iter().any(|rule| rule.iter().all(|clause| clause_matches(clause, &facts)))
}

fn clause_matches(clause: &[Match], facts: &Facts<'_>) -> bool {
    clause.is_empty() || clause.iter().any(|m| !m.is_empty() && match_holds(m, facts))
}

fn match_holds(m: &Match, facts: &Facts<'_>) -> bool {
    let identity = facts.source_identity;
    let namespace = identity.map_or("", |id| &*id.namespace);
    let destination = facts.destination.ip().to_canonical();
    let port = facts.destination.port();
    let principal = |want: &StringMatch| identity.is_some_and(|id| principal_matches(want, id));
    let account = |want: &ServiceAccountMatch| identity.is_some_and(|id| account_matches(want, id));

    holds(&m.destination_ports, &m.not_destination_ports, |want| *want == port)
        && holds(&m.principals, &m.not_principals, principal)
        && holds(&m.namespaces, &m.not_namespaces, |want| {
            string_matches(want, namespace.as_bytes())
        })
        && holds(&m.service_accounts, &m.not_service_accounts, account)
        && holds(&m.source_ips, &m.not_source_ips, |net: &IpNet| net.contains(&facts.source_ip))
        && holds(&m.destination_ips, &m.not_destination_ips, |net| net.contains(&destination))
}

/// One field and its negation: any of the wanted values (or none is wanted), and none of the unwanted ones.
fn holds<T>(wanted: &[T], unwanted: &[T], mut is: impl FnMut(&T) -> bool) -> bool {
    (wanted.is_empty() || wanted.iter().any(&mut is)) && !unwanted.iter().any(is)
}

pub(crate) fn string_matches(want: &StringMatch, value: &[u8]) -> bool {
    match want {
        StringMatch::Exact(exact) => value == exact.as_bytes(),
        StringMatch::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        StringMatch::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
        StringMatch::Presence() => !value.is_empty(),
    }
}

pub(crate) fn account_matches(want: &ServiceAccountMatch, identity: &Identity) -> bool {
    want.namespace == identity.namespace && want.service_account == identity.service_account
}

/// Compares with `<td>/ns/<ns>/sa/<sa>` without writing it down.
pub(crate) fn principal_matches(want: &StringMatch, identity: &Identity) -> bool {
    let parts: [&str; 5] =
        [&identity.trust_domain, "/ns/", &identity.namespace, "/sa/", &identity.service_account];
    match want {
        StringMatch::Exact(exact) => {
            exact.len() == parts.iter().map(|part| part.len()).sum::<usize>()
                && begins(&parts, exact)
        }
        StringMatch::Prefix(prefix) => begins(&parts, prefix),
        StringMatch::Suffix(suffix) => ends(&parts, suffix),
        StringMatch::Presence() => true,
    }
}

/// Whether the concatenated `parts` begin with `prefix`.
fn begins(parts: &[&str], prefix: &str) -> bool {
    let mut rest = prefix.as_bytes();
    for part in parts.iter().map(|part| part.as_bytes()) {
        if rest.len() <= part.len() {
            return part.starts_with(rest);
        }
        let Some(next) = rest.strip_prefix(part) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

/// Whether the concatenated `parts` end with `suffix`.
fn ends(parts: &[&str], suffix: &str) -> bool {
    let mut rest = suffix.as_bytes();
    for part in parts.iter().rev().map(|part| part.as_bytes()) {
        if rest.len() <= part.len() {
            return part.ends_with(rest);
        }
        let Some(next) = rest.strip_suffix(part) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}
