//! What pages of other origins may do.

use ambit_proto::ambit::{Cors, StringMatch, string_match};
use serde::Deserialize;

use super::Problem;
use crate::watch::kinds::regex;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawCors {
    allow_origins: Vec<String>,
    allow_credentials: Option<bool>,
    allow_methods: Vec<String>,
    allow_headers: Vec<String>,
    expose_headers: Vec<String>,
    max_age: Option<u32>,
}

/// Seconds for which an answer counts, where nothing else is said.
const MAX_AGE: u64 = 5;

pub(super) fn cors(raw: RawCors) -> Result<Cors, Problem> {
    super::bounded("cors.allowOrigins", raw.allow_origins.len(), super::MAX_LIST)?;
    for (field, list) in [
        ("cors.allowMethods", &raw.allow_methods),
        ("cors.allowHeaders", &raw.allow_headers),
        ("cors.exposeHeaders", &raw.expose_headers),
    ] {
        super::bounded(field, list.len(), super::MAX_LIST)?;
        for (i, name) in list.iter().enumerate() {
            super::paths::header_name(&format!("{field}[{i}]"), name)?;
        }
    }
    Ok(Cors {
        origins: raw.allow_origins.into_iter().map(origin).collect(),
        methods: raw.allow_methods,
        headers: raw.allow_headers,
        expose: raw.expose_headers,
        max_age: Some(raw.max_age.map_or(MAX_AGE, u64::from)),
        credentials: raw.allow_credentials.unwrap_or(false),
        forward_unmatched_preflights: false,
    })
}

/// A star alone is every origin; one within stands for any number of labels.
fn origin(text: String) -> StringMatch {
    let kind = match text.split_once('*') {
        Some(("", "")) => string_match::Kind::Present(true),
        Some((before, after)) => string_match::Kind::Regex(format!(
            "{}.+{}",
            regex::literal(before),
            regex::literal(after)
        )),
        None => string_match::Kind::Exact(text),
    };
    StringMatch { kind: Some(kind), ignore_case: true }
}
