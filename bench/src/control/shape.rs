//! How large the simulated mesh is, and what its parts are called.

use std::net::Ipv4Addr;

use serde::Serialize;

/// Pods of a namespace; its services stand in front of them.
const PODS_OF_NAMESPACE: u32 = 400;
/// Service accounts of a namespace besides `default`.
pub(crate) const ACCOUNTS: u32 = 9;
/// Where pods' addresses begin.
const PODS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// Where the node proxies' addresses begin.
const PROXIES: Ipv4Addr = Ipv4Addr::new(10, 192, 0, 0);
/// Where services' addresses begin.
const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 0);

/// The size of the simulated mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shape {
    /// Pods, node proxies not counted.
    pub(crate) pods: u32,
    /// Services, each in front of the same number of pods.
    pub(crate) services: u32,
    /// Nodes, each with a proxy that subscribes.
    pub(crate) nodes: u32,
}

/// A pod by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

// === impl Shape ===

impl Shape {
    /// The mesh that the bars are about.
    pub(crate) const USUAL: Self = Self { pods: 20_000, services: 5_000, nodes: 1_000 };
    /// A large one.
    pub(crate) const LARGE: Self = Self { pods: 100_000, services: 5_000, nodes: 200 };

    pub(crate) fn namespaces(self) -> impl Iterator<Item = String> {
        (0..self.pods.div_ceil(PODS_OF_NAMESPACE)).map(namespace)
    }

    pub(crate) fn pod(self, number: u32) -> PodName {
        PodName { namespace: self.namespace_of(number), name: format!("app-{number}") }
    }

    pub(crate) fn service(self, number: u32) -> PodName {
        let namespace = self.namespace_of(self.first_pod(number));
        PodName { namespace, name: format!("service-{number}") }
    }

    /// The service in front of a pod.
    pub(crate) fn service_of(self, pod: u32) -> u32 {
        pod / self.pods_of_service()
    }

    /// The pods behind a service.
    pub(crate) fn pods_behind(self, service: u32) -> impl Iterator<Item = u32> {
        let first = self.first_pod(service);
        first..(first + self.pods_of_service()).min(self.pods)
    }

    /// The node that a pod is on.
    pub(crate) fn node_of(self, pod: u32) -> u32 {
        pod % self.nodes
    }

    /// The service account of a pod, one of its namespace's.
    pub(crate) fn account_of(self, pod: u32) -> String {
        format!("account-{}", pod % ACCOUNTS)
    }

    fn pods_of_service(self) -> u32 {
        self.pods.div_ceil(self.services.max(1)).max(1)
    }

    fn first_pod(self, service: u32) -> u32 {
        (service * self.pods_of_service()).min(self.pods.saturating_sub(1))
    }

    fn namespace_of(self, pod: u32) -> String {
        namespace(pod / PODS_OF_NAMESPACE)
    }
}

// === impl PodName ===

impl PodName {
    /// The name of the pod's resource in Istio's workload discovery.
    pub(crate) fn resource(&self) -> String {
        format!("Kubernetes//Pod/{}/{}", self.namespace, self.name)
    }
}

pub(crate) fn node(number: u32) -> String {
    format!("node-{number}")
}

/// The name of the proxy's pod on a node.
pub(crate) fn proxy(node: u32) -> String {
    format!("ztunnel-{node}")
}

pub(crate) fn pod_ip(pod: u32) -> Ipv4Addr {
    offset(PODS, pod)
}

pub(crate) fn proxy_ip(node: u32) -> Ipv4Addr {
    offset(PROXIES, node)
}

pub(crate) fn service_ip(service: u32) -> Ipv4Addr {
    offset(SERVICES, service)
}

fn namespace(number: u32) -> String {
    format!("team-{number}")
}

/// Skips addresses that end in 0, as broadcast addresses once did.
fn offset(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    let (block, host) = (number / 254, number % 254 + 1);
    Ipv4Addr::from_bits(base.to_bits() + block * 256 + host)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_pod_has_an_address_of_its_own_and_is_behind_the_service_of_its_namespace() {
        let shape = Shape::USUAL;
        let ips: HashSet<_> = (0..shape.pods).map(pod_ip).collect();
        assert_eq!(ips.len(), 20_000);
        for pod in 0..shape.pods {
            let service = shape.service_of(pod);
            assert!(service < shape.services && shape.pods_behind(service).any(|p| p == pod));
            assert_eq!(shape.service(service).namespace, shape.pod(pod).namespace);
        }
        assert_eq!(shape.namespaces().count(), 50);
        assert_eq!(shape.pod(401).resource(), "Kubernetes//Pod/team-1/app-401");
    }

    #[test]
    fn addresses_stay_within_their_ranges() {
        assert_eq!(pod_ip(0), Ipv4Addr::new(10, 128, 0, 1));
        assert!(pod_ip(Shape::LARGE.pods) < PROXIES);
        assert!(service_ip(Shape::LARGE.services) < Ipv4Addr::new(10, 112, 0, 0));
    }
}
