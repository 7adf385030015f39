//! Whom the peers of a rule mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Mesh;

/// Whether `labels` are those that `selector` wants.
pub(super) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal =
        selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let mut expressions = selector.match_expressions.iter().flatten();
    equal
        && expressions.all(|expression| {
            let value = labels.get(&expression.key);
            let is_listed = || {
                value
                    .is_some_and(|value| expression.values.iter().flatten().any(|one| one == value))
            };
            match expression.operator.as_str() {
                "In" => is_listed(),
                "NotIn" => !is_listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether one of the peers may be a pod in the mesh, now or later; nobody named means everybody.
pub(super) fn may_be_in_mesh(peers: &[NetworkPolicyPeer], namespace: &str, mesh: &Mesh) -> bool {
    peers.is_empty()
        || peers.iter().any(|peer| match (&peer.ip_block, &peer.namespace_selector) {
            (Some(block), _) => {
                mesh.members.iter().flat_map(|member| &member.ips).any(|ip| is_in(block, *ip))
            }
            (None, None) => mesh.enrolled.iter().any(|one| one == namespace),
            (None, Some(selector)) => mesh.enrolled.iter().any(|name| {
                mesh.namespaces.get(name).is_some_and(|labels| matches(selector, labels))
            }),
        })
}

/// Whether `wide` admits, as far as can be told from the text, everybody whom `narrow` admits.
pub(super) fn covers(wide: &[NetworkPolicyPeer], narrow: &[NetworkPolicyPeer]) -> bool {
    let one_covers = |wide: &NetworkPolicyPeer, narrow: &NetworkPolicyPeer| {
        let is_empty = |selector: &LabelSelector| *selector == LabelSelector::default();
        let any_pod = wide.ip_block.is_none() && wide.pod_selector.as_ref().is_none_or(is_empty);
        let any_namespace = wide.namespace_selector.as_ref().is_some_and(is_empty);
        let same_namespaces = wide.namespace_selector == narrow.namespace_selector;
        wide == narrow
            || (narrow.ip_block.is_none() && any_pod && (any_namespace || same_namespaces))
    };
    wide.is_empty()
        || (!narrow.is_empty()
            && narrow.iter().all(|narrow| wide.iter().any(|wide| one_covers(wide, narrow))))
}

/// Whether `ip` is admitted for its own sake.
pub(super) fn admits(peers: &[NetworkPolicyPeer], ip: IpAddr) -> bool {
    peers.is_empty()
        || peers.iter().filter_map(|peer| peer.ip_block.as_ref()).any(|block| is_in(block, ip))
}

fn is_in(block: &IPBlock, ip: IpAddr) -> bool {
    let holds = |cidr: &String| cidr.parse::<IpNet>().is_ok_and(|net| net.contains(&ip));
    holds(&block.cidr) && !block.except.iter().flatten().any(holds)
}
