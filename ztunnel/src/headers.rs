//! The headers that our CONNECT requests and their answers carry.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_hbone::{Baggage, ConnectHeaders, Forwarded};
use ambit_model::Workload;
use ambit_telemetry::TraceParent;
use http::HeaderValue;
use parking_lot::Mutex;

use crate::plan::Ends;

/// What peers' telemetry is told of a workload, made anew only when the workload has changed.
#[derive(Default)]
pub(crate) struct OwnBaggage(Mutex<Option<(Arc<Workload>, Option<HeaderValue>)>>);

/// The headers of a CONNECT for a connection from `source`, with its workload's `baggage`.
pub(crate) fn connect_headers(
    baggage: Option<HeaderValue>,
    source: SocketAddr,
    ends: &Ends,
) -> ConnectHeaders {
    let host = ends.service.as_ref().map(|service| service.hostname.to_string());
    let traceparent = HeaderValue::try_from(TraceParent::random().to_string()).ok();
    ConnectHeaders {
        baggage,
        forwarded: Forwarded { source, host }.to_header().map(once),
        traceparent: traceparent.map(once),
        network: None,
    }
}

/// A value that will not come again, which would only drive others out of HPACK's table.
fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

// === impl OwnBaggage ===

impl OwnBaggage {
    /// The header of `workload`, the one whose baggage this is.
    pub(crate) fn header(&self, workload: &Arc<Workload>) -> Option<HeaderValue> {
        let mut known = self.0.lock();
        match &*known {
            Some((of, header)) if Arc::ptr_eq(of, workload) => header.clone(),
            _ => {
                let header = baggage(workload).to_header();
                *known = Some((workload.clone(), header.clone()));
                header
            }
        }
    }
}

fn baggage(workload: &Workload) -> Baggage {
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
