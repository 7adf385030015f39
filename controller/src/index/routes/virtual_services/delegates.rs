//! Rules that another VirtualService has: what both match, and of what is done, what either says.

use ambit_proto::ambit::{HttpMatch, PathMatch, path_match};

use crate::index::World;
use crate::watch::kinds::{HttpCase, HttpRule, VirtualService};
use crate::watch::{Key, Kind};

/// The rules that stand in the place of rule number `number`, with their names: itself, or those of its delegate.
pub(super) fn expand(
    world: World<'_>,
    service: &VirtualService,
    number: usize,
    rule: &HttpRule,
) -> Vec<(String, HttpRule)> {
    let Some((namespace, name)) = &rule.delegate else {
        return vec![(self::name(service, number, rule), rule.clone())];
    };
    let key = Key::new(Kind::VirtualService, namespace.clone(), name.clone());
    // One that is for hosts of its own, or that delegates once more, is none.
    let delegate = world.inputs.virtual_service(&key).filter(|delegate| delegate.hosts.is_empty());
    let rules = delegate.into_iter().flat_map(|delegate| {
        delegate.http.iter().enumerate().map(move |(i, inner)| (delegate, i, inner))
    });
    rules
        .filter(|(_, _, inner)| inner.delegate.is_none())
        .filter_map(|(delegate, i, inner)| {
            Some((self::name(delegate, i, inner), merged(rule, inner)?))
        })
        .collect()
}

fn name(service: &VirtualService, number: usize, rule: &HttpRule) -> String {
    let meta = &service.meta;
    let mut name = format!("VirtualService {}/{} http {number}", meta.namespace, meta.name);
    if !rule.name.is_empty() {
        name = format!("{name} ({})", rule.name);
    }
    name
}

/// `None` where nothing can match both.
fn merged(outer: &HttpRule, inner: &HttpRule) -> Option<HttpRule> {
    let mut rule = inner.clone();
    let action = &mut rule.action;
    let mut filters = outer.action.filters.clone();
    filters.append(&mut action.filters);
    action.filters = filters;
    action.request_timeout = action.request_timeout.or(outer.action.request_timeout);
    action.fault = action.fault.or(outer.action.fault);
    if rule.matches.is_empty() {
        rule.matches.clone_from(&outer.matches);
    } else if !outer.matches.is_empty() {
        let pairs = outer.matches.iter().flat_map(|a| inner.matches.iter().map(move |b| (a, b)));
        rule.matches = pairs.filter_map(|(a, b)| both(a, b)).collect();
        if rule.matches.is_empty() {
            return None;
        }
    }
    Some(rule)
}

/// A case that both cases are about.
fn both(outer: &HttpCase, inner: &HttpCase) -> Option<HttpCase> {
    let one = |a: &Option<_>, b: &Option<_>| match (a, b) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => Some(b.clone().or_else(|| a.clone())),
    };
    let (a, b) = (&outer.http, &inner.http);
    let port = match (outer.port, inner.port) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => b.or(a),
    };
    let source = match (&a.source, &b.source) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => b.clone().or_else(|| a.clone()),
    };
    Some(HttpCase {
        port,
        http: HttpMatch {
            path: narrower(a.path.as_ref(), b.path.as_ref())?,
            method: one(&a.method, &b.method)?,
            scheme: one(&a.scheme, &b.scheme)?,
            authority: one(&a.authority, &b.authority)?,
            headers: [&a.headers[..], &b.headers].concat(),
            query: [&a.query[..], &b.query].concat(),
            source,
        },
    })
}

/// The inner path where it lies within the outer one.
#[allow(clippy::option_option, reason = "no path, or none that both have")]
fn narrower(outer: Option<&PathMatch>, inner: Option<&PathMatch>) -> Option<Option<PathMatch>> {
    let (Some(a), Some(b)) = (outer, inner) else {
        return Some(inner.or(outer).cloned());
    };
    let within = match (a.kind.as_ref(), b.kind.as_ref()) {
        (
            Some(path_match::Kind::Prefix(a)),
            Some(path_match::Kind::Prefix(b) | path_match::Kind::Exact(b)),
        ) => b.starts_with(a.as_str()),
        _ => a == b,
    };
    within.then(|| Some(b.clone()))
}
