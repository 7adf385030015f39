//! The decision over all policies that apply: DENY first, then ALLOW.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{Action, Authorization, Identity};

use crate::matching::matches;
use crate::{Decision, DryRun, PolicyRef, Reason};

/// What is known about a connection when it is authorized.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The TCP peer's address.
    pub source_ip: IpAddr,
    /// The peer's authenticated identity; `None` for plaintext.
    pub source_identity: Option<&'a Identity>,
    /// The application's own address and port, after port resolution; never the tunnel's port.
    pub destination: SocketAddr,
}

/// A policy that applies to the destination.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// One that has arrived.
    Known(&'a Authorization),
    /// ALLOW policies have arrived. Those that name other [`Sources`](crate::Sources) need not be candidates themselves.
    HasAllow {
        /// They are dry-run policies.
        dry_run: bool,
    },
    /// The `namespace/name` of one that the workload refers to and that has not arrived.
    Unknown(&'a str),
}

/// What a reference to a policy that has not arrived means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Deny until it arrives.
    #[default]
    Deny,
    /// Decide without it, as Istio's proxies do; [`Decision::skipped`] says which were passed over.
    Allow,
}

/// Decides on one connection.
///
/// Any enforced DENY policy that matches denies; then an unknown policy denies; then, if enforced ALLOW policies apply,
/// one of them has to match. Dry-run policies are reported in the decision and change nothing.
pub fn decide<'a>(
    facts: &Facts<'_>,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    unknown: UnknownPolicy,
) -> Decision<'a> {
    let mut seen = Seen::default();
    for candidate in candidates {
        match candidate {
            Candidate::Unknown(name) => seen.unknown(name, unknown),
            Candidate::HasAllow { dry_run: true } => seen.has_dry_run_allow = true,
            Candidate::HasAllow { dry_run: false } => seen.has_allow = true,
            Candidate::Known(policy) if policy.dry_run => seen.dry_run(policy, facts),
            Candidate::Known(policy) => seen.enforced(policy, facts),
        }
    }
    seen.into_decision()
}

/// What the candidates said so far.
#[derive(Default)]
struct Seen<'a> {
    denied_by: Option<&'a Authorization>,
    allowed_by: Option<&'a Authorization>,
    has_allow: bool,
    first_unknown: Option<&'a str>,
    skipped: Vec<&'a str>,
    dry_run: Vec<DryRun<'a>>,
    has_dry_run_allow: bool,
}

// === impl Seen ===

impl<'a> Seen<'a> {
    fn unknown(&mut self, name: &'a str, then: UnknownPolicy) {
        match then {
            UnknownPolicy::Deny => self.first_unknown = self.first_unknown.or(Some(name)),
            UnknownPolicy::Allow => self.skipped.push(name),
        }
    }

    fn dry_run(&mut self, policy: &'a Authorization, facts: &Facts<'_>) {
        self.has_dry_run_allow |= policy.action == Action::Allow;
        if matches(policy, facts) {
            self.dry_run.push(DryRun { policy: PolicyRef::of(policy), action: policy.action });
        }
    }

    fn enforced(&mut self, policy: &'a Authorization, facts: &Facts<'_>) {
        match policy.action {
            Action::Deny => {
                if self.denied_by.is_none() && matches(policy, facts) {
                    self.denied_by = Some(policy);
                }
            }
            Action::Allow => {
                self.has_allow = true;
                if self.allowed_by.is_none() && matches(policy, facts) {
                    self.allowed_by = Some(policy);
                }
            }
        }
    }

    fn into_decision(self) -> Decision<'a> {
        let (reason, policy) = if let Some(policy) = self.denied_by {
            (Reason::ExplicitDeny, Some(PolicyRef::of(policy)))
        } else if let Some(name) = self.first_unknown {
            (Reason::UnknownPolicy, Some(PolicyRef::parse(name)))
        } else if let Some(policy) = self.allowed_by {
            (Reason::AllowMatched, Some(PolicyRef::of(policy)))
        } else if self.has_allow {
            (Reason::NoAllowMatched, None)
        } else {
            (Reason::NoAllowPolicies, None)
        };
        let dry_run_allows = self.dry_run.iter().any(|d| d.action == Action::Allow);
        Decision {
            dry_run_would_deny: self.has_dry_run_allow
                && !dry_run_allows
                && self.allowed_by.is_none(),
            dry_run: self.dry_run,
            skipped: self.skipped,
            ..Decision::of(reason, policy)
        }
    }
}

#[cfg(test)]
mod tests;
