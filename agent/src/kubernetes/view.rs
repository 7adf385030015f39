//! What the agent reads of a Kubernetes pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// The label of pods and namespaces that says whether they are in the mesh (Istio ambient).
pub(crate) const MODE_LABEL: &str = "istio.io/dataplane-mode";
/// The annotation by which the control plane learns that a pod is captured (protocol.md 5.4).
pub(crate) const REDIRECTION: &str = "ambient.istio.io/redirection";

const SIDECAR: &str = "sidecar.istio.io/status";
const BYPASS_INBOUND: &str = "ambient.istio.io/bypass-inbound-capture";
const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";
const REROUTE: &str = "istio.io/reroute-virtual-interfaces";
/// On mirrors of static pods: the UID that the kubelet itself uses, for cgroups too.
const STATIC_UID: &str = "kubernetes.io/config.hash";

/// A pod, as far as the agent looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Its UID.
    pub uid: String,
    /// The UID that names its cgroups; another one for static pods.
    pub cgroup_uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its own label `istio.io/dataplane-mode`.
    pub mode: Option<String>,
    /// Its label `app`.
    pub app: Option<String>,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// Whether it has ended.
    pub terminal: bool,
    /// Whether it has a sidecar proxy.
    pub sidecar: bool,
    /// The annotation `ambient.istio.io/redirection` as it is.
    pub redirection: Option<String>,
    /// The annotation `ambient.istio.io/dns-capture`, if it is a boolean.
    pub dns_capture: Option<bool>,
    /// The annotation `ambient.istio.io/bypass-inbound-capture`.
    pub bypass_inbound: bool,
    /// The annotation `istio.io/reroute-virtual-interfaces`.
    pub reroute_interfaces: Vec<String>,
    /// Its addresses; none before it has been set up.
    pub ips: Vec<IpAddr>,
    /// How it asks to resolve names.
    pub dns: DnsWish,
}

/// How a pod asks to resolve names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DnsWish {
    /// `dnsPolicy`; empty counts as `ClusterFirst`.
    pub policy: String,
    /// Its own name servers, which come on top.
    pub nameservers: Vec<IpAddr>,
    /// Its own search domains, which come on top.
    pub searches: Vec<String>,
}

// === impl PodView ===

impl PodView {
    /// Reads `pod`; `None` if the API server has not given it a UID, a name and a namespace.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone()?;
        let label = |name| text(metadata.labels.as_ref(), name);
        let annotation = |name| text(metadata.annotations.as_ref(), name);
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        Some(Self {
            cgroup_uid: annotation(STATIC_UID).unwrap_or_else(|| uid.clone()),
            uid,
            name: metadata.name.clone()?,
            namespace: metadata.namespace.clone()?,
            service_account: account
                .filter(|account| !account.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            mode: label(MODE_LABEL),
            app: label("app").or_else(|| label("app.kubernetes.io/name")),
            host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
            terminal: matches!(phase, Some("Succeeded" | "Failed")),
            sidecar: annotation(SIDECAR).is_some(),
            redirection: annotation(REDIRECTION),
            dns_capture: annotation(DNS_CAPTURE).and_then(|text| boolean(&text)),
            bypass_inbound: annotation(BYPASS_INBOUND).and_then(|text| boolean(&text))
                == Some(true),
            reroute_interfaces: annotation(REROUTE).map(|text| list(&text)).unwrap_or_default(),
            ips: addresses(pod),
            dns: wish(pod),
        })
    }
}

fn text(map: Option<&BTreeMap<String, String>>, name: &str) -> Option<String> {
    map.and_then(|map| map.get(name)).cloned()
}

/// As Go reads booleans, which annotations are written for.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut ips: Vec<IpAddr> =
        all.chain(status.pod_ip.as_deref()).filter_map(|ip| ip.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn wish(pod: &Pod) -> DnsWish {
    let Some(spec) = &pod.spec else { return DnsWish::default() };
    let config = spec.dns_config.clone().unwrap_or_default();
    let nameservers = config.nameservers.iter().flatten().filter_map(|ip| ip.parse().ok());
    DnsWish {
        policy: spec.dns_policy.clone().unwrap_or_default(),
        nameservers: nameservers.collect(),
        searches: config.searches.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_counts_is_read() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "uid": "u", "name": "cart", "namespace": "shop",
                "labels": {"istio.io/dataplane-mode": "ambient", "app": "cart"},
                "annotations": {
                    "ambient.istio.io/redirection": "pending",
                    "ambient.istio.io/dns-capture": "false",
                    "ambient.istio.io/bypass-inbound-capture": "true",
                    "istio.io/reroute-virtual-interfaces": "vnet0, br-vm,",
                    "kubernetes.io/config.hash": "h",
                },
            },
            "spec": {
                "containers": [], "serviceAccountName": "till", "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["example"]},
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.5",
                "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}],
            },
        }))
        .unwrap();
        let expected = PodView {
            uid: "u".into(),
            cgroup_uid: "h".into(),
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "till".into(),
            mode: Some("ambient".into()),
            app: Some("cart".into()),
            redirection: Some("pending".into()),
            dns_capture: Some(false),
            bypass_inbound: true,
            reroute_interfaces: vec!["vnet0".into(), "br-vm".into()],
            ips: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            dns: DnsWish {
                policy: "None".into(),
                nameservers: vec!["9.9.9.9".parse().unwrap()],
                searches: vec!["example".into()],
            },
            ..PodView::default()
        };
        assert_eq!(PodView::of(&pod), Some(expected));
    }

    #[test]
    fn a_bare_pod_has_defaults_and_a_nameless_one_is_none() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u", "name": "cart", "namespace": "shop"},
            "status": {"phase": "Failed"},
        }))
        .unwrap();
        let view = PodView::of(&pod).unwrap();
        assert_eq!((view.service_account.as_str(), view.cgroup_uid.as_str()), ("default", "u"));
        assert!(view.terminal && !view.sidecar && view.ips.is_empty());
        assert_eq!(PodView::of(&Pod::default()), None);
    }
}
