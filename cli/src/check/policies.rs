//! NetworkPolicies that the mesh would not get through. Pure.
//!
//! What a CNI sees between captured pods is a connection from the one's address to port 15008 of the other, whatever
//! port the application uses. So a rule that names ports has to name 15008 too. A kubelet's probe of a captured pod
//! comes from 169.254.7.127; most CNIs let their node's own connections pass, some judge them by that address.

mod peers;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use peers::{covers, matches, may_be_in_mesh};

/// The port of the tunnel.
const TUNNEL: i32 = 15008;
/// The port of DNS, which policies often open for everybody.
const DNS: IntOrString = IntOrString::Int(53);
/// Where probes of captured pods come from.
const PROBES: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 7, 127));

/// What policies are about.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    /// The labels of every namespace.
    pub(super) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The namespaces that are in the mesh, or have pods in it.
    pub(super) enrolled: Vec<String>,
    /// The pods in it.
    pub(super) members: Vec<Member>,
    /// Whether the CNI judges probes by their source.
    pub(super) probes_are_judged: bool,
}

/// A captured pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) ready: bool,
    /// Whether the kubelet connects to it.
    pub(super) probed: bool,
}

/// A policy that is in the way, and the one that mends it.
#[derive(Debug, PartialEq)]
pub(super) struct Complaint {
    /// Namespace and name of the policy.
    pub(super) policy: String,
    /// What it stops.
    pub(super) stops: String,
    /// A policy to add: what several admit is admitted.
    pub(super) remedy: Value,
}

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Ingress,
    Egress,
}

/// A rule of either direction.
#[derive(Clone, Debug)]
struct Rule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

/// Every policy that is in the mesh's way.
pub(super) fn lint(policies: &[NetworkPolicy], mesh: &Mesh) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for policy in policies {
        let selected: Vec<&Member> =
            mesh.members.iter().filter(|member| selects(policy, member)).collect();
        if selected.is_empty() {
            continue;
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            complaints.extend(tunnel(policy, direction, &selected, policies, mesh));
        }
        complaints.extend(probes(policy, &selected, policies, mesh));
    }
    complaints
}

/// Rules that admit ports for peers in the mesh, and not the tunnel's.
fn tunnel(
    policy: &NetworkPolicy,
    direction: Direction,
    selected: &[&Member],
    policies: &[NetworkPolicy],
    mesh: &Mesh,
) -> Option<Complaint> {
    let namespace = namespace(policy);
    let is_missing = |rule: &Rule<'_>| {
        rule.names_ports_of_applications()
            && may_be_in_mesh(rule.peers, namespace, mesh)
            && selected.iter().any(|pod| !admitted(pod, rule.peers, direction, policies))
    };
    let missing: Vec<Value> = rules(policy, direction)
        .into_iter()
        .filter(is_missing)
        .map(|rule| direction.rule(rule.peers, &json!([{"port": TUNNEL, "protocol": "TCP"}])))
        .fold(Vec::new(), |mut all, rule| {
            if !all.contains(&rule) {
                all.push(rule);
            }
            all
        });
    let (word, way) = match direction {
        Direction::Ingress => ("ingress", "to"),
        Direction::Egress => ("egress", "from"),
    };
    (!missing.is_empty()).then(|| Complaint {
        policy: format!("{namespace}/{}", name(policy)),
        stops: format!(
            "its {word} names ports without 15008, by which the mesh comes {way} {}",
            named(selected)
        ),
        remedy: remedy(policy, &format!("ambit-{word}"), direction, &missing),
    })
}

/// Whether some policy admits the tunnel between `pod` and `peers`.
fn admitted(
    pod: &Member,
    peers: &[NetworkPolicyPeer],
    direction: Direction,
    policies: &[NetworkPolicy],
) -> bool {
    let of_pod = policies.iter().filter(|policy| selects(policy, pod));
    of_pod
        .flat_map(|policy| rules(policy, direction))
        .any(|rule| rule.admits_tunnel() && covers(rule.peers, peers))
}

/// Pods that are closed to the address of probes, where that counts.
fn probes(
    policy: &NetworkPolicy,
    selected: &[&Member],
    policies: &[NetworkPolicy],
    mesh: &Mesh,
) -> Option<Complaint> {
    if !applies(policy, Direction::Ingress) {
        return None;
    }
    let is_shut = |pod: &&&Member| {
        let mut all = policies.iter().filter(|other| selects(other, pod));
        let admits = |other: &NetworkPolicy| {
            rules(other, Direction::Ingress)
                .iter()
                .any(|rule| rule.ports.is_empty() && peers::admits(rule.peers, PROBES))
        };
        pod.probed && (mesh.probes_are_judged || !pod.ready) && !all.any(admits)
    };
    let shut: Vec<&Member> = selected.iter().filter(is_shut).copied().collect();
    let source = json!([{"from": [{"ipBlock": {"cidr": format!("{PROBES}/32")}}]}]);
    (!shut.is_empty()).then(|| Complaint {
        policy: format!("{}/{}", namespace(policy), name(policy)),
        stops: format!(
            "it may stop the kubelet's probes, which come from {PROBES}, of {}",
            named(&shut)
        ),
        remedy: remedy(
            policy,
            "ambit-probes",
            Direction::Ingress,
            source.as_array().map_or(&[], Vec::as_slice),
        ),
    })
}

/// A policy for the same pods that admits `rules` as well.
fn remedy(policy: &NetworkPolicy, suffix: &str, direction: Direction, rules: &[Value]) -> Value {
    let (kind, field) = match direction {
        Direction::Ingress => ("Ingress", "ingress"),
        Direction::Egress => ("Egress", "egress"),
    };
    let selector = policy.spec.as_ref().map(|spec| &spec.pod_selector);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": format!("{}-{suffix}", name(policy)), "namespace": namespace(policy)},
        "spec": {"podSelector": selector, "policyTypes": [kind], field: rules},
    })
}

fn selects(policy: &NetworkPolicy, member: &Member) -> bool {
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
    namespace(policy) == member.namespace && selector.is_none_or(|s| matches(s, &member.labels))
}

/// Without types a policy is about ingress, and about egress where it has such rules.
fn applies(policy: &NetworkPolicy, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let word = match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    match &spec.policy_types {
        Some(types) if !types.is_empty() => types.iter().any(|one| one == word),
        _ => direction == Direction::Ingress || spec.egress.is_some(),
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = policy.spec.as_ref().filter(|_| applies(policy, direction)) else {
        return Vec::new();
    };
    match direction {
        Direction::Ingress => {
            let all = spec.ingress.iter().flatten();
            all.map(|one| Rule { peers: slice(&one.from), ports: slice(&one.ports) }).collect()
        }
        Direction::Egress => {
            let all = spec.egress.iter().flatten();
            all.map(|one| Rule { peers: slice(&one.to), ports: slice(&one.ports) }).collect()
        }
    }
}

fn slice<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

fn namespace(policy: &NetworkPolicy) -> &str {
    policy.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(policy: &NetworkPolicy) -> &str {
    policy.metadata.name.as_deref().unwrap_or_default()
}

/// The first pods by name.
fn named(pods: &[&Member]) -> String {
    const NAMED: usize = 3;
    let names: Vec<&str> = pods.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
    match pods.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

// === impl Rule ===

impl Rule<'_> {
    fn admits_tunnel(&self) -> bool {
        let admits = |port: &NetworkPolicyPort| match (&port.port, port.end_port) {
            (None, _) => true,
            (Some(IntOrString::Int(first)), last) => {
                (*first..=last.unwrap_or(*first)).contains(&TUNNEL)
            }
            (Some(IntOrString::String(_)), _) => false,
        };
        self.ports.is_empty() || self.ports.iter().any(|port| is_tcp(port) && admits(port))
    }

    /// Whether it is about TCP that the mesh carries, and does not admit the mesh.
    fn names_ports_of_applications(&self) -> bool {
        let is_other = |port: &NetworkPolicyPort| is_tcp(port) && port.port.as_ref() != Some(&DNS);
        self.ports.iter().any(is_other) && !self.admits_tunnel()
    }
}

fn is_tcp(port: &NetworkPolicyPort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

// === impl Direction ===

impl Direction {
    fn rule(self, peers: &[NetworkPolicyPeer], ports: &Value) -> Value {
        let field = match self {
            Self::Ingress => "from",
            Self::Egress => "to",
        };
        match peers {
            [] => json!({"ports": ports}),
            _ => json!({field: peers, "ports": ports}),
        }
    }
}

#[cfg(test)]
mod tests;
