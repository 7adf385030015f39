//! The labels of workloads that selectors of subsets and callers ask for, all others nobody has to know; and which
//! workloads are gateways.

use std::collections::BTreeMap;

use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use crate::index::{Output, World};
use crate::watch::Meta;

/// Adds what there is to know of the workload `uid`, of the object with `meta`: labels that are asked for, and whether
/// it is a gateway's pod.
pub(super) fn push(world: World<'_>, uid: &str, meta: &Meta, gateway: bool, output: &mut Output) {
    let asked = meta.labels.iter().filter(|(label, _)| world.inputs.hosts.asks_for(label));
    let labels: BTreeMap<String, String> =
        asked.map(|(label, value)| (label.to_string(), value.to_string())).collect();
    if gateway || !labels.is_empty() {
        let message = proto::WorkloadLabels { uid: uid.to_owned(), labels, gateway };
        output.push(Encoded::message(ResourceType::WorkloadLabels, uid.into(), &message));
    }
}
