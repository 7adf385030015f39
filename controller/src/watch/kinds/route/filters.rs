//! What a rule does to requests and responses.

use ambit_model::Str;
use ambit_proto::ambit::{
    Filter, Header, HeaderEdit, PathEdit, Redirect, Rewrite, filter, path_edit,
};
use serde::Deserialize;
use serde_json::Value;

use super::cors::{self, RawCors};
use super::references::RawBackend;
use super::{Edit, Problem, paths};
use crate::watch::kinds::{network, ports};

/// A share of everything.
const WHOLE: u32 = 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawFilter {
    #[serde(rename = "type")]
    kind: String,
    request_header_modifier: Option<RawHeaders>,
    response_header_modifier: Option<RawHeaders>,
    request_mirror: Option<RawMirror>,
    request_redirect: Option<RawRedirect>,
    url_rewrite: Option<RawRewrite>,
    cors: Option<RawCors>,
    #[serde(rename = "externalAuth")]
    _external_auth: Option<Value>,
    #[serde(rename = "extensionRef")]
    _extension_ref: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHeaders {
    set: Vec<RawHeader>,
    add: Vec<RawHeader>,
    remove: Vec<String>,
}

#[derive(Deserialize)]
struct RawHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMirror {
    backend_ref: RawBackend<()>,
    percent: Option<i64>,
    fraction: Option<RawFraction>,
}

#[derive(Deserialize)]
struct RawFraction {
    numerator: i64,
    denominator: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRedirect {
    scheme: Option<String>,
    hostname: Option<String>,
    path: Option<RawPath>,
    port: Option<i64>,
    status_code: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRewrite {
    hostname: Option<String>,
    path: Option<RawPath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPath {
    #[serde(rename = "type")]
    kind: String,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
}

/// A filter of an HTTPRoute.
pub(super) fn http(namespace: &Str, raw: RawFilter) -> Result<Edit, Problem> {
    let kind = match raw.kind.as_str() {
        "RequestRedirect" => {
            filter::Kind::Redirect(redirect(given(&raw.kind, raw.request_redirect)?)?)
        }
        "URLRewrite" => filter::Kind::Rewrite(rewrite(given(&raw.kind, raw.url_rewrite)?)?),
        "CORS" => filter::Kind::Cors(cors::cors(given(&raw.kind, raw.cors)?)?),
        _ => return grpc(namespace, raw),
    };
    Ok(Edit::Filter(Filter { kind: Some(kind) }))
}

/// A filter of a GRPCRoute, which those of HTTPRoutes have as well.
pub(super) fn grpc(namespace: &Str, raw: RawFilter) -> Result<Edit, Problem> {
    let kind = match raw.kind.as_str() {
        "RequestHeaderModifier" => {
            let headers = given(&raw.kind, raw.request_header_modifier)?;
            filter::Kind::RequestHeaders(header_edit("requestHeaderModifier", headers)?)
        }
        "ResponseHeaderModifier" => {
            let headers = given(&raw.kind, raw.response_header_modifier)?;
            filter::Kind::ResponseHeaders(header_edit("responseHeaderModifier", headers)?)
        }
        "RequestMirror" => {
            let mirror = given(&raw.kind, raw.request_mirror)?;
            let share = share(mirror.percent, mirror.fraction)?;
            let target = mirror.backend_ref.target(namespace);
            let target = target.map_err(|p| p.within("requestMirror.backendRef"))?;
            return Ok(Edit::Mirror(target, share));
        }
        other => {
            let problem =
                Problem::new("type", format!("filters of type {other:?} are not supported"));
            return Ok(Edit::Unsupported(problem));
        }
    };
    Ok(Edit::Filter(Filter { kind: Some(kind) }))
}

/// A request cannot be both redirected and rewritten.
pub(super) fn check_together(filters: &[Edit]) -> Result<(), Problem> {
    let count = |wanted: fn(&filter::Kind) -> bool| {
        let kinds = filters.iter().filter_map(|edit| match edit {
            Edit::Filter(filter) => filter.kind.as_ref(),
            _ => None,
        });
        kinds.filter(|kind| wanted(kind)).count()
    };
    let redirects = count(|kind| matches!(kind, filter::Kind::Redirect(_)));
    let rewrites = count(|kind| matches!(kind, filter::Kind::Rewrite(_)));
    if redirects + rewrites > 1 {
        let message = "RequestRedirect and URLRewrite can stand there once, and not both";
        return Err(Problem::new("filters", message));
    }
    Ok(())
}

/// The part of a filter that its type asks for.
fn given<T>(kind: &str, part: Option<T>) -> Result<T, Problem> {
    part.ok_or_else(|| Problem::new("", format!("what {kind} should do is missing")))
}

fn header_edit(field: &str, raw: RawHeaders) -> Result<HeaderEdit, Problem> {
    let header = |raw: RawHeader| {
        paths::header_name("name", &raw.name)?;
        if http::HeaderValue::from_str(&raw.value).is_err() {
            return Err(Problem::new("value", "is not a header's value"));
        }
        Ok(Header { name: raw.name.to_ascii_lowercase(), value: raw.value })
    };
    let name = |name: String| {
        paths::header_name("", &name)?;
        Ok(name.to_ascii_lowercase())
    };
    let within = |problem: Problem| problem.within(field);
    Ok(HeaderEdit {
        set: super::each("set", raw.set, header).map_err(within)?,
        add: super::each("add", raw.add, header).map_err(within)?,
        remove: super::each("remove", raw.remove, name).map_err(within)?,
    })
}

fn share(percent: Option<i64>, fraction: Option<RawFraction>) -> Result<u32, Problem> {
    let (part, whole) = match (percent, fraction) {
        (Some(_), Some(_)) => {
            return Err(Problem::new("requestMirror", "percent and fraction exclude each other"));
        }
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (None, None) => (1, 1),
    };
    if whole <= 0 || !(0..=whole).contains(&part) {
        return Err(Problem::new("requestMirror", format!("{part} of {whole} is not a share")));
    }
    let millionths = i128::from(part) * i128::from(WHOLE) / i128::from(whole);
    Ok(u32::try_from(millionths).unwrap_or(WHOLE))
}

fn redirect(raw: RawRedirect) -> Result<Redirect, Problem> {
    let within = |problem: Problem| problem.within("requestRedirect");
    let scheme = raw.scheme.unwrap_or_default();
    if !matches!(scheme.as_str(), "" | "http" | "https") {
        return Err(within(Problem::new(
            "scheme",
            format!("{scheme:?} is neither http nor https"),
        )));
    }
    let status = raw.status_code.unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let message = format!("{status} is none of 301, 302, 303, 307, 308");
        return Err(within(Problem::new("statusCode", message)));
    }
    let port = raw.port.map(|port| ports::port("port", port)).transpose().map_err(within)?;
    Ok(Redirect {
        scheme,
        hostname: hostname(raw.hostname).map_err(within)?,
        port: port.unwrap_or_default().into(),
        path: raw.path.map(path_edit).transpose().map_err(within)?,
        status,
    })
}

fn rewrite(raw: RawRewrite) -> Result<Rewrite, Problem> {
    let within = |problem: Problem| problem.within("urlRewrite");
    Ok(Rewrite {
        hostname: hostname(raw.hostname).map_err(within)?,
        path: raw.path.map(path_edit).transpose().map_err(within)?,
    })
}

fn hostname(host: Option<String>) -> Result<String, Problem> {
    let host = host.unwrap_or_default();
    if !host.is_empty() {
        network::hostname("hostname", &host)?;
    }
    Ok(host)
}

fn path_edit(raw: RawPath) -> Result<PathEdit, Problem> {
    let missing = |field| Problem::new(field, "is missing");
    let kind = match raw.kind.as_str() {
        "ReplaceFullPath" => {
            let path = raw.replace_full_path;
            let path = path.ok_or_else(|| missing("path.replaceFullPath"))?;
            path_edit::Kind::Full(clean("path.replaceFullPath", path)?)
        }
        "ReplacePrefixMatch" => {
            let path = raw.replace_prefix_match;
            let path = path.ok_or_else(|| missing("path.replacePrefixMatch"))?;
            path_edit::Kind::Prefix(clean("path.replacePrefixMatch", path)?)
        }
        other => {
            let message = format!("{other:?} is neither ReplaceFullPath nor ReplacePrefixMatch");
            return Err(Problem::new("path.type", message));
        }
    };
    Ok(PathEdit { kind: Some(kind) })
}

/// A path to put in place of another; may be empty.
fn clean(field: &str, path: String) -> Result<String, Problem> {
    if !path.is_empty() {
        let rooted = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        paths::check_path(field, &rooted)?;
    }
    Ok(path)
}
