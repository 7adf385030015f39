//! How endpoints are chosen.

use std::collections::BTreeMap;

use ambit_proto::ambit::{Balancer, Cookie, HashKey, LocalityShare, balancer, hash_key};
use serde::Deserialize;

use super::{Problem, time};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawBalancer {
    simple: Option<String>,
    consistent_hash: Option<RawHash>,
    locality_lb_setting: Option<RawLocality>,
    warmup: Option<RawWarmup>,
    warmup_duration_secs: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawHash {
    http_header_name: Option<String>,
    http_cookie: Option<RawCookie>,
    use_source_ip: bool,
    http_query_parameter_name: Option<String>,
}

#[derive(Deserialize)]
struct RawCookie {
    name: String,
    #[serde(default)]
    path: String,
    ttl: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLocality {
    distribute: Vec<RawShare>,
    failover: Vec<RawFailover>,
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawShare {
    from: String,
    to: BTreeMap<String, u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawFailover {
    from: String,
    to: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawWarmup {
    duration: Option<String>,
}

pub(super) fn balancer(raw: RawBalancer) -> Result<Balancer, Problem> {
    use balancer::Algorithm;
    let hash = raw.consistent_hash.map(hash).transpose()?;
    let algorithm = match raw.simple.as_deref() {
        _ if hash.is_some() => Algorithm::ConsistentHash,
        None | Some("UNSPECIFIED" | "LEAST_REQUEST" | "LEAST_CONN") => Algorithm::LeastRequest,
        Some("ROUND_ROBIN") => Algorithm::RoundRobin,
        Some("RANDOM") => Algorithm::Random,
        Some("PASSTHROUGH") => Algorithm::Passthrough,
        Some(other) => {
            let message = format!("{other:?} is no way to choose endpoints");
            return Err(Problem::new("loadBalancer.simple", message));
        }
    };
    let locality = raw.locality_lb_setting.unwrap_or_default();
    let warmup = raw.warmup.and_then(|warmup| warmup.duration).or(raw.warmup_duration_secs);
    let distribute = locality.distribute.into_iter();
    let failover = locality.failover.into_iter();
    Ok(Balancer {
        algorithm: algorithm.into(),
        hash,
        distribute: distribute.map(|raw| LocalityShare { from: raw.from, to: raw.to }).collect(),
        failover: failover.map(|raw| (raw.from, raw.to)).collect(),
        locality_disabled: locality.enabled == Some(false),
        warmup: time("loadBalancer.warmup.duration", warmup)?.unwrap_or_default(),
    })
}

fn hash(raw: RawHash) -> Result<HashKey, Problem> {
    let kind = match raw {
        RawHash { http_header_name: Some(name), .. } => {
            hash_key::Kind::Header(name.to_ascii_lowercase())
        }
        RawHash { http_cookie: Some(cookie), .. } => hash_key::Kind::Cookie(Cookie {
            name: cookie.name,
            path: cookie.path,
            ttl: time("loadBalancer.consistentHash.httpCookie.ttl", cookie.ttl)?,
        }),
        RawHash { http_query_parameter_name: Some(name), .. } => hash_key::Kind::Query(name),
        RawHash { use_source_ip: true, .. } => hash_key::Kind::SourceAddress(true),
        _ => {
            let message = "says neither header, cookie, query parameter nor source address";
            return Err(Problem::new("loadBalancer.consistentHash", message));
        }
    };
    Ok(HashKey { kind: Some(kind) })
}
