//! The spec of an AuthorizationPolicy as it is written, and its reading. Unknown fields are errors: a misspelt one
//! would leave a condition out.

use ambit_model::RequestAction;
use serde::Deserialize;
use serde_json::Value;

use super::requests;
use super::targets::{RawTarget, RawTargets};
use super::values::{nets, numbers, service_accounts, strings};
use super::{Condition, Enforcement, Operation, PolicyAction, Rule, Source, Target};
use crate::watch::kinds::meta::RawSelector;
use crate::watch::kinds::{Problem, Selector, part};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSpec {
    selector: Option<RawSelector>,
    target_ref: Option<RawTarget>,
    target_refs: Option<Vec<RawTarget>>,
    rules: Option<Vec<RawRule>>,
    action: Option<String>,
    provider: Option<RawProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) from: Option<Vec<RawFrom>>,
    pub(super) to: Option<Vec<RawTo>>,
    pub(super) when: Option<Vec<RawCondition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFrom {
    pub(super) source: RawSource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTo {
    pub(super) operation: RawOperation,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawSource {
    pub(super) principals: Vec<String>,
    pub(super) not_principals: Vec<String>,
    pub(super) request_principals: Vec<String>,
    pub(super) not_request_principals: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) not_namespaces: Vec<String>,
    pub(super) service_accounts: Vec<String>,
    pub(super) not_service_accounts: Vec<String>,
    pub(super) ip_blocks: Vec<String>,
    pub(super) not_ip_blocks: Vec<String>,
    pub(super) remote_ip_blocks: Vec<String>,
    pub(super) not_remote_ip_blocks: Vec<String>,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawOperation {
    pub(super) hosts: Vec<String>,
    pub(super) not_hosts: Vec<String>,
    pub(super) ports: Vec<String>,
    pub(super) not_ports: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) not_methods: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) not_paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCondition {
    pub(super) key: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) not_values: Vec<String>,
}

/// What a policy says.
pub(super) struct Read {
    pub(super) selector: Selector,
    pub(super) targets: Vec<Target>,
    pub(super) enforcement: Enforcement,
}

/// Reads the policy in `value`.
pub(super) fn read(namespace: &str, value: &Value) -> Result<Read, Problem> {
    let spec: RawSpec = part(value, "spec")?;
    let targets = RawTargets { target_ref: spec.target_ref, target_refs: spec.target_refs };
    let targeted = !targets.is_empty();
    if targeted && spec.selector.is_some() {
        return Err(Problem::new("spec.selector", "cannot stand beside targetRefs; keep one"));
    }
    let targets = targets.resolve(namespace)?;
    let rules = spec.rules.unwrap_or_default();
    let enforcement = if targeted {
        let action = request_action(spec.action.as_deref(), spec.provider)?;
        Enforcement::Waypoint(action, each(rules, |raw| requests::rule(namespace, raw))?)
    } else {
        match spec.action.as_deref() {
            None | Some("ALLOW") => {
                Enforcement::Rules(PolicyAction::Allow, each(rules, |raw| rule(namespace, raw))?)
            }
            Some("DENY") => {
                Enforcement::Rules(PolicyAction::Deny, each(rules, |raw| rule(namespace, raw))?)
            }
            Some("AUDIT") => Enforcement::Unsupported("AUDIT"),
            Some("CUSTOM") => Enforcement::Unsupported("CUSTOM"),
            Some(other) => return Err(unknown_action(other)),
        }
    };
    Ok(Read { selector: spec.selector.unwrap_or_default().into(), targets, enforcement })
}

fn each<T>(
    rules: Vec<RawRule>,
    read: impl Fn(RawRule) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let rules = rules.into_iter().enumerate();
    rules.map(|(i, raw)| read(raw).map_err(|p| p.within(&format!("spec.rules[{i}]")))).collect()
}

fn request_action(
    action: Option<&str>,
    provider: Option<RawProvider>,
) -> Result<RequestAction, Problem> {
    match action {
        None | Some("ALLOW") => Ok(RequestAction::Allow),
        Some("DENY") => Ok(RequestAction::Deny),
        Some("AUDIT") => Ok(RequestAction::Audit),
        Some("CUSTOM") => match provider {
            Some(provider) if !provider.name.is_empty() => {
                Ok(RequestAction::Custom(provider.name.into()))
            }
            _ => Err(Problem::new("spec.provider.name", "is missing; a CUSTOM policy asks it")),
        },
        Some(other) => Err(unknown_action(other)),
    }
}

fn unknown_action(action: &str) -> Problem {
    let message = format!("{action:?} is none of ALLOW, DENY, AUDIT, CUSTOM");
    Problem::new("spec.action", message)
}

fn rule(namespace: &str, raw: RawRule) -> Result<Rule, Problem> {
    let from = raw.from.unwrap_or_default().into_iter().enumerate().map(|(i, from)| {
        source(namespace, from.source).map_err(|p| p.within(&format!("from[{i}].source")))
    });
    let to = raw.to.unwrap_or_default().into_iter().enumerate().map(|(i, to)| {
        operation(to.operation).map_err(|p| p.within(&format!("to[{i}].operation")))
    });
    let when = raw
        .when
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(i, raw)| condition(raw).map_err(|p| p.within(&format!("when[{i}]"))));
    Ok(Rule {
        from: from.collect::<Result<_, _>>()?,
        to: to.collect::<Result<_, _>>()?,
        when: when.collect::<Result<_, _>>()?,
    })
}

fn source(namespace: &str, raw: RawSource) -> Result<Source, Problem> {
    if raw == RawSource::default() {
        return Err(Problem::new("", "says nothing; leave it out to mean every source"));
    }
    let layer7 = !(raw.request_principals.is_empty()
        && raw.not_request_principals.is_empty()
        && raw.remote_ip_blocks.is_empty()
        && raw.not_remote_ip_blocks.is_empty());
    let accounts = |field: &str, list: &[String]| service_accounts(namespace, field, list);
    Ok(Source {
        principals: strings("principals", &raw.principals)?,
        not_principals: strings("notPrincipals", &raw.not_principals)?,
        namespaces: strings("namespaces", &raw.namespaces)?,
        not_namespaces: strings("notNamespaces", &raw.not_namespaces)?,
        service_accounts: accounts("serviceAccounts", &raw.service_accounts)?,
        not_service_accounts: accounts("notServiceAccounts", &raw.not_service_accounts)?,
        ips: nets("ipBlocks", &raw.ip_blocks)?,
        not_ips: nets("notIpBlocks", &raw.not_ip_blocks)?,
        layer7,
    })
}

fn operation(raw: RawOperation) -> Result<Operation, Problem> {
    if raw == RawOperation::default() {
        return Err(Problem::new("", "says nothing; leave it out to mean every operation"));
    }
    let (ports, not_ports) = (numbers("ports", &raw.ports)?, numbers("notPorts", &raw.not_ports)?);
    let layer7 = raw
        != RawOperation {
            ports: raw.ports.clone(),
            not_ports: raw.not_ports.clone(),
            ..RawOperation::default()
        };
    Ok(Operation { ports, not_ports, layer7 })
}

fn condition(raw: RawCondition) -> Result<Condition, Problem> {
    if raw.values.is_empty() && raw.not_values.is_empty() {
        return Err(Problem::new("values", "neither values nor notValues are given"));
    }
    let (values, not) = (("values", &raw.values[..]), ("notValues", &raw.not_values[..]));
    let texts = || Ok((strings(values.0, values.1)?, strings(not.0, not.1)?));
    let ranges = || Ok((nets(values.0, values.1)?, nets(not.0, not.1)?));
    Ok(match raw.key.as_str() {
        "source.ip" => ranges().map(|(v, n)| Condition::SourceIp(v, n))?,
        "destination.ip" => ranges().map(|(v, n)| Condition::DestinationIp(v, n))?,
        "source.namespace" => texts().map(|(v, n)| Condition::SourceNamespace(v, n))?,
        "source.principal" => texts().map(|(v, n)| Condition::SourcePrincipal(v, n))?,
        "destination.port" => {
            Condition::DestinationPort(numbers(values.0, values.1)?, numbers(not.0, not.1)?)
        }
        _ => Condition::Layer7,
    })
}
