//! [`Authorization`] → `istio.security.Authorization`.

use ambit_model::{Action, Authorization, Match, Scope, ServiceAccountMatch, StringMatch};
use ambit_proto::security as proto;
use ambit_proto::security::string_match::MatchType;
use ipnet::IpNet;

use super::service::octets;

/// The message of a policy.
pub fn authorization(policy: &Authorization) -> proto::Authorization {
    let clause =
        |clause: &Vec<Match>| proto::Clause { matches: clause.iter().map(matches).collect() };
    let rule = |rule: &Vec<Vec<Match>>| proto::Rule { clauses: rule.iter().map(clause).collect() };
    let scope = match policy.scope {
        Scope::Global => proto::Scope::Global,
        Scope::Namespace => proto::Scope::Namespace,
        Scope::WorkloadSelector => proto::Scope::WorkloadSelector,
    };
    let action = match policy.action {
        Action::Allow => proto::Action::Allow,
        Action::Deny => proto::Action::Deny,
    };
    proto::Authorization {
        name: policy.name.to_string(),
        namespace: policy.namespace.to_string(),
        scope: scope.into(),
        action: action.into(),
        rules: policy.rules.iter().map(rule).collect(),
        dry_run: policy.dry_run,
    }
}

fn matches(m: &Match) -> proto::Match {
    proto::Match {
        namespaces: strings(&m.namespaces),
        not_namespaces: strings(&m.not_namespaces),
        principals: strings(&m.principals),
        not_principals: strings(&m.not_principals),
        source_ips: nets(&m.source_ips),
        not_source_ips: nets(&m.not_source_ips),
        destination_ips: nets(&m.destination_ips),
        not_destination_ips: nets(&m.not_destination_ips),
        destination_ports: ports(&m.destination_ports),
        not_destination_ports: ports(&m.not_destination_ports),
        service_accounts: service_accounts(&m.service_accounts),
        not_service_accounts: service_accounts(&m.not_service_accounts),
    }
}

fn strings(list: &[StringMatch]) -> Vec<proto::StringMatch> {
    let match_type = |m: &StringMatch| match m {
        StringMatch::Exact(text) => MatchType::Exact(text.to_string()),
        StringMatch::Prefix(text) => MatchType::Prefix(text.to_string()),
        StringMatch::Suffix(text) => MatchType::Suffix(text.to_string()),
        StringMatch::Presence() => MatchType::Presence(()),
    };
    list.iter().map(|m| proto::StringMatch { match_type: Some(match_type(m)) }).collect()
}

fn nets(list: &[IpNet]) -> Vec<proto::Address> {
    list.iter()
        .map(|net| proto::Address { address: octets(net.addr()), length: net.prefix_len().into() })
        .collect()
}

fn ports(list: &[u16]) -> Vec<u32> {
    list.iter().map(|&port| port.into()).collect()
}

fn service_accounts(list: &[ServiceAccountMatch]) -> Vec<proto::ServiceAccountMatch> {
    list.iter()
        .map(|m| proto::ServiceAccountMatch {
            namespace: m.namespace.to_string(),
            service_account: m.service_account.to_string(),
        })
        .collect()
}
