//! Policies brought to the form in which requests are compared, and found by what they are about.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_model::{
    NamespacedHostname, PathMatch, PolicyTarget, RequestAction, RequestCondition, RequestOperation,
    RequestPolicy, Str, StringMatch, Terms,
};

use crate::path;

/// A policy whose names of hosts and headers are in lower case, and whose paths are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPolicy {
    request: RequestPolicy,
    /// What it says of connections that are not looked into.
    connection: RequestPolicy,
}

/// The policies of a proxy, by what they are about.
#[derive(Clone, Debug, Default)]
pub struct RequestPolicies {
    gateway: Vec<Arc<CompiledPolicy>>,
    services: HashMap<NamespacedHostname, Vec<Arc<CompiledPolicy>>>,
}

// === impl CompiledPolicy ===

impl CompiledPolicy {
    /// The policy, ready to be compared.
    pub fn new(mut policy: RequestPolicy) -> Self {
        for rule in &mut policy.rules {
            rule.to.iter_mut().for_each(operation);
            for condition in &mut rule.when {
                match condition {
                    RequestCondition::Header { name, terms } => {
                        *name = lower(name);
                        if matches!(&**name, ":authority" | "host") {
                            each_text(terms, lower);
                        }
                    }
                    RequestCondition::Sni(terms) => each_text(terms, lower),
                    _ => {}
                }
            }
        }
        let connection = of_connections(&policy);
        Self { request: policy, connection }
    }

    /// The policy, in that form.
    pub fn policy(&self) -> &RequestPolicy {
        &self.request
    }

    fn enforces(&self) -> bool {
        !self.request.dry_run && self.request.action != RequestAction::Audit
    }

    /// What it says of a connection whose requests nobody sees: a rule that allows and asks for anything of a request
    /// allows nothing, and of one that denies everything but that is left. (Istio's rule for HTTP fields on TCP.)
    pub(super) fn connection(&self) -> &RequestPolicy {
        &self.connection
    }
}

fn of_connections(policy: &RequestPolicy) -> RequestPolicy {
    let mut policy = policy.clone();
    let allows = policy.action == RequestAction::Allow;
    policy.rules.retain_mut(|rule| {
        let whole = rule.clone();
        rule.from.iter_mut().for_each(|from| {
            from.request_principals = Terms::default();
            from.remote_ip_blocks = Terms::default();
        });
        rule.to.iter_mut().for_each(|to| {
            to.hosts = Terms::default();
            to.methods = Terms::default();
            to.paths = Terms::default();
        });
        rule.when.retain(|condition| match condition {
            RequestCondition::Header { .. }
            | RequestCondition::RemoteIp(_)
            | RequestCondition::AuthPrincipal(_)
            | RequestCondition::AuthClaim { .. } => false,
            RequestCondition::SourceIp(_)
            | RequestCondition::SourceNamespace(_)
            | RequestCondition::SourcePrincipal(_)
            | RequestCondition::SourceServiceAccount(_)
            | RequestCondition::DestinationIp(_)
            | RequestCondition::DestinationPort(_)
            | RequestCondition::Sni(_) => true,
        });
        !allows || *rule == whole
    });
    policy
}

fn operation(operation: &mut RequestOperation) {
    each_text(&mut operation.hosts, lower);
    each(&mut operation.paths, |pattern| match pattern {
        PathMatch::Text(text) => map_text(text, |text| {
            path::decoded_pattern(text).map_or_else(|| text.clone(), Str::from)
        }),
        PathMatch::Template(template) => {
            let decoded = path::decoded_pattern(template.as_str());
            if let Some(Ok(decoded)) = decoded.map(|text| text.parse()) {
                *template = decoded;
            }
        }
    });
}

fn lower(text: &Str) -> Str {
    text.to_ascii_lowercase().into()
}

fn each<T>(terms: &mut Terms<T>, change: impl FnMut(&mut T)) {
    terms.values.iter_mut().chain(&mut terms.not_values).for_each(change);
}

fn each_text(terms: &mut Terms<StringMatch>, change: impl Fn(&Str) -> Str) {
    each(terms, |text| map_text(text, &change));
}

fn map_text(m: &mut StringMatch, change: impl Fn(&Str) -> Str) {
    match m {
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::Suffix(text) => {
            *text = change(text);
        }
        StringMatch::Presence() => {}
    }
}

// === impl RequestPolicies ===

impl RequestPolicies {
    /// The policies, to be found by their targets.
    pub fn new(policies: impl IntoIterator<Item = Arc<CompiledPolicy>>) -> Self {
        let mut found = Self::default();
        for policy in policies {
            let targets = &policy.policy().targets;
            if targets.contains(&PolicyTarget::Gateway) {
                found.gateway.push(policy);
                continue;
            }
            for target in targets {
                if let PolicyTarget::Service(service) = target {
                    let of_service = found.services.entry(service.clone()).or_default();
                    if !of_service.iter().any(|known| Arc::ptr_eq(known, &policy)) {
                        of_service.push(policy.clone());
                    }
                }
            }
        }
        found
    }

    /// Whether there is a policy for `service` itself that lets requests pass or not.
    pub fn guards(&self, service: &NamespacedHostname) -> bool {
        self.services.get(service).is_some_and(|policies| policies.iter().any(|p| p.enforces()))
    }

    /// Those that are about a request to `service`, or to something that is no service. What has no policy of its own is
    /// held to those of the services `beside` it, which lead to the same ports of the same workloads: it is no way around
    /// them.
    pub fn of<'a>(
        &'a self,
        service: Option<&'a NamespacedHostname>,
        beside: &'a [NamespacedHostname],
    ) -> impl Iterator<Item = &'a CompiledPolicy> {
        let beside = if service.is_some_and(|own| self.guards(own)) { &[] } else { beside };
        let of_services =
            service.into_iter().chain(beside).filter_map(|key| self.services.get(key));
        self.gateway.iter().chain(of_services.flatten()).map(|policy| &**policy)
    }
}
