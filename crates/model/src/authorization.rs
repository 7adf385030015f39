//! Authorization policies at layer 4. `ambit-policy` gives them their meaning.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Str, is_default};

/// A policy, as `istio.security.Authorization` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    /// The policy's name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// The workloads it applies to.
    pub scope: Scope,
    /// What a match means.
    pub action: Action,
    /// Rules of clauses of matches: any rule, all its clauses, any match of each.
    pub rules: Vec<Vec<Vec<Match>>>,
    /// Matches are reported and have no effect.
    #[serde(default)]
    pub dry_run: bool,
}

/// A policy's primary key, `namespace/name`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyName(pub Str);

/// The workloads a policy applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// All.
    Global,
    /// Those of its namespace.
    Namespace,
    /// Those that name it.
    WorkloadSelector,
}

/// What it means when a policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Action {
    Allow,
    Deny,
}

/// Conditions of which each that is set must hold; within one, any value does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Match {
    #[serde(skip_serializing_if = "is_default")]
    pub namespaces: Vec<StringMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_namespaces: Vec<StringMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub principals: Vec<StringMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_principals: Vec<StringMatch>,
    #[serde(skip_serializing_if = "is_default")]
    pub source_ips: Vec<IpNet>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_source_ips: Vec<IpNet>,
    #[serde(skip_serializing_if = "is_default")]
    pub destination_ips: Vec<IpNet>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_destination_ips: Vec<IpNet>,
    #[serde(skip_serializing_if = "is_default")]
    pub destination_ports: Vec<u16>,
    #[serde(skip_serializing_if = "is_default")]
    pub not_destination_ports: Vec<u16>,
}

/// A case-sensitive condition on a string, `{Exact: x}` in files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum StringMatch {
    /// The whole string.
    Exact(Str),
    /// Its beginning.
    Prefix(Str),
    /// Its end.
    Suffix(Str),
    /// Anything but the empty string; `{Presence: []}` in files.
    Presence(),
}

/// A service account in a namespace, whatever the trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountMatch {
    /// The namespace.
    pub namespace: Str,
    /// The service account.
    pub service_account: Str,
}

impl<'de> Deserialize<'de> for StringMatch {
    /// As derived, but not particular about what `Presence` holds: an empty list reads as nothing in some formats.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        enum Form {
            Exact(Str),
            Prefix(Str),
            Suffix(Str),
            Presence(serde::de::IgnoredAny),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Exact(text) => Self::Exact(text),
            Form::Prefix(text) => Self::Prefix(text),
            Form::Suffix(text) => Self::Suffix(text),
            Form::Presence(_) => Self::Presence(),
        })
    }
}

// === impl Authorization ===

impl Authorization {
    /// The primary key.
    pub fn key(&self) -> PolicyName {
        PolicyName(format!("{}/{}", self.namespace, self.name).into())
    }
}

// === impl PolicyName ===

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Match ===

impl Match {
    /// Whether no condition is set.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}
