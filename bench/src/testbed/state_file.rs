//! The state of the small mesh, as `LOCAL_XDS_PATH` files hold it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ambit_model::{Action, Authorization, Match, Scope};
use serde::Serialize;

/// The namespace of all pods.
pub(crate) const NAMESPACE: &str = "bench";
/// The service account of all pods.
pub(super) const SERVICE_ACCOUNT: &str = "bench";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    workloads: Vec<Workload<'a>>,
    policies: Vec<Authorization>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload<'a> {
    uid: String,
    name: &'a str,
    namespace: &'static str,
    service_account: &'static str,
    trust_domain: &'static str,
    workload_ips: &'a [IpAddr],
    protocol: &'static str,
    node: &'a str,
    cluster_id: &'static str,
    canonical_name: &'a str,
    workload_name: &'a str,
    /// None; upstream wants to be told.
    services: BTreeMap<String, String>,
}

/// A pod's UID.
pub(super) fn uid(pod: &str) -> String {
    format!("Kubernetes//Pod/{NAMESPACE}/{pod}")
}

/// The file for pods given by name, node and addresses, and so many policies. JSON, which every reader of YAML takes.
pub(super) fn render<'a>(
    pods: impl Iterator<Item = (&'a str, &'a str, &'a [IpAddr])>,
    policies: u32,
) -> String {
    let workloads = pods.map(|(name, node, workload_ips)| Workload {
        uid: uid(name),
        name,
        namespace: NAMESPACE,
        service_account: SERVICE_ACCOUNT,
        trust_domain: "cluster.local",
        workload_ips,
        protocol: "HBONE",
        node,
        cluster_id: "Kubernetes",
        canonical_name: name,
        workload_name: name,
        services: BTreeMap::new(),
    });
    let policies = (0..policies).map(policy).collect();
    serde_json::json!(State { workloads: workloads.collect(), policies }).to_string()
}

/// A policy of the namespace of all pods that denies an address that nobody has. Other proxies read the kinds of
/// string matches only as tags of YAML.
pub(crate) fn policy(number: u32) -> Authorization {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number);
    let source_ips = format!("{address}/32").parse().into_iter().collect();
    Authorization {
        name: format!("deny-{number}").into(),
        namespace: NAMESPACE.into(),
        scope: Scope::Namespace,
        action: Action::Deny,
        rules: vec![vec![vec![Match { source_ips, ..Match::default() }]]],
        dry_run: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_written_with_what_a_proxy_needs() {
        let ips = ["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let text = render([("p", "n", &ips[..])].into_iter(), 2);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pod = &value["workloads"][0];
        assert_eq!(pod["workloadIps"], serde_json::json!(["10.244.1.2", "fd00::2"]));
        assert_eq!(pod["uid"], "Kubernetes//Pod/bench/p");
        assert_eq!((&pod["node"], &pod["protocol"]), (&"n".into(), &"HBONE".into()));
        assert_eq!(pod["serviceAccount"], "bench");
        assert_eq!(value["policies"][1]["name"], "deny-1");
        assert_eq!(value["policies"][1]["scope"], "Namespace");
        let ips = &value["policies"][1]["rules"][0][0][0]["sourceIps"];
        assert_eq!(ips, &serde_json::json!(["198.18.0.1/32"]));
    }
}
