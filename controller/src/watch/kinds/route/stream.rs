//! `TLSRoute` and `TCPRoute`.

use serde::Deserialize;
use serde_json::Value;

use super::references::{self, RawBackend};
use super::{Edit, Kind, Meta, Problem, Route, RouteRule};
use crate::watch::kinds::part_of;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    parent_refs: Vec<Value>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    backend_refs: Vec<RawBackend<Value>>,
}

pub(super) fn trim(
    kind: Kind,
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<Route, Problem> {
    let spec: RawSpec = part_of(value, "spec", problems)?;
    let unsupported =
        |_| Ok(Edit::Unsupported(Problem::new("", "filters mean nothing for connections")));
    let rule = |raw: RawRule| {
        let backend = |raw: RawBackend<_>| raw.backend(&meta.namespace, unsupported);
        let backends = super::each("backendRefs", raw.backend_refs, backend)?;
        Ok(RouteRule { name: raw.name.into(), backends, ..RouteRule::default() })
    };
    Ok(Route {
        kind,
        parents: references::parents(&meta, spec.parent_refs)?,
        hostnames: super::hostnames(spec.hostnames)?,
        rules: super::each("spec.rules", spec.rules, rule)?,
        meta,
    })
}
