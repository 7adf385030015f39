//! What is to be said in an object's status. (protocol.md 10.3.)

use ambit_model::GATEWAY_CLASSES;

use super::targets::{Ancestor, ancestor};
use super::waypoints::{self, Bound, Traffic};
use super::{Index, Output, World, routes};
use crate::watch::kinds::{AuthorizationPolicy, Enforcement, Resolution, ServiceEntry};
use crate::watch::{Condition, ConditionType, Key, Kind, Object, Problem, Wanted};

impl Index {
    /// What the status of the object `key` should say; `read` is what was found wrong when it was read.
    pub fn wanted(&self, key: &Key, read: &[Problem]) -> Wanted {
        let world = World {
            settings: &self.settings,
            inputs: &self.inputs,
            found: &routes::Found::default(),
        };
        let entries = match self.inputs.get(key) {
            Some(Object::Route(route)) => Some(routes::entries(world, route, read)),
            Some(Object::BackendTlsPolicy(policy)) => {
                Some(routes::tls_entries(world, policy, read))
            }
            _ => None,
        };
        let own = match self.inputs.get(key) {
            Some(Object::Gateway(gateway)) => routes::gateway_status(world, gateway),
            Some(Object::ListenerSet(set)) => routes::listener_set_status(world, set),
            _ => None,
        };
        let Wanted { mut conditions, entries } =
            own.unwrap_or_else(|| Wanted { entries, ..Wanted::default() });
        conditions.extend(self.conditions(key, read));
        Wanted { conditions, entries }
    }

    /// The conditions that the object `key` should have; `read` is what was found wrong when it was read.
    pub fn conditions(&self, key: &Key, read: &[Problem]) -> Vec<Condition> {
        let world = World {
            settings: &self.settings,
            inputs: &self.inputs,
            found: &routes::Found::default(),
        };
        let nothing = Output::default();
        let output = self.outputs.get(key).unwrap_or(&nothing);
        let object = self.inputs.get(key);
        if key.kind == Kind::BackendTlsPolicy || Kind::ROUTES.contains(&key.kind) {
            return Vec::new();
        }
        if let Some(Object::AuthorizationPolicy(policy)) = object {
            return vec![match policy.enforcement {
                Enforcement::Waypoint(..) => at_waypoint(world, policy, read, &output.problems),
                _ => at_ztunnel(output, read),
            }];
        }
        if let Some(object @ (Object::VirtualService(_) | Object::DestinationRule(_))) = object {
            return vec![routes::istio_condition(world, object, read)];
        }
        let bound = object.map(|object| bound(world, object)).unwrap_or_default();
        let told = bound.refused.as_ref().map(|refusal| &refusal.problem);
        let beside = output.problems.iter().filter(|problem| Some(*problem) != told);
        let problems: Vec<&Problem> = read.iter().chain(beside).collect();
        let in_force = read.is_empty() && !output.resources.is_empty();
        let missing = match object {
            Some(Object::ServiceEntry(entry)) => missing(entry, &bound),
            _ => None,
        };
        let class = object.and_then(class);
        let all = [class, accepted(&problems, in_force), waypoint(&bound), missing];
        all.into_iter().flatten().collect()
    }
}

fn condition(
    kind: ConditionType,
    status: bool,
    reason: &'static str,
    message: impl Into<std::sync::Arc<str>>,
) -> Condition {
    Condition { kind, status, reason: reason.into(), message: message.into() }
}

fn joined<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> String {
    let lines: Vec<String> = problems.into_iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Whether Gateways of a class are deployed, where the class names a controller that is this one.
fn class(object: &Object) -> Option<Condition> {
    let Object::GatewayClass(class) = object else { return None };
    let known = GATEWAY_CLASSES.iter().find(|known| *known.controller == *class.controller)?;
    let (status, reason, message) = if *class.meta.name == *known.name {
        (true, "Accepted", "Handled by Ambit's controller".to_owned())
    } else {
        let message =
            format!("{} deploys Gateways of class {} alone", class.controller, known.name);
        (false, "Unsupported", message)
    };
    Some(condition(ConditionType::Accepted, status, reason, message))
}

/// Objects that nothing is wrong with say nothing.
fn accepted(problems: &[&Problem], in_force: bool) -> Option<Condition> {
    let reason = if in_force { "PartiallyInvalid" } else { "Invalid" };
    let message = joined(problems.iter().copied());
    let kind = ConditionType::InForce;
    (!problems.is_empty()).then(|| condition(kind, false, reason, message))
}

/// A policy that ztunnels enforce. One that is enforced in part is accepted with a remark, as in Istio.
fn at_ztunnel(output: &Output, read: &[Problem]) -> Condition {
    let problems = read.iter().chain(&output.problems);
    let enforced = read.is_empty() && !output.resources.is_empty();
    let message = joined(problems);
    let kind = ConditionType::ZtunnelAccepted;
    if message.is_empty() {
        return condition(kind, true, "Accepted", "enforced by ztunnels");
    }
    condition(kind, enforced, "UnsupportedValue", message)
}

/// A policy that waypoints enforce; `remarks` is what part of it means nothing.
fn at_waypoint(
    world: World<'_>,
    policy: &AuthorizationPolicy,
    read: &[Problem],
    remarks: &[Problem],
) -> Condition {
    let kind = ConditionType::WaypointAccepted;
    if !read.is_empty() {
        return condition(kind, false, "Invalid", joined(read));
    }
    let (mut good, mut bad, mut worst) = (Vec::new(), Vec::new(), None);
    for target in &policy.targets {
        let (reason, message) = match ancestor(world, policy, target) {
            Ancestor::Bound(gateways) => {
                good.extend(gateways.iter().map(ToString::to_string));
                continue;
            }
            Ancestor::NotBound(message) => ("AncestorNotBound", message),
            Ancestor::NotFound(message) => ("TargetNotFound", message),
            Ancestor::Invalid(message) => ("Invalid", message),
        };
        worst.get_or_insert(reason);
        bad.push(message);
    }
    good.sort();
    good.dedup();
    if !remarks.is_empty() {
        worst.get_or_insert("Invalid");
        bad.push(joined(remarks));
    }
    match (worst, good.is_empty()) {
        (None, _) => condition(kind, true, "Accepted", format!("attached to {}", good.join(", "))),
        (Some(reason), true) => condition(kind, false, reason, bad.join("; ")),
        (Some(_), false) => {
            let message = format!("attached to {}; {}", good.join(", "), bad.join("; "));
            condition(kind, true, "PartiallyInvalid", message)
        }
    }
}

/// The waypoints of an object that can say in its status whether it has one.
fn bound(world: World<'_>, object: &Object) -> Bound {
    match object {
        Object::Service(service) if !service.external_name => {
            waypoints::bind_service(world, &service.meta)
        }
        Object::ServiceEntry(entry) => waypoints::bind_entry(world, entry),
        Object::WorkloadEntry(entry) => {
            let bound = waypoints::bind(world, &entry.meta, Traffic::Workload);
            // What only its namespace asks for is told with the services there.
            let own = entry.meta.label("istio.io/use-waypoint").is_some();
            Bound { refused: bound.refused.filter(|_| own), ..bound }
        }
        _ => Bound::default(),
    }
}

fn waypoint(bound: &Bound) -> Option<Condition> {
    let kind = ConditionType::WaypointBound;
    if let Some(refusal) = &bound.refused {
        let message = refusal.problem.to_string();
        return Some(condition(kind, false, refusal.reason.as_str(), message));
    }
    let names: Vec<String> =
        bound.gateways.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    (!names.is_empty()).then(|| {
        let message = format!("attached to waypoint {}", names.join(" and "));
        condition(kind, true, "WaypointAccepted", message)
    })
}

/// What an entry needs a waypoint for that it does not have.
fn missing(entry: &ServiceEntry, bound: &Bound) -> Option<Condition> {
    let wildcard = entry.hosts.iter().any(|host| host.starts_with('*'));
    let races = entry
        .meta
        .annotation("istio.io/connect-strategy")
        .is_some_and(|strategy| &**strategy == "RACE_FIRST_TCP_CONNECT");
    let (reason, message) = if !bound.gateways.is_empty() {
        return None;
    } else if wildcard && entry.resolution == Resolution::Dns {
        let message = "only a waypoint can resolve the names that a wildcard stands for";
        ("NoWaypointForWildcardService", message)
    } else if races {
        let message = "only a waypoint can connect to several addresses at once";
        ("NoWaypointForRacingConnectStrategy", message)
    } else {
        return None;
    };
    Some(condition(ConditionType::WaypointMissing, true, reason, message))
}
