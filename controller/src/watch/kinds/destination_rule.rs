//! `DestinationRule`: how a destination is treated, and its subsets.

mod balancer;
mod limits;
mod tls;

use std::collections::BTreeMap;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Problem, duration, network, part_of, ports};
use balancer::RawBalancer;
use limits::{RawOutlier, RawPool};

use tls::RawTls;
pub use tls::RuleTls;

/// A DestinationRule.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Its metadata.
    pub meta: Meta,
    /// The host as it is written, in lower case.
    pub host: Str,
    /// The namespaces that see it; all where empty.
    pub export_to: Vec<Str>,
    /// Whether it is for certain callers alone, which waypoints are not.
    pub for_callers: bool,
    /// How all of the destination is treated.
    pub policy: Policy,
    /// Its subsets.
    pub subsets: Vec<Subset>,
}

/// A part of the destination's endpoints.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Subset {
    pub name: Str,
    pub labels: BTreeMap<String, String>,
    pub policy: Policy,
}

/// How a destination is treated; each part of it may be said elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Policy {
    pub whole: Treatment,
    /// What counts for a port instead of all that is said for the whole.
    pub ports: BTreeMap<u16, Treatment>,
}

/// The parts of a treatment.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Treatment {
    pub balancer: Option<proto::Balancer>,
    pub connection_pool: Option<proto::ConnectionPool>,
    pub outlier_detection: Option<proto::OutlierDetection>,
    pub tls: Option<RuleTls>,
    pub retry_budget: Option<proto::RetryBudget>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    host: String,
    export_to: Vec<String>,
    workload_selector: Option<Value>,
    traffic_policy: RawPolicy,
    subsets: Vec<RawSubset>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSubset {
    name: String,
    labels: BTreeMap<String, String>,
    traffic_policy: RawPolicy,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPolicy {
    load_balancer: Option<RawBalancer>,
    connection_pool: Option<RawPool>,
    outlier_detection: Option<RawOutlier>,
    tls: Option<RawTls>,
    retry_budget: Option<RawBudget>,
    port_level_settings: Vec<RawPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    port: RawNumber,
    load_balancer: Option<RawBalancer>,
    connection_pool: Option<RawPool>,
    outlier_detection: Option<RawOutlier>,
    tls: Option<RawTls>,
}

#[derive(Default, Deserialize)]
struct RawNumber {
    number: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawBudget {
    percent: Option<f64>,
    min_retry_concurrency: Option<u32>,
}

const MAX_SUBSETS: usize = 1024;

pub(super) fn trim(
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<DestinationRule, Problem> {
    let spec: RawSpec = part_of(value, "spec", problems)?;
    if spec.host != "*" {
        network::hostname("spec.host", &spec.host)?;
    }
    if spec.subsets.len() > MAX_SUBSETS {
        let message = format!("{} are too many; {MAX_SUBSETS} are the most", spec.subsets.len());
        return Err(Problem::new("spec.subsets", message));
    }
    let subset = |(i, raw): (usize, RawSubset)| {
        let within = |problem: Problem| problem.within(&format!("spec.subsets[{i}]"));
        let policy = policy(raw.traffic_policy).map_err(within)?;
        Ok(Subset { name: raw.name.into(), labels: raw.labels, policy })
    };
    let rule = DestinationRule {
        host: spec.host.to_ascii_lowercase().into(),
        export_to: spec.export_to.into_iter().filter(|ns| ns != "*").map(Into::into).collect(),
        for_callers: spec.workload_selector.is_some_and(|selector| !selector.is_null()),
        policy: policy(spec.traffic_policy).map_err(|problem| problem.within("spec"))?,
        subsets: spec.subsets.into_iter().enumerate().map(subset).collect::<Result<_, _>>()?,
        meta,
    };
    problems.extend(rule.all_tls().filter_map(|tls| tls.unused).map(|field| {
        Problem::remark(format!("tls.{field}"), "is not enforced beside what else tls says")
    }));
    Ok(rule)
}

fn policy(raw: RawPolicy) -> Result<Policy, Problem> {
    let within = |problem: Problem| problem.within("trafficPolicy");
    let mut ports = BTreeMap::new();
    for (i, raw) in raw.port_level_settings.into_iter().enumerate() {
        let within =
            |problem: Problem| problem.within(&format!("trafficPolicy.portLevelSettings[{i}]"));
        let number = ports::port("port.number", raw.port.number).map_err(within)?;
        let parts = (raw.load_balancer, raw.connection_pool, raw.outlier_detection, raw.tls);
        ports.insert(number, treatment(parts).map_err(within)?);
    }
    let parts = (raw.load_balancer, raw.connection_pool, raw.outlier_detection, raw.tls);
    let mut whole = treatment(parts).map_err(within)?;
    whole.retry_budget = raw.retry_budget.map(|raw| proto::RetryBudget {
        // Of the requests under way, as a whole number.
        percent: raw.percent.unwrap_or(20.0).clamp(0.0, 100.0).round() as u32,
        min: raw.min_retry_concurrency.unwrap_or(3),
        interval: 0,
    });
    Ok(Policy { whole, ports })
}

type Parts = (Option<RawBalancer>, Option<RawPool>, Option<RawOutlier>, Option<RawTls>);

fn treatment((balancer, pool, outlier, raw_tls): Parts) -> Result<Treatment, Problem> {
    Ok(Treatment {
        balancer: balancer.map(balancer::balancer).transpose()?,
        connection_pool: pool.map(limits::pool).transpose()?,
        outlier_detection: outlier.map(limits::outlier).transpose()?,
        tls: raw_tls.map(tls::tls).transpose()?,
        retry_budget: None,
    })
}

/// Milliseconds of a field, where it is there.
fn time(field: &str, text: Option<String>) -> Result<Option<u64>, Problem> {
    text.map(|text| duration::milliseconds(field, &text)).transpose()
}

// === impl DestinationRule ===

impl DestinationRule {
    /// All that is said of TLS with endpoints.
    pub fn all_tls(&self) -> impl Iterator<Item = &RuleTls> {
        let policies = self.subsets.iter().map(|subset| &subset.policy).chain([&self.policy]);
        let treatments = policies.flat_map(|policy| policy.ports.values().chain([&policy.whole]));
        treatments.filter_map(|treatment| treatment.tls.as_ref())
    }
}
