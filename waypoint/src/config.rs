//! Everything that can be configured, read from the environment in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ambit_bootstrap::{
    Certificates, ConfigError, ControlPlane, Env, Node, Ports, drain_deadline, worker_count,
};
use ambit_model::{Identity, Str};
use tonic::transport::Endpoint;

/// The waypoint's configuration. `docs/waypoint.md` lists the variables.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this process is.
    pub node: Node,
    /// The Gateway, of the pod's namespace, that this process is a part of (`GATEWAY_NAME`).
    pub gateway: Str,
    /// Where routes, services and policies come from.
    pub control_plane: ControlPlane,
    /// Where certificates come from.
    pub certificates: Certificates,
    /// HTTP/2 parameters of tunnels.
    pub hbone: ambit_hbone::Config,
    /// Take HBONE on this port (`HBONE_PORT`); 0 for none.
    pub hbone_port: u16,
    /// Listen on IPv6 as well (`IPV6_ENABLED`).
    pub ipv6: bool,
    /// Data-plane threads (`WAYPOINT_WORKER_THREADS`).
    pub workers: usize,
    /// Grace period for open connections after SIGTERM.
    pub drain_deadline: Duration,
    /// Ports of the admin, metrics and readiness servers.
    pub ports: Ports,
    /// Write headers of HTTP/1 as the other side wrote them, not in lower case (`PRESERVE_HEADER_CASE`).
    pub preserve_header_case: bool,
    /// Limits against what peers may do.
    pub limits: Limits,
    /// Where spans go.
    pub tracing: Tracing,
}

/// Where spans go.
#[derive(Clone, Debug, Default)]
pub struct Tracing {
    /// A collector that speaks OTLP over gRPC (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    pub collector: Option<Endpoint>,
    /// The name of this process (`OTEL_SERVICE_NAME`).
    pub service: String,
    /// The share of traces that begin here which is sampled (`OTEL_TRACES_SAMPLER_ARG`).
    pub ratio: f64,
}

/// What a peer may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the first bytes of a connection of unknown protocol are waited for (`PROTOCOL_DETECTION_TIMEOUT`).
    pub detection: Duration,
    /// How long the header of an HTTP/1 request may take, from its first byte on.
    pub header_read: Duration,
    /// How long a client of HTTP/1 may keep a connection without requests.
    pub client_idle: Duration,
    /// Bytes of a request's header.
    pub header_bytes: usize,
    /// Bytes of a request body that are kept for another try.
    pub replay_bytes: usize,
    /// How long a connection to an endpoint may take, where no policy says.
    pub connect: Duration,
    /// How long a connection to an endpoint without requests is kept, where no policy says.
    pub idle: Duration,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        read(Env::of_process())
    }

    /// Who this process is in the mesh.
    pub fn identity(&self) -> Identity {
        let Node { trust_domain, pod_namespace, service_account, .. } = &self.node;
        Identity::new(trust_domain.clone(), pod_namespace.as_str(), service_account.clone())
    }

    /// The wildcard address to listen on.
    pub fn wildcard(&self) -> IpAddr {
        if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            detection: Duration::from_millis(200),
            header_read: Duration::from_secs(15),
            client_idle: Duration::from_secs(3600),
            header_bytes: 64 << 10,
            replay_bytes: 64 << 10,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
        }
    }
}

fn read(mut env: Env) -> Result<Config, ConfigError> {
    let node = Node::from_env(&env);
    for (name, missing) in [
        ("POD_NAMESPACE", node.pod_namespace.is_empty()),
        ("SERVICE_ACCOUNT", node.service_account.is_empty()),
    ] {
        if missing {
            env.mistake(name, "", "the pod's own, by the downward API");
        }
    }
    let gateway = env.text("GATEWAY_NAME").unwrap_or_default();
    if gateway.is_empty() {
        env.mistake("GATEWAY_NAME", "", "the name of the Gateway that this pod belongs to");
    }
    let control_plane = ControlPlane::from_env(&env, "XDS");
    if control_plane.is_none() {
        env.mistake("XDS_ADDRESS", "", "the controller's address");
    }
    let limits = Limits::default();
    let tracing = tracing(&mut env, &gateway, &node.pod_namespace);
    let config = Config {
        certificates: Certificates::from_env(&mut env),
        gateway: gateway.into(),
        hbone: tunnels(),
        hbone_port: env.parse("HBONE_PORT", 15008),
        ipv6: env.flag("IPV6_ENABLED", true),
        workers: worker_count(&mut env, "WAYPOINT"),
        drain_deadline: drain_deadline(&mut env),
        ports: Ports::from_env(&mut env),
        preserve_header_case: env.flag("PRESERVE_HEADER_CASE", false),
        tracing,
        limits: Limits {
            detection: env.duration("PROTOCOL_DETECTION_TIMEOUT", limits.detection),
            ..limits
        },
        control_plane: control_plane.unwrap_or_else(|| ControlPlane {
            address: String::new(),
            root: String::new(),
            alt_hostname: None,
            token: None,
            headers: Vec::new(),
        }),
        node,
    };
    env.checked(config)
}

/// What is on its way in a tunnel waits here until the other side takes it: less than in a node's tunnel, whose
/// applications are beside it.
fn tunnels() -> ambit_hbone::Config {
    const STREAM: u32 = 1 << 20;
    let default = ambit_hbone::Config::default();
    ambit_hbone::Config {
        stream_window: STREAM,
        connection_window: default.server_max_streams * STREAM,
        frame_size: 256 << 10,
        ..default
    }
}

fn tracing(env: &mut Env, gateway: &str, namespace: &str) -> Tracing {
    const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";
    let text = env.text(COLLECTOR).filter(|text| !text.is_empty());
    let collector = text.and_then(|text| match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.uri().scheme_str() == Some("http") => Some(endpoint),
        _ => {
            env.mistake(
                COLLECTOR,
                &text,
                "http://host:port of a collector that takes OTLP over gRPC",
            );
            None
        }
    });
    let ratio: f64 = env.parse(RATIO, 0.01);
    if !(0.0..=1.0).contains(&ratio) {
        env.mistake(RATIO, &ratio.to_string(), "a number from 0 to 1");
    }
    let service = env.text("OTEL_SERVICE_NAME").unwrap_or_else(|| format!("{gateway}.{namespace}"));
    Tracing { collector, service, ratio: ratio.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        read(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_missing_is_named_at_once() {
        let mistakes = config(&[("XDS_ADDRESS", "")]).unwrap_err().to_string();
        for name in ["POD_NAMESPACE", "SERVICE_ACCOUNT", "GATEWAY_NAME", "XDS_ADDRESS"] {
            assert!(mistakes.contains(name), "{name} is missing in {mistakes}");
        }
    }

    #[test]
    fn the_identity_is_the_service_account() {
        let variables =
            [("POD_NAMESPACE", "shop"), ("SERVICE_ACCOUNT", "wp"), ("GATEWAY_NAME", "waypoint")];
        let identity = config(&variables).unwrap().identity();
        assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/shop/sa/wp");
    }
}
