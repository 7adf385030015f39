//! `GRPCRoute`: a method is a path of two segments.

use ambit_model::Str;
use ambit_proto::ambit::{HttpMatch, path_match};
use serde::Deserialize;
use serde_json::Value;

use super::filters::{self, RawFilter};
use super::paths::{self, RawNamed};
use super::references::{self, RawBackend};
use super::{Kind, Match, Meta, Problem, Route, RouteRule};
use crate::watch::kinds::{part_of, regex};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    parent_refs: Vec<Value>,
    #[serde(default)]
    hostnames: Vec<String>,
    rules: Option<Vec<RawRule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRule {
    name: String,
    matches: Vec<RawMatch>,
    filters: Vec<RawFilter>,
    backend_refs: Vec<RawBackend<RawFilter>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMatch {
    method: RawMethod,
    headers: Vec<RawNamed>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMethod {
    #[serde(rename = "type")]
    kind: Option<String>,
    service: Option<String>,
    method: Option<String>,
}

pub(super) fn trim(
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<Route, Problem> {
    let spec: RawSpec = part_of(value, "spec", problems)?;
    let rules = spec.rules.unwrap_or_else(|| vec![RawRule::default()]);
    Ok(Route {
        kind: Kind::GrpcRoute,
        parents: references::parents(&meta, spec.parent_refs)?,
        hostnames: super::hostnames(spec.hostnames)?,
        rules: super::each("spec.rules", rules, |raw| rule(&meta.namespace, raw))?,
        meta,
    })
}

fn rule(namespace: &Str, raw: RawRule) -> Result<RouteRule, Problem> {
    let mut matches = raw.matches;
    if matches.is_empty() {
        matches.push(RawMatch::default());
    }
    let filter = |raw| filters::grpc(namespace, raw);
    let backend = |raw: RawBackend<_>| raw.backend(namespace, filter);
    Ok(RouteRule {
        name: raw.name.into(),
        matches: super::each("matches", matches, grpc_match)?,
        filters: super::each("filters", raw.filters, filter)?,
        backends: super::each("backendRefs", raw.backend_refs, backend)?,
        ..RouteRule::default()
    })
}

/// Ranked by the length of the service's name, then the method's, then the number of headers.
fn grpc_match(raw: RawMatch) -> Result<Match, Problem> {
    let RawMethod { kind, service, method } = raw.method;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (service, method) = (some(service), some(method));
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let headers = paths::headers(raw.headers)?;
    let rank = [0, count(length(&service)), count(length(&method)), count(headers.len()), 0];
    let path = match kind.as_deref() {
        None | Some("Exact") => exact(service, method)?,
        Some("RegularExpression") => expression(service, method)?,
        Some(other) => {
            let message = format!("{other:?} is neither Exact nor RegularExpression");
            return Err(Problem::new("method.type", message));
        }
    };
    let http = HttpMatch { path: paths::path(path), headers, ..HttpMatch::default() };
    Ok(Match { rank, http })
}

fn exact(service: Option<String>, method: Option<String>) -> Result<path_match::Kind, Problem> {
    for (field, name) in [("method.service", &service), ("method.method", &method)] {
        let fits = |name: &String| !name.contains(['/', ' ']) && name.is_ascii();
        if name.as_ref().is_some_and(|name| !fits(name)) {
            return Err(Problem::new(field, "is not a name"));
        }
    }
    Ok(match (service, method) {
        (Some(service), Some(method)) => path_match::Kind::Exact(format!("/{service}/{method}")),
        (Some(service), None) => path_match::Kind::SegmentPrefix(format!("/{service}")),
        // Names have no characters that would mean something in an expression but dots.
        (None, Some(method)) => {
            path_match::Kind::Regex(format!("/[^/]+/{}", regex::literal(&method)))
        }
        (None, None) => path_match::Kind::SegmentPrefix("/".to_owned()),
    })
}

fn expression(
    service: Option<String>,
    method: Option<String>,
) -> Result<path_match::Kind, Problem> {
    for (field, text) in [("method.service", &service), ("method.method", &method)] {
        text.iter().try_for_each(|text| regex::check(field, text))?;
    }
    let part = |text: Option<String>| text.map_or("[^/]+".to_owned(), |text| format!("(?:{text})"));
    Ok(path_match::Kind::Regex(format!("/{}/{}", part(service), part(method))))
}
