//! AuthorizationPolicy → Authorization, and which policies a workload refers to.

use ambit_model::{Action, Authorization, Match, Scope, Str};
use ambit_xds::encode::Encoded;

use super::{Output, World, peer_authentication};
use crate::watch::kinds::{
    AuthorizationPolicy, Condition, Enforcement, Operation, PolicyAction, Rule, Source,
};
use crate::watch::{Meta, Problem};

/// The policy as ztunnels get it.
pub(super) fn authorization_policy(world: World<'_>, policy: &AuthorizationPolicy) -> Output {
    let mut output = Output::default();
    let waypoint = matches!(policy.enforcement, Enforcement::Waypoint(..));
    if let Some(problem) = unsupported(world, policy).filter(|_| !waypoint) {
        return Output::refused(problem);
    }
    let (action, rules) = match &policy.enforcement {
        Enforcement::Waypoint(..) | Enforcement::Unsupported(_) => return output,
        // A rule without clauses matches everything.
        Enforcement::Deny => (Action::Deny, vec![Vec::new()]),
        Enforcement::Rules(action, rules) => {
            if let Some(problem) = layer7(*action, rules) {
                output.problems.push(problem);
            }
            let convert = |rule| convert(*action, rule);
            (action_of(*action), rules.iter().filter_map(convert).collect())
        }
    };
    output.push(Encoded::authorization(&Authorization {
        name: policy.meta.name.clone(),
        namespace: policy.meta.namespace.clone(),
        scope: scope(world, policy),
        action,
        rules,
        dry_run: is_dry_run(policy),
    }));
    output
}

/// The policies that a workload with `meta` has to refer to: those that select it, of its namespace and of the root
/// namespace, and the one that stands for its PeerAuthentication.
pub(super) fn names(world: World<'_>, meta: &Meta) -> Vec<Str> {
    let root = &world.settings.root_namespace;
    let elsewhere = (meta.namespace != *root).then(|| world.inputs.authorization_policies(root));
    let own = world.inputs.authorization_policies(&meta.namespace);
    let selecting = own.chain(elsewhere.into_iter().flatten()).filter(|policy| {
        let sent = matches!(policy.enforcement, Enforcement::Rules(..) | Enforcement::Deny);
        sent && unsupported(world, policy).is_none()
            && !policy.selector.is_empty()
            && policy.selector.matches(&meta.labels)
    });
    let names = selecting.map(|p| format!("{}/{}", p.meta.namespace, p.meta.name).into());
    names.chain(peer_authentication::policy_of(world, meta)).collect()
}

fn unsupported(world: World<'_>, policy: &AuthorizationPolicy) -> Option<Problem> {
    if let Enforcement::Unsupported(action) = policy.enforcement {
        let message =
            format!("{action} is not carried out at layer 4; name a waypoint in targetRefs");
        return Some(Problem::new("spec.action", message));
    }
    (is_dry_run(policy) && !world.settings.dry_run_policies).then(|| {
        let field = "metadata.annotations[istio.io/dry-run]";
        Problem::new(field, "dry runs are off; start the controller with --dry-run-policies")
    })
}

pub(super) fn is_dry_run(policy: &AuthorizationPolicy) -> bool {
    policy.meta.annotation("istio.io/dry-run").is_some_and(|value| &**value == "true")
}

fn scope(world: World<'_>, policy: &AuthorizationPolicy) -> Scope {
    if !policy.selector.is_empty() {
        Scope::WorkloadSelector
    } else if policy.meta.namespace == world.settings.root_namespace {
        Scope::Global
    } else {
        Scope::Namespace
    }
}

fn action_of(action: PolicyAction) -> Action {
    match action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Deny => Action::Deny,
    }
}

/// A remark where the policy looks at what layer 4 does not know.
fn layer7(action: PolicyAction, rules: &[Rule]) -> Option<Problem> {
    let looks = |rule: &Rule| {
        rule.from.iter().any(|s| s.layer7)
            || rule.to.iter().any(|o| o.layer7)
            || rule.when.contains(&Condition::Layer7)
    };
    let first = rules.iter().position(looks)?;
    let meaning = match action {
        PolicyAction::Allow => "a rule that allows by it never matches here",
        PolicyAction::Deny => "a rule that denies by it denies more here",
    };
    let message = format!("looks at layer 7, which only waypoints see: {meaning}; use targetRefs");
    Some(Problem::new(format!("spec.rules[{first}]"), message))
}

/// A rule of a policy at layer 4; `None` where it can never match there.
///
/// What only layer 7 knows may not make a policy more permissive than it was written: an ALLOW rule that looks at it
/// allows nothing, a DENY rule denies whatever the rest of it says. A DENY rule that says nothing else would deny
/// everything; of such a rule only those alternatives are left that do without layer 7, as Istio does.
fn convert(action: PolicyAction, rule: &Rule) -> Option<Vec<Vec<Match>>> {
    let mut clauses: Vec<Vec<(Match, bool)>> = Vec::new();
    if !rule.to.is_empty() {
        clauses.push(rule.to.iter().map(operation).collect());
    }
    if !rule.from.is_empty() {
        clauses.push(rule.from.iter().map(source).collect());
    }
    clauses.extend(rule.when.iter().map(|when| vec![condition(when)]));
    let written = clauses.len();
    let looks = clauses.iter().flatten().any(|(_, layer7)| *layer7);
    if !looks {
        return Some(clauses.into_iter().map(matches).collect());
    }
    if action == PolicyAction::Allow {
        return None;
    }
    let narrow: Vec<Vec<(Match, bool)>> = clauses
        .iter()
        .filter(|clause| !clause.iter().any(|(m, layer7)| *layer7 && m.is_empty()))
        .cloned()
        .collect();
    if !narrow.is_empty() || written == 0 {
        return Some(narrow.into_iter().map(matches).collect());
    }
    let exact: Vec<Vec<Match>> = clauses
        .into_iter()
        .map(|clause| matches(clause.into_iter().filter(|(m, _)| !m.is_empty()).collect()))
        .filter(|clause: &Vec<Match>| !clause.is_empty())
        .collect();
    (!exact.is_empty()).then_some(exact)
}

fn matches(clause: Vec<(Match, bool)>) -> Vec<Match> {
    clause.into_iter().map(|(m, _)| m).collect()
}

fn operation(to: &Operation) -> (Match, bool) {
    let m = Match {
        destination_ports: to.ports.clone(),
        not_destination_ports: to.not_ports.clone(),
        ..Match::default()
    };
    (m, to.layer7)
}

fn source(from: &Source) -> (Match, bool) {
    let m = Match {
        principals: from.principals.clone(),
        not_principals: from.not_principals.clone(),
        namespaces: from.namespaces.clone(),
        not_namespaces: from.not_namespaces.clone(),
        service_accounts: from.service_accounts.clone(),
        not_service_accounts: from.not_service_accounts.clone(),
        source_ips: from.ips.clone(),
        not_source_ips: from.not_ips.clone(),
        ..Match::default()
    };
    (m, from.layer7)
}

fn condition(when: &Condition) -> (Match, bool) {
    let mut m = Match::default();
    match when.clone() {
        Condition::SourceIp(values, not) => (m.source_ips, m.not_source_ips) = (values, not),
        Condition::SourceNamespace(values, not) => (m.namespaces, m.not_namespaces) = (values, not),
        Condition::SourcePrincipal(values, not) => (m.principals, m.not_principals) = (values, not),
        Condition::DestinationIp(values, not) => {
            (m.destination_ips, m.not_destination_ips) = (values, not);
        }
        Condition::DestinationPort(values, not) => {
            (m.destination_ports, m.not_destination_ports) = (values, not);
        }
        Condition::Layer7 => return (m, true),
    }
    (m, false)
}
