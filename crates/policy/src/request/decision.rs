//! What was decided on a request, by which policy and why.

use std::fmt;

use ambit_model::RequestAction;

use crate::{PolicyRef, Reason};

/// The answer for one request. It borrows the policies it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestDecision<'a> {
    /// Why policies allow or deny it.
    pub reason: Reason,
    /// The policy that decided, where one did.
    pub policy: Option<PolicyRef<'a>>,
    /// Who has to agree as well, each provider once. Nobody where policies deny it.
    pub asks: Vec<Ask<'a>>,
    /// The AUDIT policies that match.
    pub audits: Vec<PolicyRef<'a>>,
    /// The dry-run policies that match, in the order of the candidates. They changed nothing.
    pub dry_run: Vec<RequestHit<'a>>,
    /// Dry-run ALLOW policies exist and none of them nor any enforced one matches: once enforced, they would deny.
    pub dry_run_would_deny: bool,
}

/// A provider that has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Its name.
    pub provider: &'a str,
    /// The CUSTOM policy that names it.
    pub policy: PolicyRef<'a>,
}

/// A dry-run policy that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHit<'a> {
    /// The policy.
    pub policy: PolicyRef<'a>,
    /// What it would have done.
    pub action: &'a RequestAction,
}

// === impl RequestDecision ===

impl RequestDecision<'_> {
    /// Whether the request may pass without anybody being asked.
    pub fn allowed(&self) -> bool {
        self.reason.allows() && self.asks.is_empty()
    }

    /// Whether policies deny it, so that nobody has to be asked.
    pub fn denied(&self) -> bool {
        !self.reason.allows()
    }
}

/// One line for logs: why, and by which policy.
impl fmt::Display for RequestDecision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.message())?;
        match self.policy {
            Some(policy) => write!(f, ": {policy}"),
            None => Ok(()),
        }
    }
}
