//! The labels of workloads that selectors of subsets and callers ask for: all others nobody has to know.

use std::collections::BTreeMap;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use crate::index::{Output, World};

/// Adds the labels of the workload `uid` that are asked for, if there are any.
pub(super) fn push(world: World<'_>, uid: &str, labels: &BTreeMap<Str, Str>, output: &mut Output) {
    let asked = labels.iter().filter(|(label, _)| world.inputs.hosts.asks_for(label));
    let labels: BTreeMap<String, String> =
        asked.map(|(label, value)| (label.to_string(), value.to_string())).collect();
    if !labels.is_empty() {
        let message = proto::WorkloadLabels { uid: uid.to_owned(), labels };
        output.push(Encoded::message(ResourceType::WorkloadLabels, uid.into(), &message));
    }
}
