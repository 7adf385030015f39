//! What is done with requests.

use std::collections::BTreeMap;

use ambit_proto::ambit::{
    Cors, DirectResponse, Filter, Header, HeaderEdit, HttpAction, PathEdit, Redirect, RegexEdit,
    Rewrite, filter, path_edit,
};
use serde::Deserialize;

use super::faults::{self, RawFault};
use super::matches::{self, RawMatch, RawText};
use super::retries::{self, RawRetries};
use super::{Destination, HttpRule, Share};
use crate::watch::kinds::{Meta, Problem, duration, ports, regex};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawHttp {
    name: String,
    r#match: Vec<RawMatch>,
    route: Vec<RawShare>,
    redirect: Option<RawRedirect>,
    direct_response: Option<RawDirect>,
    delegate: Option<RawDelegate>,
    rewrite: Option<RawRewrite>,
    timeout: Option<String>,
    retries: Option<RawRetries>,
    fault: Option<RawFault>,
    mirror: Option<RawDestination>,
    mirror_percentage: Option<RawPercent>,
    mirror_percent: Option<f64>,
    mirrors: Vec<RawMirror>,
    cors_policy: Option<RawCors>,
    headers: Option<RawHeaders>,
}

#[derive(Deserialize)]
pub(super) struct RawShare {
    destination: RawDestination,
    weight: Option<u32>,
    headers: Option<RawHeaders>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawDestination {
    host: String,
    subset: String,
    port: Option<RawPort>,
}

#[derive(Deserialize)]
struct RawPort {
    number: i64,
}

#[derive(Deserialize)]
struct RawDelegate {
    name: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct RawMirror {
    destination: RawDestination,
    percentage: Option<RawPercent>,
}

#[derive(Deserialize)]
pub(super) struct RawPercent {
    #[serde(default)]
    pub(super) value: f64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRedirect {
    uri: String,
    authority: String,
    scheme: String,
    port: Option<i64>,
    #[serde(rename = "derivePort")]
    _derive_port: Option<String>,
    redirect_code: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRewrite {
    uri: String,
    authority: String,
    uri_regex_rewrite: Option<RawRegexRewrite>,
}

#[derive(Deserialize)]
struct RawRegexRewrite {
    r#match: String,
    rewrite: String,
}

#[derive(Deserialize)]
struct RawDirect {
    status: u32,
    body: Option<RawBody>,
}

#[derive(Deserialize)]
struct RawBody {
    string: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHeaders {
    request: RawOperations,
    response: RawOperations,
}

#[derive(Default, PartialEq, Deserialize)]
#[serde(default)]
struct RawOperations {
    set: BTreeMap<String, String>,
    add: BTreeMap<String, String>,
    remove: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCors {
    allow_origins: Vec<RawText>,
    allow_methods: Vec<String>,
    allow_headers: Vec<String>,
    expose_headers: Vec<String>,
    max_age: Option<String>,
    allow_credentials: bool,
    unmatched_preflights: String,
}

/// A rule; `None` for one that is not for the mesh.
pub(super) fn rule(
    meta: &Meta,
    raw: RawHttp,
    remarks: &mut Vec<Problem>,
) -> Result<Option<HttpRule>, Problem> {
    let any = raw.r#match.is_empty();
    let cases = super::each("match", raw.r#match, matches::case)?;
    let matches: Vec<_> = cases.into_iter().flatten().collect();
    if !any && matches.is_empty() {
        return Ok(None);
    }
    let mut mirrors = Vec::new();
    if let Some(to) = raw.mirror {
        let percent = raw.mirror_percentage.map(|p| p.value).or(raw.mirror_percent);
        mirrors.push((to.read("mirror")?, share(percent.unwrap_or(100.0))));
    }
    for mirror in raw.mirrors {
        let percent = mirror.percentage.map_or(100.0, |p| p.value);
        mirrors.push((mirror.destination.read("mirrors")?, share(percent)));
    }
    let mut filters = Vec::new();
    filters.extend(raw.cors_policy.map(cors).transpose()?);
    filters.extend(raw.headers.map(headers).transpose()?.unwrap_or_default());
    filters.extend(raw.rewrite.map(rewrite).transpose()?);
    filters.extend(raw.redirect.map(redirect).transpose()?);
    filters.extend(raw.direct_response.map(direct));
    let timeout = raw.timeout.map(|text| duration::milliseconds("timeout", &text)).transpose()?;
    let action = HttpAction {
        filters,
        request_timeout: timeout.filter(|timeout| *timeout > 0),
        retry: retries::retry(raw.retries, remarks)?,
        fault: raw.fault.map(faults::fault).transpose()?,
        ..HttpAction::default()
    };
    let delegate = raw.delegate.map(|to| {
        let namespace = to.namespace.map_or_else(|| meta.namespace.clone(), Into::into);
        (namespace, to.name.into())
    });
    let routes = super::each("route", raw.route, RawShare::read)?;
    Ok(Some(HttpRule { name: raw.name.into(), matches, action, routes, mirrors, delegate }))
}

// === impl RawShare ===

impl RawShare {
    pub(super) fn read(self) -> Result<Share, Problem> {
        let to = self.destination.read("destination")?;
        let filters = self.headers.map(headers).transpose()?.unwrap_or_default();
        Ok(Share { weight: self.weight.unwrap_or(0), to, filters })
    }
}

// === impl RawDestination ===

impl RawDestination {
    fn read(self, field: &str) -> Result<Destination, Problem> {
        let within = |problem: Problem| problem.within(&format!("{field}.host"));
        let port = self.port.map(|port| ports::port("port.number", port.number)).transpose();
        Ok(Destination {
            host: super::host(self.host).map_err(within)?,
            subset: self.subset.into(),
            port: port.map_err(|problem| problem.within(field))?,
        })
    }
}

/// Parts per million of a percentage.
pub(super) fn share(percent: f64) -> u32 {
    // Bounded, and a share that is no number is none.
    (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32
}

fn some(kind: filter::Kind) -> Filter {
    Filter { kind: Some(kind) }
}

fn headers(raw: RawHeaders) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    if raw.request != RawOperations::default() {
        filters.push(some(filter::Kind::RequestHeaders(edit("headers.request", raw.request)?)));
    }
    if raw.response != RawOperations::default() {
        filters.push(some(filter::Kind::ResponseHeaders(edit("headers.response", raw.response)?)));
    }
    Ok(filters)
}

fn edit(field: &str, raw: RawOperations) -> Result<HeaderEdit, Problem> {
    let name = |name: String| match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(Problem::new(field, format!("{name:?} is not a header's name"))),
    };
    let header = |(key, value): (String, String)| {
        if http::HeaderValue::from_str(&value).is_err() {
            return Err(Problem::new(field, format!("the value of {key:?} is not a header's")));
        }
        Ok(Header { name: name(key)?, value })
    };
    Ok(HeaderEdit {
        set: raw.set.into_iter().map(header).collect::<Result<_, _>>()?,
        add: raw.add.into_iter().map(header).collect::<Result<_, _>>()?,
        remove: raw.remove.into_iter().map(name).collect::<Result<_, _>>()?,
    })
}

fn rewrite(raw: RawRewrite) -> Result<Filter, Problem> {
    let kind = match raw.uri_regex_rewrite {
        Some(RawRegexRewrite { r#match, rewrite }) => {
            regex::check("rewrite.uriRegexRewrite.match", &r#match)?;
            Some(path_edit::Kind::Regex(RegexEdit { pattern: r#match, substitution: rewrite }))
        }
        None => Some(raw.uri).filter(|uri| !uri.is_empty()).map(path_edit::Kind::Prefix),
    };
    let path = kind.map(|kind| PathEdit { kind: Some(kind) });
    Ok(some(filter::Kind::Rewrite(Rewrite { hostname: raw.authority, path })))
}

fn redirect(raw: RawRedirect) -> Result<Filter, Problem> {
    let status = raw.redirect_code.unwrap_or(301);
    if !(300..400).contains(&status) {
        let message = format!("{status} is no redirection");
        return Err(Problem::new("redirect.redirectCode", message));
    }
    let port = raw.port.map(|port| ports::port("redirect.port", port)).transpose()?;
    let path = Some(raw.uri).filter(|uri| !uri.is_empty()).map(path_edit::Kind::Full);
    Ok(some(filter::Kind::Redirect(Redirect {
        scheme: raw.scheme,
        hostname: raw.authority,
        port: port.unwrap_or_default().into(),
        path: path.map(|kind| PathEdit { kind: Some(kind) }),
        status,
    })))
}

fn direct(raw: RawDirect) -> Filter {
    let body = raw.body.and_then(|body| body.string).unwrap_or_default().into_bytes();
    some(filter::Kind::DirectResponse(DirectResponse { status: raw.status, body }))
}

fn cors(raw: RawCors) -> Result<Filter, Problem> {
    let max_age = raw.max_age.map(|text| duration::milliseconds("corsPolicy.maxAge", &text));
    let origins = super::each("corsPolicy.allowOrigins", raw.allow_origins, matches::text)?;
    Ok(some(filter::Kind::Cors(Cors {
        origins,
        methods: raw.allow_methods,
        headers: raw.allow_headers,
        expose: raw.expose_headers,
        max_age: max_age.transpose()?.map(|ms| ms / 1000),
        credentials: raw.allow_credentials,
        forward_unmatched_preflights: raw.unmatched_preflights != "IGNORE",
    })))
}
