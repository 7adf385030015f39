//! `HTTPRoute`.

use ambit_model::Str;
use ambit_proto::ambit::{HttpMatch, PathMatch, StringMatch, path_match, string_match};
use serde::Deserialize;
use serde_json::Value;

use super::filters::{self, RawFilter};
use super::paths::{self, RawNamed};
use super::references::{self, RawBackend};
use super::retry::{self, RawRetry};
use super::{Kind, Match, Meta, Problem, Rank, Route, RouteRule};
use crate::watch::kinds::{duration, part_of, regex};

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
    timeouts: RawTimeouts,
    retry: Option<RawRetry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTimeouts {
    request: Option<String>,
    backend_request: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMatch {
    path: Option<RawPath>,
    method: Option<String>,
    headers: Vec<RawNamed>,
    query_params: Vec<RawNamed>,
}

#[derive(Deserialize)]
struct RawPath {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

pub(super) fn trim(
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<Route, Problem> {
    let spec: RawSpec = part_of(value, "spec", problems)?;
    let rules = spec.rules.unwrap_or_else(|| vec![RawRule::default()]);
    Ok(Route {
        kind: Kind::HttpRoute,
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
    let filter = |raw| filters::http(namespace, raw);
    let backend = |raw: RawBackend<_>| raw.backend(namespace, filter);
    let filters = super::each("filters", raw.filters, filter)?;
    filters::check_together(&filters)?;
    Ok(RouteRule {
        name: raw.name.into(),
        matches: super::each("matches", matches, http_match)?,
        filters,
        backends: super::each("backendRefs", raw.backend_refs, backend)?,
        request_timeout: timeout("timeouts.request", raw.timeouts.request.as_deref())?,
        backend_timeout: timeout(
            "timeouts.backendRequest",
            raw.timeouts.backend_request.as_deref(),
        )?,
        retry: raw.retry.map(retry::retry).transpose()?,
    })
}

/// Zero means no limit.
fn timeout(field: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let limit = text.map(|text| duration::milliseconds(field, text)).transpose()?;
    Ok(limit.filter(|limit| *limit > 0))
}

fn http_match(raw: RawMatch) -> Result<Match, Problem> {
    let path = path(raw.path)?;
    let method = raw.method.map(|method| {
        let known = http::Method::from_bytes(method.as_bytes()).is_ok();
        let invalid = || Problem::new("method", format!("{method:?} is not a method"));
        known.then(|| string_match::Kind::Exact(method.clone())).ok_or_else(invalid)
    });
    let method = method.transpose()?.map(|m| StringMatch { kind: Some(m), ignore_case: false });
    let (headers, query) = (paths::headers(raw.headers)?, paths::query(raw.query_params)?);
    let http = HttpMatch { path: Some(path), method, headers, query, ..HttpMatch::default() };
    Ok(Match { rank: rank(&http), http })
}

fn path(raw: Option<RawPath>) -> Result<PathMatch, Problem> {
    let raw = raw.unwrap_or(RawPath { kind: None, value: None });
    let value = raw.value.unwrap_or_else(|| "/".to_owned());
    let kind = match raw.kind.as_deref() {
        None | Some("PathPrefix") => {
            paths::check_path("path.value", &value)?;
            // A slash at the end does not count.
            let trimmed = value.trim_end_matches('/');
            let prefix = if trimmed.is_empty() { "/" } else { trimmed };
            path_match::Kind::SegmentPrefix(prefix.to_owned())
        }
        Some("Exact") => {
            paths::check_path("path.value", &value)?;
            path_match::Kind::Exact(value)
        }
        Some("RegularExpression") => {
            regex::check("path.value", &value)?;
            path_match::Kind::Regex(value)
        }
        Some(other) => {
            let message = format!("{other:?} is none of Exact, PathPrefix, RegularExpression");
            return Err(Problem::new("path.type", message));
        }
    };
    Ok(PathMatch { kind: Some(kind), ignore_case: false })
}

/// As the specification orders them: exact paths, the longest prefix, a method, more headers, more parameters. Where an
/// expression stands is left open; it is more particular than the prefixes beside it, which are often `/`.
fn rank(http: &HttpMatch) -> Rank {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (class, length) = match http.path.as_ref().and_then(|path| path.kind.as_ref()) {
        Some(path_match::Kind::Exact(path)) => (2, path.len()),
        Some(path_match::Kind::Regex(path)) => (1, path.len()),
        Some(path_match::Kind::SegmentPrefix(path) | path_match::Kind::Prefix(path)) => {
            (0, path.len())
        }
        None => (0, 0),
    };
    let method = u32::from(http.method.is_some());
    [class, count(length), method, count(http.headers.len()), count(http.query.len())]
}
