//! What connections to endpoints may cost, and when endpoints are left out.

use ambit_proto::ambit::{ConnectionPool, OutlierDetection};
use serde::Deserialize;

use super::{Problem, time};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPool {
    tcp: RawTcp,
    http: RawHttp,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTcp {
    max_connections: Option<u32>,
    connect_timeout: Option<String>,
    idle_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawHttp {
    http1_max_pending_requests: Option<u32>,
    http2_max_requests: Option<u32>,
    max_requests_per_connection: Option<u32>,
    max_retries: Option<u32>,
    idle_timeout: Option<String>,
    h2_upgrade_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawOutlier {
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_5xx_errors: Option<u32>,
    consecutive_errors: Option<u32>,
    consecutive_gateway_errors: Option<u32>,
    consecutive_local_origin_failures: Option<u32>,
    split_external_local_origin_errors: bool,
    interval: Option<String>,
    base_ejection_time: Option<String>,
    max_ejection_percent: Option<u32>,
    min_health_percent: Option<u32>,
}

/// Zero means no limit.
pub(super) fn pool(raw: RawPool) -> Result<ConnectionPool, Problem> {
    let RawPool { tcp, http } = raw;
    let limit = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
    let idle = match time("connectionPool.http.idleTimeout", http.idle_timeout)? {
        Some(idle) => Some(idle),
        None => time("connectionPool.tcp.idleTimeout", tcp.idle_timeout)?,
    };
    Ok(ConnectionPool {
        max_connections: limit(tcp.max_connections),
        connect_timeout: time("connectionPool.tcp.connectTimeout", tcp.connect_timeout)?,
        max_pending_requests: limit(http.http1_max_pending_requests),
        max_requests: limit(http.http2_max_requests),
        max_requests_per_connection: limit(http.max_requests_per_connection),
        max_retries: limit(http.max_retries),
        idle_timeout: idle.filter(|idle| *idle > 0),
        upgrade_to_http2: http.h2_upgrade_policy.as_deref() == Some("UPGRADE"),
        downgrade_to_http1: false,
    })
}

pub(super) fn outlier(raw: RawOutlier) -> Result<OutlierDetection, Problem> {
    let percent = |field: &str, percent: Option<u32>, default: u32| match percent {
        Some(more @ 101..) => Err(Problem::new(
            format!("outlierDetection.{field}"),
            format!("{more} is more than 100"),
        )),
        percent => Ok(percent.unwrap_or(default)),
    };
    let local = raw.consecutive_local_origin_failures.unwrap_or(5);
    let gateway = raw.consecutive_gateway_errors.or(raw.consecutive_errors);
    Ok(OutlierDetection {
        consecutive_5xx: raw.consecutive_5xx_errors.unwrap_or(5),
        consecutive_gateway_errors: gateway.unwrap_or(0),
        consecutive_local_failures: if raw.split_external_local_origin_errors { local } else { 0 },
        interval: time("outlierDetection.interval", raw.interval)?.unwrap_or(10_000),
        base_ejection: time("outlierDetection.baseEjectionTime", raw.base_ejection_time)?
            .unwrap_or(30_000),
        max_ejection_percent: percent("maxEjectionPercent", raw.max_ejection_percent, 10)?,
        min_health_percent: percent("minHealthPercent", raw.min_health_percent, 0)?,
    })
}
