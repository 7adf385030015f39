//! Services, purely: their addresses, their endpoints, and what nodes and name servers make of them.

mod addresses;
mod endpoints;
mod rules;
mod slices;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::cluster::PodKey;

pub(crate) use addresses::{Addresses, DNS_V4, DNS_V6};
pub(crate) use endpoints::views;
pub(crate) use rules::node_rules;
pub(crate) use slices::slices;

/// What services have to know about a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodView {
    pub(crate) key: PodKey,
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Named ports of its containers.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) node: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

/// A service with its addresses and endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) service: Service,
    /// Its virtual addresses; none for headless and external ones.
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ports: Vec<PortView>,
    pub(crate) members: Vec<Member>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PortView {
    pub(crate) name: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) app_protocol: Option<String>,
}

/// A pod, or an address from an EndpointSlice, that belongs to a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    /// The pod; none where a user's EndpointSlice names the address.
    pub(crate) pod: Option<(PodKey, String)>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) node: Option<String>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// The target of each of the service's ports, in their order; `None` where it has no such port.
    pub(crate) targets: Vec<Option<u16>>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

// === impl ServiceView ===

impl ServiceView {
    /// Whether members that are not ready take traffic too.
    fn publishes_all(&self) -> bool {
        self.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
    }

    /// Whether a node's pods may only reach members on that node.
    fn is_local(&self) -> bool {
        let spec = self.service.spec.as_ref();
        spec.and_then(|spec| spec.internal_traffic_policy.as_deref()) == Some("Local")
    }

    /// The members that take new connections.
    pub(crate) fn available(&self) -> impl Iterator<Item = &Member> {
        let all = self.publishes_all();
        self.members.iter().filter(move |member| all || (member.ready && !member.terminating))
    }

    /// The name that it stands for, if it is an external one.
    pub(crate) fn external_name(&self) -> Option<&str> {
        let spec = self.service.spec.as_ref()?;
        spec.external_name.as_deref().filter(|_| spec.type_.as_deref() == Some("ExternalName"))
    }
}

// === impl Protocol ===

impl Protocol {
    /// As Kubernetes spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

#[cfg(test)]
mod tests;
