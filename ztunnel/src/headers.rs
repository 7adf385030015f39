//! The headers that our CONNECT requests and their answers carry.

use std::net::SocketAddr;

use ambit_hbone::{Baggage, ConnectHeaders, Forwarded};
use ambit_model::Workload;
use ambit_telemetry::TraceParent;
use http::HeaderValue;

use crate::plan::Ends;

/// The headers of a CONNECT for a connection of `workload` from `source`.
pub(crate) fn connect_headers(
    workload: &Workload,
    source: SocketAddr,
    ends: &Ends,
) -> ConnectHeaders {
    let host = ends.service.as_ref().map(|service| service.hostname.to_string());
    ConnectHeaders {
        baggage: baggage(workload).to_header(),
        forwarded: Forwarded { source, host }.to_header(),
        traceparent: HeaderValue::try_from(TraceParent::random().to_string()).ok(),
        network: None,
    }
}

/// What a peer's telemetry is told of a workload.
pub(crate) fn baggage(workload: &Workload) -> Baggage {
    let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    Baggage {
        cluster: text(&workload.cluster_id),
        namespace: text(&workload.namespace),
        workload_type: text(workload.workload_type.as_str()),
        workload: text(&workload.workload_name),
        service: text(&workload.canonical_name),
        revision: text(&workload.canonical_revision),
        region: text(&workload.locality.region),
        zone: text(&workload.locality.zone),
    }
}
