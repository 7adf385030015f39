//! What is done with the requests that a rule is for.

use ambit_proto::ambit as proto;

use super::backends;
use crate::index::World;
use crate::watch::kinds::{Edit, Route, RouteRule};

/// What rule number `number` of `route` does with requests that came in on `port`.
pub(super) fn http(
    world: World<'_>,
    route: &Route,
    (number, rule): (usize, &RouteRule),
    port: u16,
) -> proto::HttpAction {
    let mut action = proto::HttpAction {
        name: name(route, number, rule),
        request_timeout: rule.request_timeout,
        backend_timeout: rule.backend_timeout,
        retry: rule.retry.clone(),
        ..proto::HttpAction::default()
    };
    for edit in &rule.filters {
        match edit {
            Edit::Filter(filter) => action.filters.push(on_port(filter.clone(), port)),
            Edit::Mirror(reference, share) => {
                // One that cannot be used is left out; the route's status says so.
                let mirror = backends::target(world, route, reference).map(|backend| {
                    let backend = Some(proto::Backend { weight: 1, ..backend });
                    proto::Mirror { backend, share: *share }
                });
                action.mirrors.extend(mirror);
            }
            Edit::Unsupported(problem) => {
                action.filters.clear();
                action.backends = vec![backends::refused(problem.message.as_str())];
                return action;
            }
        }
    }
    if !action.filters.iter().any(ends) {
        action.backends = shares(world, route, rule);
    }
    action
}

/// The backends of a rule. Where there are none, or none with a share, nothing can be served.
pub(super) fn shares(world: World<'_>, route: &Route, rule: &RouteRule) -> Vec<proto::Backend> {
    let list: Vec<proto::Backend> =
        rule.backends.iter().map(|raw| backends::backend(world, route, raw)).collect();
    if list.is_empty() {
        return vec![backends::refused("the rule has no backendRefs")];
    }
    if list.iter().all(|backend| backend.weight == 0) {
        return vec![backends::refused("no backend of the rule has a weight")];
    }
    list.into_iter().filter(|backend| backend.weight > 0).collect()
}

/// As logs and explanations call a rule.
pub(super) fn name(route: &Route, number: usize, rule: &RouteRule) -> String {
    let (kind, meta) = (route.kind.as_str(), &route.meta);
    let mut name = format!("{kind} {}/{} rule {number}", meta.namespace, meta.name);
    if !rule.name.is_empty() {
        name = format!("{name} ({})", rule.name);
    }
    name
}

/// Whether a filter answers the request itself.
pub(super) fn ends(filter: &proto::Filter) -> bool {
    use proto::filter::Kind;
    matches!(filter.kind, Some(Kind::Redirect(_) | Kind::DirectResponse(_)))
}

/// A redirect that names neither scheme nor port leads to the port that the request came in on.
fn on_port(mut filter: proto::Filter, port: u16) -> proto::Filter {
    if let Some(proto::filter::Kind::Redirect(redirect)) = &mut filter.kind
        && redirect.scheme.is_empty()
        && redirect.port == 0
    {
        redirect.port = port.into();
    }
    filter
}
