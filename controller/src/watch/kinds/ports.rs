//! Port numbers and application protocols in objects.

use ambit_proto::workload::AppProtocol;

use super::Problem;

/// A port between 1 and 65535.
pub(super) fn port(field: &str, number: i64) -> Result<u16, Problem> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Problem::new(field, format!("{number} is not a port; use 1 to 65535"))),
    }
}

/// What a port speaks, by its `appProtocol`, or else by the prefix of its name, as Istio reads them.
pub(super) fn app_protocol(app_protocol: Option<&str>, name: &str) -> AppProtocol {
    let by_name = name.split('-').next().unwrap_or_default();
    let text = app_protocol.unwrap_or(by_name).to_ascii_lowercase();
    match text.as_str() {
        "http" | "kubernetes.io/ws" => AppProtocol::Http11,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" | "grpc-web" => AppProtocol::Grpc,
        "https" | "tls" | "kubernetes.io/wss" => AppProtocol::Tls,
        "tcp" | "mongo" | "mysql" | "redis" => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}
