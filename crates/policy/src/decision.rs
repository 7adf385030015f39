//! What was decided, by which policy and why.

use std::fmt;

use ambit_model::{Action, Authorization, PolicyName};

/// The answer for one connection. It borrows the policies it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Why the connection is allowed or denied.
    pub reason: Reason,
    /// The policy that decided, where one did.
    pub policy: Option<PolicyRef<'a>>,
    /// The dry-run policies that match the connection, in the order of the candidates. They changed nothing.
    pub dry_run: Vec<DryRun<'a>>,
    /// Dry-run ALLOW policies exist and none of them nor any enforced one matches: once enforced, they would deny.
    pub dry_run_would_deny: bool,
    /// Names of unknown policies that were skipped because the operator asked for it.
    pub skipped: Vec<&'a str>,
}

/// Why a connection is allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Allowed: no enforced ALLOW policy applies, and no DENY policy matches.
    NoAllowPolicies,
    /// Allowed: an ALLOW policy matches.
    AllowMatched,
    /// Denied: a DENY policy matches.
    ExplicitDeny,
    /// Denied: ALLOW policies apply and none of them matches.
    NoAllowMatched,
    /// Denied: the workload refers to a policy that has not arrived.
    UnknownPolicy,
    /// Denied: the first complete set of workloads and policies has not arrived.
    NotSynced,
}

/// A policy by its two names; prints `namespace/name`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyRef<'a> {
    /// The namespace; empty for an unknown policy whose name has no slash.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

/// A dry-run policy that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRun<'a> {
    /// The policy.
    pub policy: PolicyRef<'a>,
    /// What it would have done.
    pub action: Action,
}

// === impl Decision ===

impl<'a> Decision<'a> {
    pub(crate) fn of(reason: Reason, policy: Option<PolicyRef<'a>>) -> Self {
        Self { reason, policy, dry_run: Vec::new(), dry_run_would_deny: false, skipped: Vec::new() }
    }

    /// The denial to give while the first complete sync is still under way.
    pub fn not_synced() -> Self {
        Self::of(Reason::NotSynced, None)
    }

    /// Whether the connection may live.
    pub fn allowed(&self) -> bool {
        self.reason.allows()
    }
}

/// One line for logs: why, and by which policy.
impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.message())?;
        match self.policy {
            Some(policy) => write!(f, ": {policy}"),
            None => Ok(()),
        }
    }
}

// === impl Reason ===

impl Reason {
    /// Every reason, for metrics that want all their series from the start.
    pub const ALL: [Self; 6] = [
        Self::NoAllowPolicies,
        Self::AllowMatched,
        Self::ExplicitDeny,
        Self::NoAllowMatched,
        Self::UnknownPolicy,
        Self::NotSynced,
    ];

    /// The stable label for metrics and log fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAllowPolicies => "no_allow_policies",
            Self::AllowMatched => "allow_matched",
            Self::ExplicitDeny => "explicit_deny",
            Self::NoAllowMatched => "no_allow_matched",
            Self::UnknownPolicy => "unknown_policy",
            Self::NotSynced => "not_synced",
        }
    }

    /// Whether it is a reason to let the connection live.
    pub fn allows(self) -> bool {
        match self {
            Self::NoAllowPolicies | Self::AllowMatched => true,
            Self::ExplicitDeny | Self::NoAllowMatched | Self::UnknownPolicy | Self::NotSynced => {
                false
            }
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NoAllowPolicies => "no allow policy applies",
            Self::AllowMatched => "allowed by",
            Self::ExplicitDeny => "explicitly denied by",
            Self::NoAllowMatched => "allow policies exist, but none allowed",
            Self::UnknownPolicy => {
                "the workload refers to a policy that has not arrived (UNKNOWN_POLICY=allow skips it)"
            }
            Self::NotSynced => "workloads and policies have not all arrived yet",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl PolicyRef ===

impl<'a> PolicyRef<'a> {
    /// The names of a known policy.
    pub fn of(policy: &'a Authorization) -> Self {
        Self { namespace: &policy.namespace, name: &policy.name }
    }

    /// The names in `namespace/name`.
    pub fn parse(key: &'a str) -> Self {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        Self { namespace, name }
    }

    /// An owned `namespace/name`, to outlive the snapshot.
    pub fn to_name(self) -> PolicyName {
        PolicyName(self.to_string().into())
    }
}

impl fmt::Display for PolicyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(self.name)
    }
}

impl fmt::Debug for PolicyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
