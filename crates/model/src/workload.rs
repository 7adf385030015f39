//! Workloads: pods and everything else that has an address and an identity.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{GatewayAddress, Identity, NamespacedHostname, Str, is_default};

/// Service port → target port.
pub type PortMap = BTreeMap<u16, u16>;

/// One addressable instance, as `istio.workload.Workload` describes it with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// The primary key, e.g. `<cluster>//Pod/<namespace>/<name>`.
    #[serde(default)]
    pub uid: Str,
    /// The pod's name.
    #[serde(default)]
    pub name: Str,
    /// The namespace.
    pub namespace: Str,
    /// The trust domain of its identity.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: Str,
    /// The service account of its identity.
    #[serde(default = "default_service_account")]
    pub service_account: Str,
    /// Its addresses; empty where a hostname has to be resolved or another network's gateway is used.
    pub workload_ips: Vec<IpAddr>,
    /// The network on which its addresses mean something.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Str,
    /// Where its traffic has to pass first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waypoint: Option<GatewayAddress>,
    /// The gateway through which other networks reach it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network_gateway: Option<GatewayAddress>,
    /// How its node proxy takes traffic.
    #[serde(default)]
    pub protocol: TunnelProtocol,
    /// Whether its addresses are its own or its node's.
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// The owner's name, for telemetry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workload_name: Str,
    /// The owner's kind, for telemetry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workload_type: WorkloadType,
    /// The application's name, for telemetry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub canonical_name: Str,
    /// The application's version, for telemetry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub canonical_revision: Str,
    /// A DNS name to resolve when there are no addresses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hostname: Str,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: Str,
    /// Whether the workload itself speaks HBONE.
    #[serde(default, skip_serializing_if = "is_default")]
    pub native_tunnel: bool,
    /// Whether its traffic with pods of its own node is encrypted as well.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypt_local: bool,
    /// How a sandwiched waypoint wants its traffic.
    #[serde(default, skip_serializing_if = "is_default")]
    pub application_tunnel: Option<ApplicationTunnel>,
    /// The selector policies that apply to it, as `namespace/name`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub authorization_policies: Vec<Str>,
    /// Whether it takes traffic through its services.
    #[serde(default)]
    pub status: HealthStatus,
    /// The cluster it belongs to.
    #[serde(default = "default_cluster")]
    pub cluster_id: Str,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locality: Locality,
    /// The services it is an endpoint of, with its own target ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub services: BTreeMap<NamespacedHostname, PortMap>,
    /// Its weight among the endpoints of a service.
    #[serde(default = "default_capacity")]
    pub capacity: u32,
}

/// How a workload's node proxy takes its traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TunnelProtocol {
    /// Plain TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// HBONE on port 15008 of the workload's address.
    #[serde(rename = "HBONE")]
    Hbone,
}

/// Whose addresses a workload has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Its own.
    #[default]
    Standard,
    /// Its node's: the addresses do not identify it.
    HostNetwork,
}

/// Whether a workload takes traffic through its services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthStatus {
    /// It does.
    #[default]
    Healthy,
    /// Only through services that send to unhealthy endpoints as well.
    Unhealthy,
}

/// The kind of a workload's owner; the value is the `<type>` of baggage's `k8s.<type>.name`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadType {
    /// A Deployment.
    #[default]
    Deployment,
    /// A CronJob.
    CronJob,
    /// A bare pod, or whatever istiod cannot name better.
    Pod,
    /// A Job.
    Job,
}

/// Region, zone and subzone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Locality {
    /// The region.
    pub region: Str,
    /// The zone within the region.
    pub zone: Str,
    /// The subzone within the zone.
    pub subzone: Str,
}

/// How a workload behind its node proxy wants to be told of the original connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationTunnel {
    /// The protocol spoken to the application.
    pub protocol: ApplicationTunnelProtocol,
    /// The application's port; the destination's own when absent.
    #[serde(default)]
    pub port: Option<u16>,
}

/// The protocol of an [`ApplicationTunnel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ApplicationTunnelProtocol {
    /// Bytes as they come.
    None,
    /// A PROXY protocol v2 header first.
    Proxy,
}

// === impl Workload ===

impl Workload {
    /// The identity its certificates carry.
    pub fn identity(&self) -> Identity {
        Identity {
            trust_domain: self.trust_domain.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
        }
    }
}

impl Default for Workload {
    /// A workload with nothing but the protocol's defaults, for decoders and builders to fill in.
    fn default() -> Self {
        Self {
            uid: Str::default(),
            name: Str::default(),
            namespace: Str::default(),
            trust_domain: default_trust_domain(),
            service_account: default_service_account(),
            workload_ips: Vec::new(),
            network: Str::default(),
            waypoint: None,
            network_gateway: None,
            protocol: TunnelProtocol::default(),
            network_mode: NetworkMode::default(),
            workload_name: Str::default(),
            workload_type: WorkloadType::default(),
            canonical_name: Str::default(),
            canonical_revision: Str::default(),
            hostname: Str::default(),
            node: Str::default(),
            native_tunnel: false,
            encrypt_local: false,
            application_tunnel: None,
            authorization_policies: Vec::new(),
            status: HealthStatus::default(),
            cluster_id: default_cluster(),
            locality: Locality::default(),
            services: BTreeMap::new(),
            capacity: default_capacity(),
        }
    }
}

// === impl WorkloadType ===

impl WorkloadType {
    /// The lower-case name used in baggage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

fn default_trust_domain() -> Str {
    "cluster.local".into()
}

fn default_service_account() -> Str {
    "default".into()
}

fn default_cluster() -> Str {
    "Kubernetes".into()
}

fn default_capacity() -> u32 {
    1
}
