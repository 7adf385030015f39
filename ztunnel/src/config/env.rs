//! The environment variables that upstream's manifests set, read once.

use std::path::PathBuf;
use std::time::Duration;

use ambit_bootstrap::{
    Certificates, ConfigError, ControlPlane, Env, Node, Ports, drain_deadline, worker_count,
};
use ambit_hbone as hbone;
use ambit_policy::UnknownPolicy;

use super::{Config, Discovery, Dns, Keepalive, ProxyMode, Sockets};

/// More than a busy server has, and 330 MB of memory.
const POD_CONNECTIONS: usize = 50_000;

/// The configuration that `env` describes.
pub(super) fn read(mut env: Env) -> Result<Config, ConfigError> {
    let mode = mode(&mut env);
    let sockets = sockets(&mut env, &mode);
    let config = Config {
        node: Node::from_env(&env),
        discovery: discovery(&env),
        certificates: Certificates::from_env(&mut env),
        hbone: http2(&mut env),
        sockets,
        dns: dns(&mut env),
        unknown_policy: unknown_policy(&mut env),
        log_policy_decisions: env.flag("AUTHZ_POLICY_INFO_LOGGING", false),
        response_baggage: env.flag("ENABLE_RESPONSE_BAGGAGE", true),
        localhost_app_tunnel: env.flag("LOCALHOST_APP_TUNNEL", true),
        encrypt_local: env.flag("ENCRYPT_LOCAL", false),
        registry_only: registry_only(&mut env),
        workers: worker_count(&mut env, "ZTUNNEL"),
        pod_connections: env.parse("POD_MAX_CONNECTIONS", POD_CONNECTIONS),
        drain_deadline: drain_deadline(&mut env),
        ports: Ports::from_env(&mut env),
        state_dir: env.text("AMBIT_STATE_DIR").map(PathBuf::from),
        mode,
    };
    env.checked(config)
}

fn mode(env: &mut Env) -> ProxyMode {
    let shared = |env: &mut Env| ProxyMode::Shared {
        agent_socket: env.path("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
    };
    match env.text("PROXY_MODE").as_deref() {
        None | Some("shared") => shared(env),
        Some("dedicated") => {
            let info = env.text("PROXY_WORKLOAD_INFO").unwrap_or_default();
            match info.split('/').collect::<Vec<_>>()[..] {
                [namespace, name, service_account] => ProxyMode::Dedicated {
                    namespace: namespace.into(),
                    name: name.into(),
                    service_account: service_account.into(),
                },
                _ => {
                    env.mistake("PROXY_WORKLOAD_INFO", &info, "namespace/name/serviceaccount");
                    shared(env)
                }
            }
        }
        Some(other) => {
            env.mistake("PROXY_MODE", other, "shared or dedicated");
            shared(env)
        }
    }
}

fn discovery(env: &Env) -> Discovery {
    let file = env.text("LOCAL_XDS_PATH").map(PathBuf::from);
    // A file by itself needs no control plane, except in a cluster.
    let alone = file.is_some() && env.text("KUBERNETES_SERVICE_HOST").is_none();
    let wanted = !alone || env.text("XDS_ADDRESS").is_some();
    Discovery { xds: wanted.then(|| ControlPlane::from_env(env, "XDS")).flatten(), file }
}

fn http2(env: &mut Env) -> hbone::Config {
    let default = hbone::Config::default();
    hbone::Config {
        stream_window: env.parse("HTTP2_STREAM_WINDOW_SIZE", default.stream_window),
        connection_window: env.parse("HTTP2_CONNECTION_WINDOW_SIZE", default.connection_window),
        frame_size: env.parse("HTTP2_FRAME_SIZE", default.frame_size),
        client_max_streams: env
            .parse("POOL_MAX_STREAMS_PER_CONNECTION", default.client_max_streams),
        idle_timeout: env.duration("POOL_UNUSED_RELEASE_TIMEOUT", default.idle_timeout),
        ..default
    }
}

fn sockets(env: &mut Env, mode: &ProxyMode) -> Sockets {
    let mark = match mode {
        ProxyMode::Shared { .. } => Some(env.parse("PACKET_MARK", 1337)),
        ProxyMode::Dedicated { .. } => {
            env.text("PACKET_MARK").map(|_| env.parse("PACKET_MARK", 1337))
        }
    };
    let every = Duration::from_secs(180);
    let keepalive = Keepalive {
        time: env.duration("KEEPALIVE_TIME", every),
        interval: env.duration("KEEPALIVE_INTERVAL", every),
        retries: env.parse("KEEPALIVE_RETRIES", 9),
    };
    Sockets {
        mark,
        original_source: env.text("ENABLE_ORIG_SRC").map(|_| env.flag("ENABLE_ORIG_SRC", true)),
        ipv6: env.flag("IPV6_ENABLED", true),
        keepalive: env.flag("KEEPALIVE_ENABLED", true).then_some(keepalive),
        user_timeout: env.flag("USER_TIMEOUT_ENABLED", false),
        port_reuse: env.flag("INPOD_PORT_REUSE", true),
        connect_timeout: Duration::from_secs(10),
    }
}

fn dns(env: &mut Env) -> Dns {
    let address = env.text("ISTIO_META_DNS_PROXY_ADDR");
    let port = match address.as_deref().and_then(|a| a.rsplit_once(':')) {
        None => 15053,
        Some((_, port)) => port.parse().unwrap_or_else(|_| {
            env.mistake("ISTIO_META_DNS_PROXY_ADDR", port, "host:port");
            15053
        }),
    };
    Dns {
        enabled: env.flag("ISTIO_META_DNS_CAPTURE", true),
        port,
        preferred_namespace: env.text("PREFERED_SERVICE_NAMESPACE").map(Into::into),
    }
}

fn unknown_policy(env: &mut Env) -> UnknownPolicy {
    match env.text("UNKNOWN_POLICY").as_deref() {
        None | Some("deny") => UnknownPolicy::Deny,
        Some("allow") => UnknownPolicy::Allow,
        Some(other) => {
            env.mistake("UNKNOWN_POLICY", other, "deny or allow");
            UnknownPolicy::Deny
        }
    }
}

/// The names are those of Istio's `outboundTrafficPolicy`.
fn registry_only(env: &mut Env) -> bool {
    match env.text("OUTBOUND_TRAFFIC_POLICY").as_deref() {
        None | Some("ALLOW_ANY") => false,
        Some("REGISTRY_ONLY") => true,
        Some(other) => {
            env.mistake("OUTBOUND_TRAFFIC_POLICY", other, "ALLOW_ANY or REGISTRY_ONLY");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use ambit_bootstrap::Signer;

    use super::*;

    fn config(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        read(vars.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn defaults_are_those_of_upstream() {
        let config = config(&[]).unwrap();
        assert_eq!(config.sockets.mark, Some(1337));
        assert_eq!(config.node.cluster.as_ref(), "Kubernetes");
        assert_eq!(config.certificates.ttl, Duration::from_secs(86400));
        assert_eq!(config.discovery.xds.unwrap().address, "https://localhost:15012");
        assert_eq!(config.drain_deadline, Duration::from_secs(5));
        assert_eq!(config.unknown_policy, UnknownPolicy::Deny);
        assert!(config.workers >= 2);
    }

    #[test]
    fn a_local_directory_wins_over_the_fake_ca() {
        let config = config(&[("LOCAL_CA_DIR", "/ca"), ("FAKE_CA", "true")]).unwrap();
        assert_eq!(config.certificates.signer, Signer::Directory("/ca".into()));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mistakes = config(&[
            ("PROXY_MODE", "both"),
            ("IPV6_ENABLED", "perhaps"),
            ("SECRET_TTL", "1 day"),
            ("HTTP2_FRAME_SIZE", "big"),
            ("ZTUNNEL_WORKER_THREADS", "-1"),
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "PROXY_MODE",
            "IPV6_ENABLED",
            "SECRET_TTL",
            "HTTP2_FRAME_SIZE",
            "ZTUNNEL_WORKER_THREADS",
        ] {
            assert!(mistakes.contains(name), "{name} is missing in {mistakes}");
        }
    }
}
