//! `ambit.v1.RequestPolicy` → [`RequestPolicy`].
//!
//! A policy is taken whole or not at all, as at layer 4: a condition that cannot be read would change what it says.

use ambit_model::{
    ParseTemplateError, PolicyTarget, RequestAction, RequestCondition, RequestOperation,
    RequestPolicy, RequestRule, RequestSource, Str, StringMatch, Terms,
};
use ambit_proto::ambit as proto;
use ambit_proto::ambit::policy_target::Kind as TargetKind;
use ambit_proto::ambit::request_condition::Kind as ConditionKind;
use prost::Message as _;

use super::InvalidResource;
use super::address::InvalidAddress;
use super::terms;
use crate::Interner;

/// What a message may ask for in `required_features`; nothing so far.
const FEATURES: [&str; 0] = [];

/// A malformed policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidRequestPolicy {
    /// Something without which it says nothing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It asks for what this version does not know.
    #[error("feature {0:?} is unknown; bring this proxy up to date")]
    Feature(String),
    /// An action that is not known.
    #[error("action {0} is unknown")]
    Action(i32),
    /// A target, condition or pattern that says nothing, or something that is not known.
    #[error("{0} says nothing that is known")]
    Unknown(&'static str),
    /// A name that is none.
    #[error("{field} {value:?} is malformed")]
    Malformed {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A malformed path template.
    #[error("paths: {0}")]
    Template(#[from] ParseTemplateError),
    /// A bad address or port.
    #[error("{field}: {source}")]
    Address {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

/// A policy's bytes, read.
#[derive(Debug)]
pub struct DecodedRequestPolicy {
    /// The policy, or why it is refused.
    pub policy: Result<RequestPolicy, InvalidResource>,
    /// What to enforce where the policy is refused and no earlier version is known: it denies what the policy is about,
    /// and everything where even that cannot be read. Absent for a policy that denies nothing, an AUDIT.
    pub stand_in: Option<RequestPolicy>,
}

/// Decodes a marshalled `ambit.v1.RequestPolicy`, the resource `name`.
pub fn request_policy(name: &str, bytes: &[u8], interner: &mut Interner) -> DecodedRequestPolicy {
    let message = match proto::RequestPolicy::decode(bytes) {
        Ok(message) => message,
        Err(source) => {
            let policy = Err(InvalidResource::Protobuf { kind: "RequestPolicy", source });
            let stand_in =
                RequestPolicy::deny_all(key(name, interner), vec![PolicyTarget::Gateway]);
            return DecodedRequestPolicy { policy, stand_in: Some(stand_in) };
        }
    };
    let policy = policy(&message, interner).map_err(InvalidResource::from);
    let policy = policy.and_then(|policy| match policy.key().0 {
        key if *key == *name => Ok(policy),
        key => Err(InvalidResource::NameMismatch { key: key.to_string() }),
    });
    DecodedRequestPolicy { policy, stand_in: stand_in(name, &message, interner) }
}

fn key(name: &str, interner: &mut Interner) -> (Str, Str) {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    (interner.intern(namespace), name.into())
}

fn stand_in(
    name: &str,
    message: &proto::RequestPolicy,
    interner: &mut Interner,
) -> Option<RequestPolicy> {
    let audit = i32::from(proto::RequestAction::Audit);
    if message.action == audit && message.required_features.is_empty() {
        return None;
    }
    let targets = targets(&message.targets).unwrap_or_else(|_| vec![PolicyTarget::Gateway]);
    let dry_run = message.dry_run;
    Some(RequestPolicy { dry_run, ..RequestPolicy::deny_all(key(name, interner), targets) })
}

fn policy(
    message: &proto::RequestPolicy,
    interner: &mut Interner,
) -> Result<RequestPolicy, InvalidRequestPolicy> {
    if let Some(feature) =
        message.required_features.iter().find(|feature| !FEATURES.contains(&feature.as_str()))
    {
        return Err(InvalidRequestPolicy::Feature(feature.clone()));
    }
    for (field, value) in [("name", &message.name), ("namespace", &message.namespace)] {
        named(field, value)?;
        if value.contains('/') {
            return Err(InvalidRequestPolicy::Malformed { field, value: value.clone() });
        }
    }
    let action = match proto::RequestAction::try_from(message.action) {
        Ok(proto::RequestAction::Allow) => RequestAction::Allow,
        Ok(proto::RequestAction::Deny) => RequestAction::Deny,
        Ok(proto::RequestAction::Audit) => RequestAction::Audit,
        Ok(proto::RequestAction::Custom) => {
            named("provider", &message.provider)?;
            RequestAction::Custom(interner.intern(&message.provider))
        }
        Err(_) => return Err(InvalidRequestPolicy::Action(message.action)),
    };
    Ok(RequestPolicy {
        name: message.name.as_str().into(),
        namespace: interner.intern(&message.namespace),
        action,
        dry_run: message.dry_run,
        targets: targets(&message.targets)?,
        rules: each(&message.rules, |rule| self::rule(rule, interner))?,
    })
}

fn targets(list: &[proto::PolicyTarget]) -> Result<Vec<PolicyTarget>, InvalidRequestPolicy> {
    if list.is_empty() {
        return Err(InvalidRequestPolicy::Missing("targets"));
    }
    each(list, |target| match &target.kind {
        Some(TargetKind::Gateway(true)) => Ok(PolicyTarget::Gateway),
        Some(TargetKind::Service(service)) => match service.parse() {
            Ok(service) => Ok(PolicyTarget::Service(service)),
            Err(_) => {
                let value = service.clone();
                Err(InvalidRequestPolicy::Malformed { field: "targets.service", value })
            }
        },
        _ => Err(InvalidRequestPolicy::Unknown("targets")),
    })
}

fn rule(
    message: &proto::RequestRule,
    interner: &mut Interner,
) -> Result<RequestRule, InvalidRequestPolicy> {
    Ok(RequestRule {
        from: each(&message.from, |from| source(from, interner))?,
        to: each(&message.to, |to| operation(to, interner))?,
        when: each(&message.when, |when| condition(when, interner))?,
    })
}

fn source(
    m: &proto::RequestSource,
    interner: &mut Interner,
) -> Result<RequestSource, InvalidRequestPolicy> {
    let mut texts = |field, terms| optional(terms, |t| terms::texts(field, t, interner));
    let source = RequestSource {
        principals: texts("principals", &m.principals)?,
        request_principals: texts("request_principals", &m.request_principals)?,
        namespaces: texts("namespaces", &m.namespaces)?,
        service_accounts: optional(&m.service_accounts, |t| {
            terms::accounts("service_accounts", t, interner)
        })?,
        ip_blocks: optional(&m.ip_blocks, |t| terms::nets("ip_blocks", t))?,
        remote_ip_blocks: optional(&m.remote_ip_blocks, |t| terms::nets("remote_ip_blocks", t))?,
    };
    if source.is_empty() { Err(InvalidRequestPolicy::Unknown("from")) } else { Ok(source) }
}

fn operation(
    m: &proto::RequestOperation,
    interner: &mut Interner,
) -> Result<RequestOperation, InvalidRequestPolicy> {
    let operation = RequestOperation {
        hosts: optional(&m.hosts, |t| terms::texts("hosts", t, interner))?,
        ports: optional(&m.ports, |t| terms::ports("ports", t))?,
        methods: optional(&m.methods, |t| terms::texts("methods", t, interner))?,
        paths: optional(&m.paths, |t| terms::paths("paths", t, interner))?,
    };
    if operation.is_empty() { Err(InvalidRequestPolicy::Unknown("to")) } else { Ok(operation) }
}

fn condition(
    message: &proto::RequestCondition,
    interner: &mut Interner,
) -> Result<RequestCondition, InvalidRequestPolicy> {
    use RequestCondition as Is;
    Ok(match message.kind.as_ref().ok_or(InvalidRequestPolicy::Unknown("when"))? {
        ConditionKind::Header(header) => {
            header_name(&header.name)?;
            let name = interner.intern(&header.name);
            let terms = optional(&header.terms, |t| terms::texts("when.header", t, interner))?;
            Is::Header { name, terms: said(terms)? }
        }
        ConditionKind::AuthClaim(auth) => {
            let claim: Vec<Str> = auth.claim.iter().map(|name| interner.intern(name)).collect();
            if claim.is_empty() || claim.iter().any(|name| name.is_empty()) {
                return Err(InvalidRequestPolicy::Missing("when.auth_claim.claim"));
            }
            let terms = optional(&auth.terms, |t| terms::texts("when.auth_claim", t, interner))?;
            Is::AuthClaim { claim, terms: said(terms)? }
        }
        ConditionKind::SourceNamespace(t) => Is::SourceNamespace(text(t, interner)?),
        ConditionKind::SourcePrincipal(t) => Is::SourcePrincipal(text(t, interner)?),
        ConditionKind::AuthPrincipal(t) => Is::AuthPrincipal(text(t, interner)?),
        ConditionKind::Sni(t) => Is::Sni(text(t, interner)?),
        ConditionKind::SourceIp(t) => Is::SourceIp(said(terms::nets("when", t)?)?),
        ConditionKind::RemoteIp(t) => Is::RemoteIp(said(terms::nets("when", t)?)?),
        ConditionKind::DestinationIp(t) => Is::DestinationIp(said(terms::nets("when", t)?)?),
        ConditionKind::DestinationPort(t) => Is::DestinationPort(said(terms::ports("when", t)?)?),
        ConditionKind::SourceServiceAccount(t) => {
            Is::SourceServiceAccount(said(terms::accounts("when", t, interner)?)?)
        }
    })
}

fn text(
    terms: &proto::TextTerms,
    interner: &mut Interner,
) -> Result<Terms<StringMatch>, InvalidRequestPolicy> {
    said(terms::texts("when", terms, interner)?)
}

/// The name of a header, or one of the two of HTTP/2's that policies know by such a name.
fn header_name(name: &str) -> Result<(), InvalidRequestPolicy> {
    named("when.header.name", name)?;
    if !matches!(name, ":method" | ":authority") && http::HeaderName::try_from(name).is_err() {
        let value = name.to_owned();
        return Err(InvalidRequestPolicy::Malformed { field: "when.header.name", value });
    }
    Ok(())
}

/// A condition that says nothing would hold of every request.
fn said<T>(terms: Terms<T>) -> Result<Terms<T>, InvalidRequestPolicy> {
    if terms.is_empty() { Err(InvalidRequestPolicy::Unknown("when")) } else { Ok(terms) }
}

fn optional<M, T>(
    message: &Option<M>,
    read: impl FnOnce(&M) -> Result<Terms<T>, InvalidRequestPolicy>,
) -> Result<Terms<T>, InvalidRequestPolicy> {
    message.as_ref().map_or_else(|| Ok(Terms::default()), read)
}

fn each<M, T>(
    list: &[M],
    read: impl FnMut(&M) -> Result<T, InvalidRequestPolicy>,
) -> Result<Vec<T>, InvalidRequestPolicy> {
    list.iter().map(read).collect()
}

fn named(field: &'static str, value: &str) -> Result<(), InvalidRequestPolicy> {
    if value.is_empty() { Err(InvalidRequestPolicy::Missing(field)) } else { Ok(()) }
}
