//! What a route's status says about each of its parents.

use serde_json::{Map, Value, json};

use super::backends;
use super::destinations::Destination;
use super::listeners::Front;
use crate::index::World;
use crate::watch::kinds::{Edit, ParentRef, Route, RouteRule};
use crate::watch::{Detail, Entries, Entry, Kind, Problem};

/// Who looks after routes of services.
const MESH: &str = "istio.io/mesh-controller";

/// Why a route is not attached to a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detached {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The entries for the parents that are ours; `read` is what was found wrong when the route was read.
pub(in crate::index) fn entries(world: World<'_>, route: &Route, read: &[Problem]) -> Entries {
    let entries = route.parents.iter().filter_map(|parent| {
        let (controller, attached) = parent_of(world, route, parent)?;
        let about = json!({"parentRef": parent.written, "controllerName": controller});
        let accepted = accepted(attached, route, read);
        let mut conditions = vec![accepted, resolved(world, route)];
        conditions.extend(partial(route));
        Some(Entry { about: fields(about), conditions })
    });
    Entries { field: "parents", entries: entries.collect(), beside: Map::new() }
}

pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Who looks after a parent, and whether the route is attached to it; absent where it is somebody else.
fn parent_of(
    world: World<'_>,
    route: &Route,
    parent: &ParentRef,
) -> Option<(&'static str, Result<(), Detached>)> {
    let key = parent.key()?;
    let gateway = match key.kind {
        Kind::Gateway => key,
        Kind::ListenerSet => world.inputs.listener_set(&key)?.gateway.clone()?,
        _ => return Some((MESH, to_service(world, route, parent))),
    };
    let gateway = world.inputs.gateway(&gateway.namespace, &gateway.name)?;
    let front = Front::of(world, gateway)?;
    Some((front.class.controller, front.attach(world, route, parent).map(drop)))
}

fn to_service(world: World<'_>, route: &Route, parent: &ParentRef) -> Result<(), Detached> {
    let what = format!("{} {}/{}", parent.kind, parent.namespace, parent.name);
    let detached = |message| Err(Detached { reason: "NoMatchingParent", message });
    let object = parent.key().and_then(|key| world.inputs.get(&key));
    let Some(destination) = object.and_then(|object| Destination::of(world, object)) else {
        return detached(format!("there is no {what}"));
    };
    let named = destination.ports.iter().filter(|port| port.is_named(parent));
    let http = matches!(route.kind, Kind::HttpRoute | Kind::GrpcRoute);
    match named.clone().count() {
        0 => detached(format!("{what} has no such port")),
        _ if named.clone().all(|port| http && !port.is_http()) => {
            detached(format!("what is spoken on the port of {what} is not HTTP"))
        }
        _ => Ok(()),
    }
}

fn accepted(attached: Result<(), Detached>, route: &Route, read: &[Problem]) -> Detail {
    let joined = |list: Vec<String>| list.join("; ");
    let refused = read.iter().filter(|problem| !problem.remark).map(ToString::to_string);
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        return Detail::new("Accepted", false, "UnsupportedValue", joined(refused));
    }
    if let Err(Detached { reason, message }) = attached {
        return Detail::new("Accepted", false, reason, message);
    }
    if !route.rules.is_empty() && route.rules.iter().all(|rule| unsupported(rule).is_some()) {
        let list = route.rules.iter().filter_map(unsupported).map(ToString::to_string);
        return Detail::new("Accepted", false, "UnsupportedValue", joined(list.collect()));
    }
    let remarks: Vec<String> = read.iter().map(ToString::to_string).collect();
    let message = if remarks.is_empty() { "attached".to_owned() } else { joined(remarks) };
    Detail::new("Accepted", true, "Accepted", message)
}

/// Said where some rules serve nothing because of what nobody carries out.
fn partial(route: &Route) -> Option<Detail> {
    let list: Vec<&Problem> = route.rules.iter().filter_map(unsupported).collect();
    let some = !list.is_empty() && list.len() < route.rules.len();
    let message = list.first()?.to_string();
    some.then(|| Detail::new("PartiallyInvalid", true, "UnsupportedValue", message))
}

fn unsupported(rule: &RouteRule) -> Option<&Problem> {
    rule.filters.iter().find_map(|edit| match edit {
        Edit::Unsupported(problem) => Some(problem),
        Edit::Filter(_) | Edit::Mirror(..) => None,
    })
}

fn resolved(world: World<'_>, route: &Route) -> Detail {
    let unresolved: Vec<_> = route
        .targets()
        .filter_map(|reference| backends::target(world, route, reference).err())
        .collect();
    let Some(first) = unresolved.first() else {
        return Detail::new("ResolvedRefs", true, "ResolvedRefs", "all references are resolved");
    };
    let messages: Vec<&str> = unresolved.iter().map(|e| e.message.as_str()).collect();
    Detail::new("ResolvedRefs", false, first.reason.as_str(), messages.join("; "))
}
