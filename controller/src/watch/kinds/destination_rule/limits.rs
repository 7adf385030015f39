//! What connections to endpoints may cost, when endpoints are left out, and how TLS is spoken with them.

use ambit_proto::ambit::{ConnectionPool, OutlierDetection, UpstreamTls, upstream_tls};
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

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawTls {
    mode: Option<String>,
    sni: String,
    subject_alt_names: Vec<String>,
    insecure_skip_verify: Option<bool>,
    ca_certificates: String,
    credential_name: String,
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

/// Files of the proxy's own and certificates of a caller cannot be had: such settings are not usable, rather than
/// less strict.
pub(super) fn tls(raw: RawTls) -> Result<UpstreamTls, Problem> {
    use upstream_tls::Mode;
    let mode = match raw.mode.as_deref() {
        None | Some("DISABLE") => Mode::Disabled,
        Some("SIMPLE") => Mode::Simple,
        Some("MUTUAL") => Mode::Mutual,
        Some("ISTIO_MUTUAL") => Mode::Mesh,
        Some(other) => {
            let message = format!("{other:?} is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL");
            return Err(Problem::new("tls.mode", message));
        }
    };
    let insecure = raw.insecure_skip_verify == Some(true);
    let own = !matches!(&raw.ca_certificates[..], "" | "system") || !raw.credential_name.is_empty();
    let invalid = match mode {
        Mode::Mutual => "tls.mode MUTUAL is not supported",
        Mode::Simple if own => "tls.caCertificates and tls.credentialName are not supported",
        _ => "",
    };
    Ok(UpstreamTls {
        mode: mode.into(),
        sni: raw.sni,
        system_authorities: mode == Mode::Simple && !insecure && invalid.is_empty(),
        subject_alt_names: raw.subject_alt_names,
        insecure_skip_verify: insecure,
        invalid: invalid.to_owned(),
        ..UpstreamTls::default()
    })
}
