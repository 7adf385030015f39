//! `Node`.

use ambit_model::Locality;

use super::Meta;

/// A Node: where its pods run.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its metadata.
    pub meta: Meta,
    /// Region and zone of Kubernetes, subzone of Istio.
    pub locality: Locality,
}

pub(super) fn trim(meta: Meta) -> Node {
    let label = |name: &str| meta.label(name).cloned().unwrap_or_default();
    let locality = Locality {
        region: label("topology.kubernetes.io/region"),
        zone: label("topology.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
    };
    Node { meta, locality }
}
