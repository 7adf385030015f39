//! `AuthorizationPolicy`.

mod raw;
mod requests;
mod targets;
mod values;

use ambit_model::{RequestAction, RequestRule, ServiceAccountMatch, Str, StringMatch};
use ipnet::IpNet;
use serde_json::Value;

use super::meta::RawSelector;
use super::{Meta, Problem, Selector};

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    /// Its metadata.
    pub meta: Meta,
    /// The workloads it is about; all of its namespace where empty.
    pub selector: Selector,
    /// Whose waypoints enforce it; ztunnels do where it names none.
    pub targets: Vec<Target>,
    /// What it means for ztunnels.
    pub enforcement: Enforcement,
}

/// What a policy's `targetRefs` names, in the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A Service.
    Service(Str),
    /// A ServiceEntry.
    ServiceEntry(Str),
    /// A Gateway: everything behind it.
    Gateway(Str),
    /// A GatewayClass: everything behind its Gateways.
    GatewayClass(Str),
}

/// What a policy means for ztunnels.
#[derive(Clone, Debug, PartialEq)]
pub enum Enforcement {
    /// Its rules.
    Rules(PolicyAction, Vec<Rule>),
    /// It could not be understood, so what it selects is closed.
    Deny,
    /// Nothing: it is for waypoints, and this is what they enforce.
    Waypoint(RequestAction, Vec<RequestRule>),
    /// Nothing: its action is none that a ztunnel carries out.
    Unsupported(&'static str),
}

/// The actions that a ztunnel carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// What matches is allowed, and nothing else.
    Allow,
    /// What matches is denied.
    Deny,
}

/// A rule: any source, any operation, every condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Where a connection may come from; from anywhere where empty.
    pub from: Vec<Source>,
    /// What it may be for; anything where empty.
    pub to: Vec<Operation>,
    /// What else has to hold.
    pub when: Vec<Condition>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Source {
    pub principals: Vec<StringMatch>,
    pub not_principals: Vec<StringMatch>,
    pub namespaces: Vec<StringMatch>,
    pub not_namespaces: Vec<StringMatch>,
    pub service_accounts: Vec<ServiceAccountMatch>,
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    pub ips: Vec<IpNet>,
    pub not_ips: Vec<IpNet>,
    /// Whether it also looks at what only layer 7 knows.
    pub layer7: bool,
}

/// What a connection is for.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Operation {
    pub ports: Vec<u16>,
    pub not_ports: Vec<u16>,
    /// Whether it also looks at what only layer 7 knows.
    pub layer7: bool,
}

/// A further condition.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Condition {
    SourceIp(Vec<IpNet>, Vec<IpNet>),
    SourceNamespace(Vec<StringMatch>, Vec<StringMatch>),
    SourcePrincipal(Vec<StringMatch>, Vec<StringMatch>),
    DestinationIp(Vec<IpNet>, Vec<IpNet>),
    DestinationPort(Vec<u16>, Vec<u16>),
    /// One that only layer 7 can judge.
    Layer7,
}

/// Reads a policy. One that cannot be understood closes what it selects, and the problem says so.
pub(super) fn trim(meta: Meta, value: &Value, problems: &mut Vec<Problem>) -> AuthorizationPolicy {
    let readable = problems.is_empty();
    let raw::Read { selector, targets, enforcement } = match raw::read(&meta.namespace, value) {
        Ok(read) if readable => read,
        result => {
            problems.extend(result.err());
            refused(&meta, value, problems)
        }
    };
    AuthorizationPolicy { meta, selector, targets, enforcement }
}

/// What stands in for a policy that cannot be understood.
fn refused(meta: &Meta, value: &Value, problems: &mut [Problem]) -> raw::Read {
    let spec = value.get("spec");
    // An empty list names nothing, as in a policy that can be read.
    let said = |value: &&Value| !value.is_null() && **value != Value::Array(Vec::new());
    let field = |name: &str| spec.and_then(|s| s.get(name)).filter(said);
    if field("targetRefs").or(field("targetRef")).is_some() && field("selector").is_none() {
        let targets = targets(meta, spec);
        let (message, action, rules) = if field("action").is_some_and(|action| action == "AUDIT") {
            ("nothing is reported until this is corrected", RequestAction::Audit, Vec::new())
        } else if targets.is_empty() {
            ("nothing is enforced until this is corrected", RequestAction::Deny, Vec::new())
        } else {
            let all = vec![RequestRule::default()];
            ("everything it is about is denied until this is corrected", RequestAction::Deny, all)
        };
        Problem::conclude(problems, message);
        let enforcement = Enforcement::Waypoint(action, rules);
        return raw::Read { selector: Selector::default(), targets, enforcement };
    }
    Problem::conclude(problems, "everything it selects is denied until this is corrected");
    let selector = field("selector").cloned().map(super::typed::<RawSelector>);
    let selector = selector.and_then(Result::ok).unwrap_or_default().into();
    raw::Read { selector, targets: Vec::new(), enforcement: Enforcement::Deny }
}

/// Whose waypoints a policy is for that says nothing else of use: those of its targets that can be read.
fn targets(meta: &Meta, spec: Option<&Value>) -> Vec<Target> {
    let of = |name: &str| spec.and_then(|spec| spec.get(name));
    let list = of("targetRefs").and_then(Value::as_array).into_iter().flatten();
    let raw = of("targetRef").into_iter().chain(list).cloned();
    raw.filter_map(|raw| targets::read(&meta.namespace, super::typed(raw).ok()?).ok()).collect()
}
