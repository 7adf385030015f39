//! BackendTLSPolicies: which one is for a port, what proxies are told of it, and what it says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use ambit_proto::ambit::upstream_tls::Mode;
use serde_json::json;

use super::authorities::{self, Authorities, Fault};
use super::destinations::{Destination, Port};
use super::{listener_tls, listeners, rules, statuses};
use crate::index::{Output, World};
use crate::watch::kinds::{BackendTlsPolicy, DestinationRule, TlsTarget};
use crate::watch::{Detail, Entries, Entry, Key, Kind, Object, Problem};

/// The schema's limit.
const MAX_ANCESTORS: usize = 16;

/// What becomes of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    InForce,
    /// No such service, or no such port of it.
    Missing(String),
    /// Another policy is older.
    Lost(String),
}

/// The policy for a port: one that names it, or else one that is for the whole service.
fn chosen<'a>(world: World<'a>, service: &Key, port: &Port) -> Option<&'a Arc<BackendTlsPolicy>> {
    let named = Some(&port.name).filter(|name| !name.is_empty());
    let own = named.and_then(|name| first(world, service, name));
    own.or_else(|| first(world, service, &Str::default()))
}

/// Of several policies for the same the oldest counts.
fn first<'a>(world: World<'a>, service: &Key, section: &Str) -> Option<&'a Arc<BackendTlsPolicy>> {
    let names = |target: &TlsTarget| target.key == *service && target.section == *section;
    let policies = world.inputs.tls_policies_of(service);
    policies.filter(|policy| policy.targets.iter().any(names)).min_by_key(|p| p.meta.age())
}

/// `settings`, which `rule` makes for the proxies of `gateway`, with the TLS that policies ask for on each port.
pub(super) fn secured(
    world: World<'_>,
    destination: &Destination,
    gateway: &Key,
    rule: Option<&Arc<DestinationRule>>,
    settings: Vec<proto::Settings>,
) -> Vec<proto::Settings> {
    let subsets = rule.into_iter().flat_map(|rule| &rule.subsets).map(|subset| &*subset.name);
    let subsets: Vec<&str> = subsets.chain([""]).collect();
    let mut list = Vec::new();
    for port in &destination.ports {
        let Some(policy) = chosen(world, &destination.key, port) else { continue };
        let tls = told(world, policy, gateway);
        list.extend(subsets.iter().map(|subset| {
            let number = u32::from(port.number);
            let fits = |s: &&proto::Settings| s.subset == *subset && [0, number].contains(&s.port);
            proto::Settings {
                port: number,
                subset: (*subset).to_owned(),
                tls: Some(tls.clone()),
                ..settings.iter().find(fits).cloned().unwrap_or_default()
            }
        }));
    }
    // The first that fits counts.
    list.extend(settings);
    list
}

/// What proxies are told of a policy. Where it cannot be carried out, that nothing may be sent.
fn told(world: World<'_>, policy: &BackendTlsPolicy, gateway: &Key) -> proto::UpstreamTls {
    let invalid = |why: String| {
        let Key { namespace, name, .. } = policy.key();
        let invalid = format!("BackendTLSPolicy {namespace}/{name}: {why}");
        proto::UpstreamTls { mode: Mode::Simple.into(), invalid, ..Default::default() }
    };
    let validation = match &policy.validation {
        Ok(validation) => validation,
        Err(problem) => return invalid(problem.to_string()),
    };
    let system = validation.authorities.is_empty();
    let Authorities { pem, flaws } = gather(world, policy);
    if pem.is_empty() && !system {
        return invalid(messages(&flaws));
    }
    let gateway = world.inputs.gateway(&gateway.namespace, &gateway.name);
    let shown = gateway.and_then(|gateway| Some((gateway, gateway.tls.certificate.as_ref()?)));
    let shown = shown.map(|(gateway, of)| {
        listener_tls::certificate(world, (Kind::Gateway, &gateway.meta.namespace), of)
    });
    let certificate = match shown.transpose() {
        Ok(certificate) => certificate,
        Err((_, message)) => return invalid(format!("spec.tls.backend of the Gateway: {message}")),
    };
    let mode = if certificate.is_some() { Mode::Mutual } else { Mode::Simple };
    proto::UpstreamTls {
        mode: mode.into(),
        certificate,
        sni: validation.hostname.to_string(),
        authorities: pem,
        system_authorities: system,
        subject_alt_names: validation.names.clone(),
        ..proto::UpstreamTls::default()
    }
}

fn gather(world: World<'_>, policy: &BackendTlsPolicy) -> Authorities {
    let references = policy.validation.as_ref().map(|v| &v.authorities[..]).unwrap_or_default();
    authorities::gather(world, (Kind::BackendTlsPolicy, &policy.meta.namespace), references)
}

fn messages(flaws: &[(Fault, String)]) -> String {
    flaws.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ")
}

/// What is wrong with a policy, whoever is concerned.
pub(in crate::index) fn problems(world: World<'_>, policy: &BackendTlsPolicy) -> Output {
    let mut problems: Vec<Problem> =
        policy.validation.as_ref().err().cloned().into_iter().collect();
    let flaws = gather(world, policy).flaws;
    let field = "spec.validation.caCertificateRefs";
    problems.extend(flaws.into_iter().map(|(_, message)| Problem::new(field, message)));
    for target in &policy.targets {
        if let Fate::Missing(message) | Fate::Lost(message) = fate(world, policy, target) {
            problems.push(Problem::new("spec.targetRefs", message));
        }
    }
    Output { problems, ..Output::default() }
}

fn fate(world: World<'_>, policy: &BackendTlsPolicy, target: &TlsTarget) -> Fate {
    let TlsTarget { key, section } = target;
    let Some(destination) = destination(world, key) else {
        return Fate::Missing(format!("there is no {key}"));
    };
    if !section.is_empty() && destination.ports.iter().all(|port| port.name != *section) {
        return Fate::Missing(format!("{key} has no port of the name {section}"));
    }
    match first(world, key, section).map(|first| first.key()) {
        Some(first) if first != policy.key() => {
            let message = format!("{first} is older and for the same");
            Fate::Lost(message)
        }
        _ => Fate::InForce,
    }
}

fn destination(world: World<'_>, key: &Key) -> Option<Destination> {
    world.inputs.get(key).and_then(|object| Destination::of(world, object))
}

/// The entries for the Gateways whose proxies send traffic to what a policy is for; `read` is what was found when it was
/// read.
pub(in crate::index) fn entries(
    world: World<'_>,
    policy: &BackendTlsPolicy,
    read: &[Problem],
) -> Entries {
    let mut ancestors: BTreeMap<Key, Vec<Fate>> = BTreeMap::new();
    for target in &policy.targets {
        let Some(object) = world.inputs.get(&target.key) else { continue };
        let Some(destination) = Destination::of(world, object) else { continue };
        let senders = destination
            .hosts
            .iter()
            .flat_map(|host| rules::senders(world, &destination, object, &host.hostname));
        let fate = fate(world, policy, target);
        for gateway in senders.collect::<std::collections::BTreeSet<_>>() {
            ancestors.entry(gateway).or_default().push(fate.clone());
        }
    }
    let entries = ancestors.into_iter().filter_map(|(gateway, fates)| {
        let controller = match world.inputs.get(&gateway)? {
            Object::Gateway(gateway) => listeners::class(world, gateway)?.controller,
            _ => return None,
        };
        let reference = json!({
            "group": gateway.kind.group(),
            "kind": gateway.kind.as_str(),
            "namespace": *gateway.namespace,
            "name": *gateway.name,
        });
        let about = json!({"ancestorRef": reference, "controllerName": controller});
        Some(Entry {
            about: statuses::fields(about),
            conditions: conditions(world, policy, &fates, read),
        })
    });
    let entries = entries.take(MAX_ANCESTORS).collect();
    Entries { field: "ancestors", entries, beside: serde_json::Map::new() }
}

fn conditions(
    world: World<'_>,
    policy: &BackendTlsPolicy,
    fates: &[Fate],
    read: &[Problem],
) -> Vec<Detail> {
    let found = gather(world, policy);
    let resolved = match found.flaws.first() {
        None => Detail::new("ResolvedRefs", true, "ResolvedRefs", "all references are resolved"),
        Some((fault, _)) => {
            let reason = match fault {
                Fault::Kind => "InvalidKind",
                Fault::NotPermitted | Fault::Invalid => "InvalidCACertificateRef",
            };
            Detail::new("ResolvedRefs", false, reason, messages(&found.flaws))
        }
    };
    vec![accepted(policy, fates, &found, read), resolved]
}

fn accepted(
    policy: &BackendTlsPolicy,
    fates: &[Fate],
    found: &Authorities,
    read: &[Problem],
) -> Detail {
    let refused =
        |reason: &'static str, message: String| Detail::new("Accepted", false, reason, message);
    let bad: Vec<&str> = fates
        .iter()
        .filter_map(|fate| match fate {
            Fate::InForce => None,
            Fate::Missing(message) | Fate::Lost(message) => Some(message.as_str()),
        })
        .collect();
    if bad.len() == fates.len() {
        let lost = fates.iter().any(|fate| matches!(fate, Fate::Lost(_)));
        return refused(if lost { "Conflicted" } else { "TargetNotFound" }, bad.join("; "));
    }
    if let Err(problem) = &policy.validation {
        return refused("Invalid", format!("requests are refused: {problem}"));
    }
    if found.pem.is_empty() && !found.flaws.is_empty() {
        return refused(
            "NoValidCACertificate",
            format!("requests are refused: {}", messages(&found.flaws)),
        );
    }
    let remarks: Vec<String> = read.iter().map(ToString::to_string).collect();
    let all: Vec<&str> = bad.into_iter().chain(remarks.iter().map(String::as_str)).collect();
    let message = if all.is_empty() { "in force".to_owned() } else { all.join("; ") };
    Detail::new("Accepted", true, "Accepted", message)
}
