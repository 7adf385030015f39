//! A waypoint's policies cannot be dodged: what stands behind a waypoint that enforces a policy takes connections from
//! that waypoint's pods alone. (protocol.md 6.4.)
//!
//! A policy of a Service guards the workloads behind it; one of a Gateway, or of its class, those behind every service
//! that the Gateway's waypoint stands in front of, and those that it stands in front of themselves.

use std::collections::BTreeSet;

use ambit_model::{Action, Authorization, Match, RequestAction, Scope, Str, StringMatch};
use ambit_xds::encode::Encoded;

use super::targets::{Ancestor, ancestor, is_waypoint, key};
use super::{Output, World, policies, waypoints};
use crate::watch::kinds::{
    AuthorizationPolicy, Enforcement, Gateway, Phase, Pod, Resolution, Target,
};
use crate::watch::{Key, Kind, Meta, Object};

/// Opts out: what is behind a service that says so, or whose namespace does, may be dialled directly.
const ALLOW_DIRECT: &str = "ambit.dev/allow-direct";

/// The policy that lets the pods of a waypoint through, if a policy is enforced there. While there are no pods it lets
/// nobody through.
pub(super) fn gateway(world: World<'_>, gateway: &Gateway) -> Output {
    let mut output = Output::default();
    let key = Key::new(Kind::Gateway, gateway.meta.namespace.clone(), gateway.meta.name.clone());
    let guarded = world.inputs.of_kind(Kind::AuthorizationPolicy).any(|object| {
        matches!(object, Object::AuthorizationPolicy(policy) if reaches(world, policy, &key, |_| true))
    });
    if !guarded || !is_waypoint(gateway) {
        return output;
    }
    let principals = principals(world, &key);
    let only = Match { principals, ..Match::default() };
    output.push(Encoded::authorization(&Authorization {
        name: name(&key).into(),
        namespace: key.namespace,
        scope: Scope::WorkloadSelector,
        action: Action::Allow,
        // A rule that names nobody would match everybody.
        rules: if only.is_empty() { Vec::new() } else { vec![vec![vec![only]]] },
        dry_run: false,
    }));
    output
}

/// The policies that guard a workload, where `direct` are the waypoints in front of it itself.
pub(super) fn names(world: World<'_>, workload: &Meta, direct: &[Key]) -> Vec<Str> {
    if waypoints::gateway_name(workload).is_some() {
        return Vec::new();
    }
    let mut guards: BTreeSet<Key> = BTreeSet::new();
    if !allows_direct(world, workload) {
        guards.extend(direct.iter().filter(|key| has_policy(world, key)).cloned());
    }
    let namespace = &workload.namespace;
    for service in world.inputs.services(namespace) {
        let selects = !service.selector.is_empty() && service.selector.matches(&workload.labels);
        if selects && !service.external_name {
            let bound = waypoints::bind_service(world, &service.meta);
            guards.extend(of_service(world, Kind::Service, &service.meta, bound.gateways));
        }
    }
    for entry in world.inputs.service_entries(namespace) {
        let selector = entry.selector.as_ref().filter(|s| !s.is_empty());
        if selector.is_some_and(|s| s.matches(&workload.labels))
            && entry.resolution != Resolution::None
        {
            let bound = waypoints::bind_entry(world, entry);
            guards.extend(of_service(world, Kind::ServiceEntry, &entry.meta, bound.gateways));
        }
    }
    guards.iter().map(|key| format!("{}/{}", key.namespace, name(key)).into()).collect()
}

/// The waypoints that guard what is behind a service, of those in front of it.
fn of_service(world: World<'_>, kind: Kind, meta: &Meta, gateways: Vec<Key>) -> Vec<Key> {
    if gateways.is_empty() || allows_direct(world, meta) {
        return Vec::new();
    }
    let service = Key::new(kind, meta.namespace.clone(), meta.name.clone());
    let mut policies = world.inputs.authorization_policies(&meta.namespace);
    let own = policies.any(|policy| {
        let named = |target: &Target| key(&policy.meta, target).as_ref() == Some(&service);
        restricts(policy) && policy.targets.iter().any(named)
    });
    gateways.into_iter().filter(|gateway| own || has_policy(world, gateway)).collect()
}

/// Whether a policy is enforced on everything behind `gateway`.
fn has_policy(world: World<'_>, gateway: &Key) -> bool {
    let whole = |target: &Target| matches!(target, Target::Gateway(_) | Target::GatewayClass(_));
    [&gateway.namespace, &world.settings.root_namespace].into_iter().any(|namespace| {
        let mut policies = world.inputs.authorization_policies(namespace);
        policies.any(|policy| reaches(world, policy, gateway, whole))
    })
}

/// Whether one of the targets that `counts` puts `policy` in force at `gateway`.
fn reaches(
    world: World<'_>,
    policy: &AuthorizationPolicy,
    gateway: &Key,
    counts: impl Fn(&Target) -> bool,
) -> bool {
    let there = |target: &Target| matches!(ancestor(world, policy, target), Ancestor::Bound(keys) if keys.contains(gateway));
    restricts(policy) && policy.targets.iter().any(|target| counts(target) && there(target))
}

/// Whether waypoints refuse anything because of the policy.
fn restricts(policy: &AuthorizationPolicy) -> bool {
    let audit = RequestAction::Audit;
    matches!(&policy.enforcement, Enforcement::Waypoint(action, _) if *action != audit)
        && !policies::is_dry_run(policy)
}

fn allows_direct(world: World<'_>, meta: &Meta) -> bool {
    let namespace = world.inputs.namespace(&meta.namespace);
    let annotation =
        meta.annotation(ALLOW_DIRECT).or_else(|| namespace?.meta.annotation(ALLOW_DIRECT));
    annotation.is_some_and(|value| &**value == "true")
}

/// Who the pods of a waypoint are.
fn principals(world: World<'_>, gateway: &Key) -> Vec<StringMatch> {
    let part = |pod: &&Pod| {
        waypoints::gateway_name(&pod.meta) == Some(&gateway.name)
            && matches!(pod.phase, Phase::Pending | Phase::Running)
    };
    let pods = world.inputs.in_namespace(Kind::Pod, &gateway.namespace).filter_map(|o| match o {
        Object::Pod(pod) => Some(&**pod),
        _ => None,
    });
    let accounts: BTreeSet<&Str> = pods.filter(part).map(|pod| &pod.service_account).collect();
    let trust_domain = &world.settings.trust_domain;
    let principal =
        |account| format!("{trust_domain}/ns/{}/sa/{account}", gateway.namespace).into();
    accounts.into_iter().map(|account| StringMatch::Exact(principal(account))).collect()
}

fn name(gateway: &Key) -> String {
    format!("istio_allow_waypoint_{}_{}", gateway.namespace, gateway.name)
}
