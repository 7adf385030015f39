//! How a destination is treated, compiled from a TrafficPolicy.

use std::collections::BTreeMap;
use std::time::Duration;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use http::HeaderName;
use proto::balancer::Algorithm;
use proto::hash_key::Kind;

use super::budget::BudgetSettings;
use super::health::OutlierDetection;
use crate::rules::Invalid;

/// How a destination is treated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub port: u16,
    pub subset: Str,
    pub algorithm: Algorithm,
    pub hash: Option<HashSource>,
    pub locality: LocalitySettings,
    pub warmup: Option<Duration>,
    pub pool: PoolSettings,
    pub outlier: Option<OutlierDetection>,
    pub budget: BudgetSettings,
}

/// What of a request is hashed.
#[derive(Clone, Debug)]
pub(crate) enum HashSource {
    Header(HeaderName),
    Query(Box<str>),
    Cookie { name: Box<str>, path: Box<str>, ttl: Option<Duration> },
    SourceAddress,
}

/// Which localities take which part.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalitySettings {
    pub disabled: bool,
    /// From where, and which weight each locality has then.
    pub distribute: Vec<(Box<str>, Vec<(Box<str>, u32)>)>,
    /// Region → the region that takes over.
    pub failover: BTreeMap<Str, Str>,
}

/// What connections there may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolSettings {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub max_pending: Option<u32>,
    pub max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub http2: Option<bool>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn compile(message: &proto::Settings) -> Result<Self, Invalid> {
        let port = u16::try_from(message.port).map_err(|_| Invalid::Port(message.port))?;
        let balancer = message.balancer.clone().unwrap_or_default();
        Ok(Self {
            port,
            subset: message.subset.as_str().into(),
            algorithm: balancer.algorithm(),
            hash: balancer.hash.and_then(|hash| hash.kind).map(HashSource::compile).transpose()?,
            locality: LocalitySettings {
                disabled: balancer.locality_disabled,
                distribute: balancer
                    .distribute
                    .into_iter()
                    .map(|share| {
                        let to = share.to.into_iter().map(|(to, weight)| (to.into(), weight));
                        (share.from.into(), to.collect())
                    })
                    .collect(),
                failover: balancer
                    .failover
                    .into_iter()
                    .map(|(from, to)| (from.into(), to.into()))
                    .collect(),
            },
            warmup: (balancer.warmup > 0).then(|| Duration::from_millis(balancer.warmup)),
            pool: message.connection_pool.map(PoolSettings::from).unwrap_or_default(),
            outlier: message.outlier_detection.map(OutlierDetection::from),
            budget: message.retry_budget.map(BudgetSettings::from).unwrap_or_default(),
        })
    }
}

// === impl HashSource ===

impl HashSource {
    fn compile(kind: Kind) -> Result<Self, Invalid> {
        Ok(match kind {
            Kind::Header(name) => {
                Self::Header(HeaderName::try_from(&name).map_err(|_| Invalid::HeaderName(name))?)
            }
            Kind::Query(name) => Self::Query(name.into()),
            Kind::Cookie(cookie) => {
                // It goes into a header of the response.
                let text = format!("{}={}", cookie.name, cookie.path);
                http::HeaderValue::try_from(text)
                    .map_err(|_| Invalid::HeaderValue("set-cookie".into()))?;
                Self::Cookie {
                    name: cookie.name.into(),
                    path: cookie.path.into(),
                    ttl: cookie.ttl.map(Duration::from_millis),
                }
            }
            Kind::SourceAddress(_) => Self::SourceAddress,
        })
    }
}

// === impl PoolSettings, OutlierDetection, BudgetSettings ===

impl From<proto::ConnectionPool> for PoolSettings {
    fn from(pool: proto::ConnectionPool) -> Self {
        Self {
            max_connections: pool.max_connections,
            connect_timeout: pool.connect_timeout.map(Duration::from_millis),
            max_pending: pool.max_pending_requests,
            max_requests: pool.max_requests,
            max_requests_per_connection: pool.max_requests_per_connection.filter(|n| *n > 0),
            max_retries: pool.max_retries,
            idle_timeout: pool.idle_timeout.map(Duration::from_millis),
            http2: match (pool.upgrade_to_http2, pool.downgrade_to_http1) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
        }
    }
}

impl From<proto::OutlierDetection> for OutlierDetection {
    fn from(detection: proto::OutlierDetection) -> Self {
        Self {
            consecutive_5xx: detection.consecutive_5xx,
            consecutive_gateway_errors: detection.consecutive_gateway_errors,
            consecutive_local_failures: detection.consecutive_local_failures,
            interval: Duration::from_millis(detection.interval.max(1)),
            base_ejection: Duration::from_millis(detection.base_ejection),
            max_ejection_percent: detection.max_ejection_percent.min(100),
            min_health_percent: detection.min_health_percent.min(100),
        }
    }
}

impl From<proto::RetryBudget> for BudgetSettings {
    fn from(budget: proto::RetryBudget) -> Self {
        Self {
            percent: budget.percent,
            min: budget.min,
            interval: Duration::from_millis(budget.interval.max(10)),
        }
    }
}
