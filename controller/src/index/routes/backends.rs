//! Where the traffic of a route goes, and whether it may.

use std::fmt;

use ambit_model::Str;
use ambit_proto::ambit as proto;

use super::destinations::Destination;
use crate::index::World;
use crate::watch::kinds::{BackendRef, Edit, ParentRef, Route, RouteBackend};
use crate::watch::{Kind, Problem};

/// Why traffic cannot go where a route sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// Why, in the words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    InvalidKind,
    RefNotPermitted,
    BackendNotFound,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

// === impl Reason ===

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKind => "InvalidKind",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::BackendNotFound => "BackendNotFound",
        }
    }
}

/// A backend of `route` with its share. One that cannot be used keeps its share: requests that fall to it are refused.
pub(super) fn backend(world: World<'_>, route: &Route, raw: &RouteBackend) -> proto::Backend {
    let mut filters = Vec::new();
    let mut invalid = String::new();
    for edit in &raw.filters {
        match edit {
            Edit::Filter(filter) => filters.push(filter.clone()),
            Edit::Mirror(..) => {
                "mirrors are supported for whole rules alone".clone_into(&mut invalid);
            }
            Edit::Unsupported(problem) => invalid.clone_from(&problem.message),
        }
    }
    let resolved = target(world, route, &raw.target);
    let backend = resolved.unwrap_or_else(|unresolved| refused(unresolved.to_string()));
    let invalid = if backend.invalid.is_empty() { invalid } else { backend.invalid };
    proto::Backend { weight: raw.weight, filters, invalid, ..backend }
}

/// A share whose requests are refused.
pub(super) fn refused(why: impl Into<String>) -> proto::Backend {
    proto::Backend { weight: 1, invalid: why.into(), ..proto::Backend::default() }
}

/// What `route` refers to.
pub(super) fn target(
    world: World<'_>,
    route: &Route,
    reference: &BackendRef,
) -> Result<proto::Backend, Unresolved> {
    let refuse = |reason, message| Err(Unresolved { reason, message });
    // Written out for those that are refused alone: a gateway may have thousands.
    let what = || format!("{} {}/{}", reference.kind, reference.namespace, reference.name);
    let Ok(found) = Destination::find(world, reference) else {
        let message = format!("{}: traffic cannot be sent to objects of this kind", what());
        return refuse(Reason::InvalidKind, message);
    };
    let from = (route.kind, &route.meta.namespace);
    if !permitted(world, from, reference) && !is_consumed(route, reference) {
        let message = format!(
            "{}: no ReferenceGrant in {} lets objects of kind {} in {} refer to it",
            what(),
            reference.namespace,
            route.kind.as_str(),
            route.meta.namespace
        );
        return refuse(Reason::RefNotPermitted, message);
    }
    let Some(destination) = found else {
        return refuse(Reason::BackendNotFound, format!("there is no {}", what()));
    };
    let Some(port) = reference.port else {
        return refuse(Reason::BackendNotFound, format!("{}: a port is needed", what()));
    };
    let (Some(port), Some(host)) = (destination.port(port), destination.hosts.first()) else {
        return refuse(Reason::BackendNotFound, format!("{} has no TCP port {port}", what()));
    };
    Ok(proto::Backend {
        service: host.to_string(),
        port: port.number.into(),
        protocol: port.protocol.into(),
        ..proto::Backend::default()
    })
}

/// Whether `reference` is the service that a consumer's route is about: its callers reach that without the route too. A
/// route that is also attached to a Gateway would let others in, which takes a grant.
fn is_consumed(route: &Route, reference: &BackendRef) -> bool {
    let parents = || route.parents.iter().map(ParentRef::key);
    reference.key().is_some_and(|key| parents().any(|parent| parent.as_ref() == Some(&key)))
        && parents().all(|parent| {
            parent.is_some_and(|key| matches!(key.kind, Kind::Service | Kind::ServiceEntry))
        })
}

/// Whether objects of a kind and namespace may refer to `reference`: always within the namespace.
pub(super) fn permitted(
    world: World<'_>,
    (kind, namespace): (Kind, &Str),
    reference: &BackendRef,
) -> bool {
    if reference.namespace == *namespace || reference.is_host() {
        return true;
    }
    let mut grants = world.inputs.reference_grants(&reference.namespace);
    grants.any(|grant| {
        let from = grant.from.iter().any(|from| {
            *from.group == *kind.group()
                && *from.kind == *kind.as_str()
                && from.namespace == *namespace
        });
        let to = grant.to.iter().any(|to| {
            to.group == reference.group
                && to.kind == reference.kind
                && to.name.as_ref().is_none_or(|name| name.is_empty() || *name == reference.name)
        });
        from && to
    })
}

/// What is wrong with the references and filters of a route, field by field.
pub(super) fn problems(world: World<'_>, route: &Route) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, rule) in route.rules.iter().enumerate() {
        let field = format!("spec.rules[{i}]");
        for (j, raw) in rule.backends.iter().enumerate() {
            let found = backend(world, route, raw);
            if !found.invalid.is_empty() {
                let field = format!("{field}.backendRefs[{j}]");
                problems.push(Problem::new(field, found.invalid));
            }
        }
        for (j, edit) in rule.filters.iter().enumerate() {
            let field = format!("{field}.filters[{j}]");
            match edit {
                Edit::Filter(_) => {}
                Edit::Mirror(reference, _) => {
                    let failed = target(world, route, reference).err();
                    problems.extend(failed.map(|e| Problem::new(&field, e)));
                }
                Edit::Unsupported(problem) => problems.push(problem.clone().within(&field)),
            }
        }
    }
    problems
}
