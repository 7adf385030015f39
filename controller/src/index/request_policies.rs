//! AuthorizationPolicy with `targetRefs` → RequestPolicy, for every Gateway whose proxies enforce it.
//!
//! As in Istio, only `targetRefs` attach a policy to a waypoint; one of the root namespace is no exception, and may name a
//! GatewayClass. The proxies of a Gateway are told of its policies before anything else is said of it, so that nothing is
//! served that is not guarded.

use std::collections::BTreeMap;

use ambit_model::{NamespacedHostname, PathMatch, PolicyTarget, RequestPolicy, RequestRule};
use ambit_policy::unreachable_pattern;
use ambit_xds::encode::Encoded;

use super::{Output, World, policies, services, targets, waypoints};
use crate::watch::kinds::{AuthorizationPolicy, Enforcement, Target};
use crate::watch::{Key, Kind, Object, Problem};

/// The policy as the proxies of each Gateway get it that one of its targets concerns.
pub(super) fn request_policies(world: World<'_>, policy: &AuthorizationPolicy) -> Output {
    let mut output = Output::default();
    let Enforcement::Waypoint(action, rules) = &policy.enforcement else { return output };
    output.problems = remarks(rules);
    for (gateway, targets) in places(world, policy) {
        let encoded = Encoded::request_policy(&RequestPolicy {
            name: policy.meta.name.clone(),
            namespace: policy.meta.namespace.clone(),
            action: action.clone(),
            dry_run: policies::is_dry_run(policy),
            targets,
            rules: rules.clone(),
        });
        output.push_at(&[gateway], encoded);
    }
    output
}

/// What a policy is about, by the Gateway whose proxies enforce it there.
fn places(world: World<'_>, policy: &AuthorizationPolicy) -> BTreeMap<Key, Vec<PolicyTarget>> {
    let mut places: BTreeMap<Key, Vec<PolicyTarget>> = BTreeMap::new();
    let mut add = |gateway: Key, target: PolicyTarget| {
        let targets = places.entry(gateway).or_default();
        if !targets.contains(&target) {
            targets.push(target);
        }
    };
    for target in &policy.targets {
        if let Target::GatewayClass(class) = target {
            of_class(world, policy, class).for_each(|key| add(key, PolicyTarget::Gateway));
            continue;
        }
        let key = targets::key(&policy.meta, target);
        match key.as_ref().and_then(|key| world.inputs.get(key)) {
            Some(object @ Object::Gateway(_)) => add(object.key(), PolicyTarget::Gateway),
            Some(object) => {
                let (gateways, hosts) = of_service(world, object);
                for gateway in gateways {
                    let of = |host: &NamespacedHostname| PolicyTarget::Service(host.clone());
                    hosts.iter().map(of).for_each(|target| add(gateway.clone(), target));
                }
            }
            None => {}
        }
    }
    places
}

/// Every Gateway of a class, for policies of the root namespace.
fn of_class<'a>(
    world: World<'a>,
    policy: &AuthorizationPolicy,
    class: &'a str,
) -> impl Iterator<Item = Key> + use<'a> {
    let root = policy.meta.namespace == world.settings.root_namespace;
    let gateways = root.then(|| world.inputs.of_kind(Kind::Gateway)).into_iter().flatten();
    gateways.filter_map(move |object| match object {
        Object::Gateway(gateway) if &*gateway.class == class => Some(object.key()),
        _ => None,
    })
}

/// The Gateways whose waypoints stand in front of a service, and its hosts.
fn of_service(world: World<'_>, object: &Object) -> (Vec<Key>, Vec<NamespacedHostname>) {
    match object {
        Object::Service(service) => {
            let meta = &service.meta;
            let hostname = world.inputs.hostname(meta);
            let host = NamespacedHostname::new(meta.namespace.clone(), hostname);
            (waypoints::bind_service(world, meta).gateways, vec![host])
        }
        Object::ServiceEntry(entry) => {
            (waypoints::bind_entry(world, entry).gateways, services::hosts(world, entry).collect())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

/// Paths that no request has: they are compared after normalisation, so such a pattern never matches.
fn remarks(rules: &[RequestRule]) -> Vec<Problem> {
    let mut remarks = Vec::new();
    for (r, rule) in rules.iter().enumerate() {
        for (t, to) in rule.to.iter().enumerate() {
            let mut look = |field: &str, list: &[PathMatch]| {
                remarks.extend(list.iter().enumerate().filter_map(|(i, pattern)| {
                    let field = format!("spec.rules[{r}].to[{t}].operation.{field}[{i}]");
                    let reason = unreachable_pattern(pattern)?;
                    Some(Problem::new(field, format!("never matches: {reason}")))
                }));
            };
            look("paths", &to.paths.values);
            look("notPaths", &to.paths.not_values);
        }
    }
    remarks
}
