//! `istio.security.Authorization` → [`Authorization`].
//!
//! A policy is taken whole or not at all: dropping a condition that cannot be read could make the policy more
//! permissive than it was written.

use ambit_model::{Action, Authorization, Match, Scope, ServiceAccountMatch, StringMatch};
use ambit_proto::security as proto;
use ambit_proto::security::string_match::MatchType;
use ipnet::IpNet;

use super::address::{self, InvalidAddress};
use crate::Interner;

/// A malformed policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAuthorization {
    /// It has no key.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A scope or an action that is not known.
    #[error("{field} {value} is unknown")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A condition on a string that says nothing.
    #[error("{0}: a string match is empty")]
    EmptyStringMatch(&'static str),
    /// A service account without name or namespace.
    #[error("{0}: a service account lacks its name or its namespace")]
    ServiceAccount(&'static str),
    /// A bad address or port.
    #[error("{field}: {source}")]
    Address {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

/// Decodes a policy.
///
/// # Errors
/// The first field that is malformed; nothing of the policy may be used then.
pub fn authorization(
    message: proto::Authorization,
    interner: &mut Interner,
) -> Result<Authorization, InvalidAuthorization> {
    for (field, value) in [("name", &message.name), ("namespace", &message.namespace)] {
        if value.is_empty() {
            return Err(InvalidAuthorization::Missing(field));
        }
    }
    let unknown = |field, value| InvalidAuthorization::Unknown { field, value };
    let scope = scope(message.scope).ok_or(unknown("scope", message.scope))?;
    let action = match proto::Action::try_from(message.action) {
        Ok(proto::Action::Allow) => Action::Allow,
        Ok(proto::Action::Deny) => Action::Deny,
        Err(_) => return Err(unknown("action", message.action)),
    };
    let mut clause = |clause: &proto::Clause| {
        clause.matches.iter().map(|m| matches(m, interner)).collect::<Result<Vec<_>, _>>()
    };
    let mut rule = |rule: &proto::Rule| rule.clauses.iter().map(&mut clause).collect();
    let rules = message.rules.iter().map(&mut rule).collect::<Result<_, _>>()?;
    Ok(Authorization {
        name: message.name.into(),
        namespace: interner.intern(&message.namespace),
        scope,
        action,
        rules,
        dry_run: message.dry_run,
    })
}

/// A policy that denies everything to the workloads that `message` applies to: what has to be enforced in place of a
/// malformed policy of which no earlier version is known. `None` where the message does not say to whom it applies.
pub fn stand_in(message: &proto::Authorization, interner: &mut Interner) -> Option<Authorization> {
    if message.name.is_empty() || message.namespace.is_empty() {
        return None;
    }
    Some(Authorization {
        name: message.name.as_str().into(),
        namespace: interner.intern(&message.namespace),
        scope: scope(message.scope)?,
        action: Action::Deny,
        // A rule without clauses matches everything.
        rules: vec![Vec::new()],
        dry_run: message.dry_run,
    })
}

fn scope(value: i32) -> Option<Scope> {
    match proto::Scope::try_from(value).ok()? {
        proto::Scope::Global => Some(Scope::Global),
        proto::Scope::Namespace => Some(Scope::Namespace),
        proto::Scope::WorkloadSelector => Some(Scope::WorkloadSelector),
    }
}

fn matches(m: &proto::Match, interner: &mut Interner) -> Result<Match, InvalidAuthorization> {
    let mut accounts = |field, list| service_accounts(field, list, interner);
    let service_accounts = accounts("service_accounts", &m.service_accounts)?;
    let not_service_accounts = accounts("not_service_accounts", &m.not_service_accounts)?;
    let mut strings = |field, list| strings(field, list, interner);
    Ok(Match {
        namespaces: strings("namespaces", &m.namespaces)?,
        not_namespaces: strings("not_namespaces", &m.not_namespaces)?,
        service_accounts,
        not_service_accounts,
        principals: strings("principals", &m.principals)?,
        not_principals: strings("not_principals", &m.not_principals)?,
        source_ips: nets("source_ips", &m.source_ips)?,
        not_source_ips: nets("not_source_ips", &m.not_source_ips)?,
        destination_ips: nets("destination_ips", &m.destination_ips)?,
        not_destination_ips: nets("not_destination_ips", &m.not_destination_ips)?,
        destination_ports: ports("destination_ports", &m.destination_ports)?,
        not_destination_ports: ports("not_destination_ports", &m.not_destination_ports)?,
    })
}

fn strings(
    field: &'static str,
    list: &[proto::StringMatch],
    interner: &mut Interner,
) -> Result<Vec<StringMatch>, InvalidAuthorization> {
    list.iter()
        .map(|m| match &m.match_type {
            Some(MatchType::Exact(text)) => Ok(StringMatch::Exact(interner.intern(text))),
            Some(MatchType::Prefix(text)) => Ok(StringMatch::Prefix(interner.intern(text))),
            Some(MatchType::Suffix(text)) => Ok(StringMatch::Suffix(interner.intern(text))),
            Some(MatchType::Presence(())) => Ok(StringMatch::Presence()),
            None => Err(InvalidAuthorization::EmptyStringMatch(field)),
        })
        .collect()
}

fn service_accounts(
    field: &'static str,
    list: &[proto::ServiceAccountMatch],
    interner: &mut Interner,
) -> Result<Vec<ServiceAccountMatch>, InvalidAuthorization> {
    list.iter()
        .map(|m| {
            if m.namespace.is_empty() || m.service_account.is_empty() {
                return Err(InvalidAuthorization::ServiceAccount(field));
            }
            Ok(ServiceAccountMatch {
                namespace: interner.intern(&m.namespace),
                service_account: interner.intern(&m.service_account),
            })
        })
        .collect()
}

fn nets(field: &'static str, list: &[proto::Address]) -> Result<Vec<IpNet>, InvalidAuthorization> {
    list.iter()
        .map(|a| {
            address::cidr(&a.address, a.length)
                .map_err(|source| InvalidAuthorization::Address { field, source })
        })
        .collect()
}

fn ports(field: &'static str, list: &[u32]) -> Result<Vec<u16>, InvalidAuthorization> {
    list.iter()
        .map(|&port| {
            address::optional_port(port)
                .map_err(|source| InvalidAuthorization::Address { field, source })
        })
        .collect()
}
