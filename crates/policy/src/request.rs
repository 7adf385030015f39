//! The decision on a request over all policies that apply: DENY first, then ALLOW, then whom CUSTOM policies ask.

mod compiled;
mod decision;
mod matching;

use std::net::{IpAddr, SocketAddr};

use ambit_model::{Identity, RequestAction, RequestPolicy};

pub use compiled::{CompiledPolicy, RequestPolicies};
pub use decision::{Ask, RequestDecision, RequestHit};

use crate::{PolicyRef, Reason, RequestPath};

/// What is known about a request when it is authorized.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The method.
    pub method: &'a str,
    /// The normalised path.
    pub path: &'a RequestPath<'a>,
    /// The authority, or the Host header where there is none; with its port, if it names one.
    pub host: Option<&'a str>,
    /// The header fields.
    pub headers: &'a dyn HeaderValues,
    /// The peer's authenticated identity.
    pub source_identity: Option<&'a Identity>,
    /// The address that the connection comes from.
    pub source_ip: IpAddr,
    /// The address that the request comes from, as far as trusted proxies say.
    pub remote_ip: IpAddr,
    /// The address and port that the request was sent to.
    pub destination: SocketAddr,
    /// The server name that the peer's TLS asked for.
    pub sni: Option<&'a str>,
    /// The token that was found valid.
    pub auth: Option<&'a dyn RequestAuth>,
}

/// A request's header fields.
pub trait HeaderValues {
    /// Calls `see` with the value of each line of the header `name`, which is in lower case, in their order.
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8]));
}

/// A valid token of a request.
pub trait RequestAuth {
    /// Issuer and subject with a slash between.
    fn principal(&self) -> &str;
    /// Calls `see` with the claim that `path` leads to: a string, or each string of a list.
    fn each(&self, path: &[ambit_model::Str], see: &mut dyn FnMut(&str));
}

/// Decides on one request.
///
/// Any enforced DENY policy that matches denies; then, if enforced ALLOW policies apply, one of them has to match; then
/// every provider that a matching CUSTOM policy names has to agree. AUDIT and dry-run policies are reported in the
/// decision and change nothing.
///
/// Where a request says something in several ways, a policy that allows has to match all of them, and for any other one
/// is enough: a header on several lines is each line and all of them joined with `,` (cookies: joined with `; ` alone); a
/// path with parameters is the path with and without them. So nothing is gained by saying it twice. What a request does
/// not have equals nothing: conditions fail on it, and exclusions hold.
///
/// Allocates for a header on several lines that a policy looks at, and for what it reports.
pub fn decide_request<'a>(
    facts: &RequestFacts<'_>,
    candidates: impl IntoIterator<Item = &'a CompiledPolicy>,
) -> RequestDecision<'a> {
    let facts = RequestFacts {
        source_ip: facts.source_ip.to_canonical(),
        remote_ip: facts.remote_ip.to_canonical(),
        destination: SocketAddr::new(
            facts.destination.ip().to_canonical(),
            facts.destination.port(),
        ),
        ..*facts
    };
    let mut seen = Seen::default();
    for candidate in candidates {
        seen.add(candidate.policy(), &facts);
    }
    seen.into_decision()
}

/// What is known about a connection whose requests nobody sees.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The peer's authenticated identity.
    pub source_identity: Option<&'a Identity>,
    /// The address that the connection comes from.
    pub source_ip: IpAddr,
    /// The address and port that it was opened to.
    pub destination: SocketAddr,
    /// The server name that the peer's TLS asked for.
    pub sni: Option<&'a str>,
}

/// No header fields.
struct NoHeaders;

impl HeaderValues for NoHeaders {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

/// Decides on a connection that is not looked into. Rules that allow by anything that only a request has allow nothing;
/// rules that deny do so whatever they say of requests.
pub fn decide_connection<'a>(
    facts: &ConnectionFacts<'_>,
    candidates: impl IntoIterator<Item = &'a CompiledPolicy>,
) -> RequestDecision<'a> {
    let path = RequestPath::none();
    let ConnectionFacts { source_identity, source_ip, destination, sni } = *facts;
    let source_ip = source_ip.to_canonical();
    let facts = RequestFacts {
        method: "",
        path: &path,
        host: None,
        headers: &NoHeaders,
        source_identity,
        source_ip,
        remote_ip: source_ip,
        destination: SocketAddr::new(destination.ip().to_canonical(), destination.port()),
        sni,
        auth: None,
    };
    let mut seen = Seen::default();
    for candidate in candidates {
        seen.add(candidate.connection(), &facts);
    }
    seen.into_decision()
}

/// What the candidates said so far.
#[derive(Default)]
struct Seen<'a> {
    denied_by: Option<PolicyRef<'a>>,
    allowed_by: Option<PolicyRef<'a>>,
    has_allow: bool,
    asks: Vec<Ask<'a>>,
    audits: Vec<PolicyRef<'a>>,
    dry_run: Vec<RequestHit<'a>>,
    has_dry_run_allow: bool,
}

// === impl Seen ===

impl<'a> Seen<'a> {
    fn add(&mut self, policy: &'a RequestPolicy, facts: &RequestFacts<'_>) {
        let name = PolicyRef { namespace: &policy.namespace, name: &policy.name };
        let matches = || matching::matches(policy, facts);
        if policy.dry_run {
            self.has_dry_run_allow |= policy.action == RequestAction::Allow;
            if matches() {
                self.dry_run.push(RequestHit { policy: name, action: &policy.action });
            }
            return;
        }
        match &policy.action {
            RequestAction::Deny => {
                if self.denied_by.is_none() && matches() {
                    self.denied_by = Some(name);
                }
            }
            RequestAction::Allow => {
                self.has_allow = true;
                if self.allowed_by.is_none() && matches() {
                    self.allowed_by = Some(name);
                }
            }
            RequestAction::Audit => {
                if matches() {
                    self.audits.push(name);
                }
            }
            RequestAction::Custom(provider) => {
                let asked = self.asks.iter().any(|ask| *ask.provider == **provider);
                if !asked && matches() {
                    self.asks.push(Ask { provider, policy: name });
                }
            }
        }
    }

    fn into_decision(self) -> RequestDecision<'a> {
        let (reason, policy) = if self.denied_by.is_some() {
            (Reason::ExplicitDeny, self.denied_by)
        } else if self.allowed_by.is_some() {
            (Reason::AllowMatched, self.allowed_by)
        } else if self.has_allow {
            (Reason::NoAllowMatched, None)
        } else {
            (Reason::NoAllowPolicies, None)
        };
        let dry_run_allows = self.dry_run.iter().any(|hit| *hit.action == RequestAction::Allow);
        RequestDecision {
            reason,
            policy,
            asks: if reason.allows() { self.asks } else { Vec::new() },
            audits: self.audits,
            dry_run_would_deny: self.has_dry_run_allow
                && !dry_run_allows
                && self.allowed_by.is_none(),
            dry_run: self.dry_run,
        }
    }
}

#[cfg(test)]
mod tests;
