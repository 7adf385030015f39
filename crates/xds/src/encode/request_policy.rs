//! [`RequestPolicy`] → `ambit.v1.RequestPolicy`.

use ambit_model::{
    PathMatch, PolicyTarget, RequestAction, RequestCondition, RequestOperation, RequestPolicy,
    RequestRule, RequestSource, ServiceAccountMatch, StringMatch, Terms,
};
use ambit_proto::ambit as proto;
use ambit_proto::ambit::path_pattern::Kind as PathKind;
use ambit_proto::ambit::policy_target::Kind as TargetKind;
use ambit_proto::ambit::request_condition::Kind as ConditionKind;
use ambit_proto::ambit::string_match::Kind as TextKind;
use ipnet::IpNet;

use super::service::octets;

/// The message of a policy of requests.
pub fn request_policy(policy: &RequestPolicy) -> proto::RequestPolicy {
    let (action, provider) = match &policy.action {
        RequestAction::Allow => (proto::RequestAction::Allow, String::new()),
        RequestAction::Deny => (proto::RequestAction::Deny, String::new()),
        RequestAction::Audit => (proto::RequestAction::Audit, String::new()),
        RequestAction::Custom(provider) => (proto::RequestAction::Custom, provider.to_string()),
    };
    proto::RequestPolicy {
        namespace: policy.namespace.to_string(),
        name: policy.name.to_string(),
        action: action.into(),
        provider,
        dry_run: policy.dry_run,
        targets: policy.targets.iter().map(target).collect(),
        rules: policy.rules.iter().map(rule).collect(),
        required_features: Vec::new(),
    }
}

fn target(target: &PolicyTarget) -> proto::PolicyTarget {
    let kind = match target {
        PolicyTarget::Gateway => TargetKind::Gateway(true),
        PolicyTarget::Service(service) => TargetKind::Service(service.to_string()),
    };
    proto::PolicyTarget { kind: Some(kind) }
}

fn rule(rule: &RequestRule) -> proto::RequestRule {
    proto::RequestRule {
        from: rule.from.iter().map(source).collect(),
        to: rule.to.iter().map(operation).collect(),
        when: rule.when.iter().map(condition).collect(),
    }
}

fn source(source: &RequestSource) -> proto::RequestSource {
    proto::RequestSource {
        principals: set(&source.principals, texts),
        request_principals: set(&source.request_principals, texts),
        namespaces: set(&source.namespaces, texts),
        service_accounts: set(&source.service_accounts, accounts),
        ip_blocks: set(&source.ip_blocks, nets),
        remote_ip_blocks: set(&source.remote_ip_blocks, nets),
    }
}

fn operation(operation: &RequestOperation) -> proto::RequestOperation {
    proto::RequestOperation {
        hosts: set(&operation.hosts, texts),
        ports: set(&operation.ports, ports),
        methods: set(&operation.methods, texts),
        paths: set(&operation.paths, paths),
    }
}

fn condition(condition: &RequestCondition) -> proto::RequestCondition {
    use RequestCondition as Is;
    let kind = match condition {
        Is::Header { name, terms } => ConditionKind::Header(proto::HeaderCondition {
            name: name.to_string(),
            terms: Some(texts(terms)),
        }),
        Is::AuthClaim { claim, terms } => ConditionKind::AuthClaim(proto::ClaimCondition {
            claim: claim.iter().map(ToString::to_string).collect(),
            terms: Some(texts(terms)),
        }),
        Is::SourceIp(terms) => ConditionKind::SourceIp(nets(terms)),
        Is::RemoteIp(terms) => ConditionKind::RemoteIp(nets(terms)),
        Is::SourceNamespace(terms) => ConditionKind::SourceNamespace(texts(terms)),
        Is::SourcePrincipal(terms) => ConditionKind::SourcePrincipal(texts(terms)),
        Is::SourceServiceAccount(terms) => ConditionKind::SourceServiceAccount(accounts(terms)),
        Is::AuthPrincipal(terms) => ConditionKind::AuthPrincipal(texts(terms)),
        Is::DestinationIp(terms) => ConditionKind::DestinationIp(nets(terms)),
        Is::DestinationPort(terms) => ConditionKind::DestinationPort(ports(terms)),
        Is::Sni(terms) => ConditionKind::Sni(texts(terms)),
    };
    proto::RequestCondition { kind: Some(kind) }
}

fn set<T, M>(terms: &Terms<T>, encode: impl FnOnce(&Terms<T>) -> M) -> Option<M> {
    (!terms.is_empty()).then(|| encode(terms))
}

fn texts(terms: &Terms<StringMatch>) -> proto::TextTerms {
    let (values, not_values) = both(terms, text);
    proto::TextTerms { values, not_values }
}

fn paths(terms: &Terms<PathMatch>) -> proto::PathTerms {
    let (values, not_values) = both(terms, |path| {
        let kind = match path {
            PathMatch::Text(m) => PathKind::Text(text(m)),
            PathMatch::Template(template) => PathKind::Template(template.to_string()),
        };
        proto::PathPattern { kind: Some(kind) }
    });
    proto::PathTerms { values, not_values }
}

fn nets(terms: &Terms<IpNet>) -> proto::CidrTerms {
    let (values, not_values) = both(terms, |net| proto::Cidr {
        address: octets(net.addr()),
        length: net.prefix_len().into(),
    });
    proto::CidrTerms { values, not_values }
}

fn ports(terms: &Terms<u16>) -> proto::PortTerms {
    let (values, not_values) = both(terms, |&port| port.into());
    proto::PortTerms { values, not_values }
}

fn accounts(terms: &Terms<ServiceAccountMatch>) -> proto::AccountTerms {
    let (values, not_values) = both(terms, |account| proto::ServiceAccount {
        namespace: account.namespace.to_string(),
        name: account.service_account.to_string(),
    });
    proto::AccountTerms { values, not_values }
}

fn text(m: &StringMatch) -> proto::StringMatch {
    let kind = match m {
        StringMatch::Exact(text) => TextKind::Exact(text.to_string()),
        StringMatch::Prefix(text) => TextKind::Prefix(text.to_string()),
        StringMatch::Suffix(text) => TextKind::Suffix(text.to_string()),
        StringMatch::Presence() => TextKind::Present(true),
    };
    proto::StringMatch { kind: Some(kind), ignore_case: false }
}

fn both<T, M>(terms: &Terms<T>, encode: impl Fn(&T) -> M) -> (Vec<M>, Vec<M>) {
    let all = |list: &[T]| list.iter().map(&encode).collect();
    (all(&terms.values), all(&terms.not_values))
}
