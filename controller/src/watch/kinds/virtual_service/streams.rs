//! Connections that are no requests.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::actions::RawShare;
use super::matches;
use super::{StreamCase, StreamRule, is_for_mesh};
use crate::watch::kinds::{Problem, ports};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStream {
    r#match: Vec<RawMatch>,
    route: Vec<RawShare>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMatch {
    sni_hosts: Vec<String>,
    destination_subnets: Vec<String>,
    port: Option<i64>,
    gateways: Vec<String>,
    source_labels: BTreeMap<String, String>,
    source_namespace: String,
}

/// A rule; `None` for one that is not for the mesh.
pub(super) fn rule(raw: RawStream) -> Result<Option<StreamRule>, Problem> {
    let any = raw.r#match.is_empty();
    let cases = super::each("match", raw.r#match, case)?;
    let matches: Vec<StreamCase> = cases.into_iter().flatten().collect();
    if !any && matches.is_empty() {
        return Ok(None);
    }
    let routes = super::each("route", raw.route, RawShare::read)?;
    Ok(Some(StreamRule { matches, routes }))
}

fn case(raw: RawMatch) -> Result<Option<StreamCase>, Problem> {
    for (i, range) in raw.destination_subnets.iter().enumerate() {
        let whole = range.parse::<ipnet::IpNet>().map(drop);
        if whole.is_err() && range.parse::<std::net::IpAddr>().is_err() {
            let message = format!("{range:?} is no range of addresses");
            return Err(Problem::new(format!("destinationSubnets[{i}]"), message));
        }
    }
    let sni = raw.sni_hosts.iter().map(|host| host.to_ascii_lowercase());
    let case = StreamCase {
        port: raw.port.map(|port| ports::port("port", port)).transpose()?,
        sni: sni.filter(|host| host != "*").collect(),
        destinations: raw.destination_subnets,
        source: matches::source(raw.source_labels, raw.source_namespace),
    };
    Ok(is_for_mesh(&raw.gateways).then_some(case))
}
