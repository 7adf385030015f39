//! What requests look like.

use std::collections::BTreeMap;

use ambit_proto::ambit::{
    HttpMatch, NamedMatch, PathMatch, SourceMatch, StringMatch, path_match, string_match,
};
use serde::Deserialize;

use super::{HttpCase, is_for_mesh};
use crate::watch::kinds::{Problem, ports, regex};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawMatch {
    #[serde(rename = "name")]
    _name: Option<String>,
    uri: Option<RawText>,
    scheme: Option<RawText>,
    method: Option<RawText>,
    authority: Option<RawText>,
    headers: BTreeMap<String, RawText>,
    without_headers: BTreeMap<String, RawText>,
    query_params: BTreeMap<String, RawText>,
    port: Option<i64>,
    ignore_uri_case: bool,
    gateways: Vec<String>,
    source_labels: BTreeMap<String, String>,
    source_namespace: String,
}

#[derive(Default, Deserialize)]
pub(super) struct RawText {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

/// A match; `None` for one that is not for the mesh.
pub(super) fn case(raw: RawMatch) -> Result<Option<HttpCase>, Problem> {
    if !is_for_mesh(&raw.gateways) {
        return Ok(None);
    }
    let mut headers = named("headers", raw.headers, false)?;
    headers.extend(named("withoutHeaders", raw.without_headers, true)?);
    headers.iter_mut().for_each(|header| header.name.make_ascii_lowercase());
    let field = |name: &str, raw: Option<RawText>| {
        raw.map(|raw| text(raw).map_err(|problem| problem.within(name))).transpose()
    };
    let http = HttpMatch {
        path: raw.uri.map(|uri| path(uri, raw.ignore_uri_case)).transpose()?,
        method: field("method", raw.method)?,
        scheme: field("scheme", raw.scheme)?,
        authority: field("authority", raw.authority)?,
        headers,
        query: named("queryParams", raw.query_params, false)?,
        source: source(raw.source_labels, raw.source_namespace),
    };
    let port = raw.port.map(|port| ports::port("port", port)).transpose()?;
    Ok(Some(HttpCase { port, http }))
}

pub(super) fn source(labels: BTreeMap<String, String>, namespace: String) -> Option<SourceMatch> {
    (!labels.is_empty() || !namespace.is_empty()).then(|| SourceMatch {
        namespace,
        labels,
        principals: Vec::new(),
    })
}

fn path(raw: RawText, ignore_case: bool) -> Result<PathMatch, Problem> {
    let kind = match raw {
        RawText { exact: Some(path), .. } => path_match::Kind::Exact(path),
        RawText { prefix: Some(path), .. } => path_match::Kind::Prefix(path),
        RawText { regex: Some(text), .. } => {
            regex::check("uri.regex", &text)?;
            path_match::Kind::Regex(text)
        }
        _ => path_match::Kind::Prefix("/".to_owned()),
    };
    Ok(PathMatch { kind: Some(kind), ignore_case })
}

/// A match of a value; one that says nothing is there is a value.
pub(super) fn text(raw: RawText) -> Result<StringMatch, Problem> {
    let kind = match raw {
        RawText { exact: Some(text), .. } => string_match::Kind::Exact(text),
        RawText { prefix: Some(text), .. } => string_match::Kind::Prefix(text),
        RawText { regex: Some(text), .. } => {
            regex::check("regex", &text)?;
            string_match::Kind::Regex(text)
        }
        _ => string_match::Kind::Present(true),
    };
    Ok(StringMatch { kind: Some(kind), ignore_case: false })
}

fn named(
    field: &str,
    map: BTreeMap<String, RawText>,
    invert: bool,
) -> Result<Vec<NamedMatch>, Problem> {
    map.into_iter()
        .map(|(name, raw)| {
            let value = text(raw).map_err(|p| p.within(&format!("{field}[{name}]")))?;
            Ok(NamedMatch { name, value: Some(value), invert })
        })
        .collect()
}
