//! Strings that requests are compared with.

use ambit_proto::ambit::{NamedMatch, PathMatch, StringMatch, path_match, string_match};
use serde::Deserialize;

use crate::watch::kinds::{Problem, regex};

/// A header or a query parameter.
#[derive(Deserialize)]
pub(super) struct RawNamed {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    value: String,
}

/// The match of an exact value or of an expression, as `type` says; absent means exact.
pub(super) fn text(kind: Option<&str>, value: String) -> Result<string_match::Kind, Problem> {
    match kind {
        None | Some("Exact") => Ok(string_match::Kind::Exact(value)),
        Some("RegularExpression") => {
            regex::check("value", &value)?;
            Ok(string_match::Kind::Regex(value))
        }
        Some(other) => {
            Err(Problem::new("type", format!("{other:?} is neither Exact nor RegularExpression")))
        }
    }
}

/// Headers, whose names are compared without case; of several with one name the first counts.
pub(super) fn headers(list: Vec<RawNamed>) -> Result<Vec<NamedMatch>, Problem> {
    let mut matches: Vec<NamedMatch> = Vec::new();
    for new in super::each("headers", list, |mut raw| {
        header_name("name", &raw.name)?;
        raw.name.make_ascii_lowercase();
        named(raw)
    })? {
        if matches.iter().all(|known| known.name != new.name) {
            matches.push(new);
        }
    }
    Ok(matches)
}

/// Query parameters; of several with one name the first counts.
pub(super) fn query(list: Vec<RawNamed>) -> Result<Vec<NamedMatch>, Problem> {
    let mut matches: Vec<NamedMatch> = Vec::new();
    for new in super::each("queryParams", list, named)? {
        if matches.iter().all(|known| known.name != new.name) {
            matches.push(new);
        }
    }
    Ok(matches)
}

fn named(raw: RawNamed) -> Result<NamedMatch, Problem> {
    let kind = Some(text(raw.kind.as_deref(), raw.value)?);
    let value = Some(StringMatch { kind, ignore_case: false });
    Ok(NamedMatch { name: raw.name, value, invert: false })
}

pub(super) fn path(kind: path_match::Kind) -> Option<PathMatch> {
    Some(PathMatch { kind: Some(kind), ignore_case: false })
}

/// A path as requests have it.
pub(super) fn check_path(field: &str, path: &str) -> Result<(), Problem> {
    let clean = path.starts_with('/') && !path.contains(|c: char| c.is_control() || c == ' ');
    if clean && path.len() <= 4096 {
        return Ok(());
    }
    Err(Problem::new(field, format!("{path:?} is not a path that begins with '/'")))
}

/// A name that a header can have.
pub(super) fn header_name(field: &str, name: &str) -> Result<(), Problem> {
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::new(field, format!("{name:?} is not a header's name"))),
    }
}
