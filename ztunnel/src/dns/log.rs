//! The log of queries: scope `dns`, at debug.

use hickory_proto::op::Query;
use tracing::{Level, event};

use super::PodDns;

/// Tells what became of a query. Costs nothing where the level is off.
pub(super) fn query(pod: &PodDns, question: Option<&Query>, result: &str, endpoints: usize) {
    event!(
        target: "dns",
        parent: None,
        Level::DEBUG,
        src.workload = &*pod.name,
        src.namespace = &*pod.namespace,
        query = question.map(|question| question.query_type().to_string()),
        domain = question.map(|question| question.name().to_string()),
        result,
        endpoints,
    );
}
