//! Services: names and virtual addresses behind which workloads stand.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    GatewayAddress, NamespacedHostname, NetworkAddress, NetworkCidr, PortMap, Str, is_default,
};

/// A service, as `istio.workload.Service` describes it. Its endpoints are the workloads that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The object's name.
    pub name: Str,
    /// The namespace.
    pub namespace: Str,
    /// The fully qualified hostname; with the namespace, the primary key.
    pub hostname: Str,
    /// Virtual addresses; none for a headless service.
    pub vips: Vec<NetworkAddress>,
    /// Virtual address ranges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cidr_vips: Vec<NetworkCidr>,
    /// Service port → target port; target 0 when it is named and differs from endpoint to endpoint.
    pub ports: PortMap,
    /// Identities that its endpoints may have besides their own.
    #[serde(default)]
    pub subject_alt_names: Vec<Str>,
    /// The waypoint in front of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waypoint: Option<GatewayAddress>,
    /// Several waypoints with weights, one sampled for each connection; wins over `waypoint`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weighted_waypoints: Vec<WeightedWaypoint>,
    /// How an endpoint is chosen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_balancer: Option<LoadBalancer>,
    /// The families its clients may use; both when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ip_families: Option<IpFamilies>,
    /// Whether it is the one that owns its hostname cluster-wide.
    #[serde(default)]
    pub canonical: bool,
    /// Who may see it.
    #[serde(default)]
    pub visibility: Visibility,
}

/// A waypoint and its share of the connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedWaypoint {
    /// The waypoint.
    pub destination: GatewayAddress,
    /// Its weight relative to the others.
    pub weight: u32,
}

/// How an endpoint of a service is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// Scopes to match, most important first.
    #[serde(default)]
    pub routing_preferences: Vec<LoadBalancerScope>,
    /// What the preferences mean.
    pub mode: LoadBalancerMode,
    /// Which endpoints take part.
    #[serde(default)]
    pub health_policy: HealthPolicy,
}

/// A property that client and endpoint may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum LoadBalancerScope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
}

/// What routing preferences mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBalancerMode {
    /// Nothing: every endpoint is as good as any other.
    #[default]
    Standard,
    /// Only endpoints that share every scope.
    Strict,
    /// Endpoints that share the most leading scopes.
    Failover,
    /// No choice: connect to the original destination.
    Passthrough,
}

/// Which endpoints of a service take part in balancing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthPolicy {
    /// The healthy ones.
    #[default]
    OnlyHealthy,
    /// All of them.
    AllowAll,
}

/// The address families of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilies {
    /// IPv4 alone.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6 alone.
    #[serde(rename = "IPv6")]
    V6,
    /// Both.
    Dual,
}

/// Who may see a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// Everyone.
    #[default]
    Public,
    /// Clients of its own namespace.
    Namespace,
}

// === impl Service ===

impl Service {
    /// The primary key.
    pub fn key(&self) -> NamespacedHostname {
        NamespacedHostname::new(self.namespace.clone(), self.hostname.clone())
    }

    /// Whether clients in `namespace` may see it.
    pub fn visible_to(&self, namespace: &str) -> bool {
        match self.visibility {
            Visibility::Public => true,
            Visibility::Namespace => &*self.namespace == namespace,
        }
    }

    /// Whether unhealthy endpoints take part in balancing.
    pub fn allows_unhealthy(&self) -> bool {
        self.load_balancer.as_ref().is_some_and(|lb| lb.health_policy == HealthPolicy::AllowAll)
    }
}

// === impl IpFamilies ===

impl IpFamilies {
    /// Whether addresses of `ip`'s family are allowed.
    pub fn accepts(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
            Self::Dual => true,
        }
    }
}
