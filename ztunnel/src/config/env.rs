//! The environment variables that upstream's manifests set, read once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ambit_hbone as hbone;
use ambit_policy::UnknownPolicy;

use super::{
    Certificates, Config, ControlPlane, Discovery, Dns, Keepalive, Node, Ports, ProxyMode, Signer,
    Sockets,
};

const TOKEN_PATH: &str = "./var/run/secrets/tokens/istio-token";
const ROOT_PATH: &str = "./var/run/secrets/istio/root-cert.pem";

/// Every mistake found in the environment.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

/// Reads variables and remembers what was wrong with them.
struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

/// The configuration that `lookup` and `all` (for variables known by prefix) describe.
pub(super) fn read(
    lookup: &dyn Fn(&str) -> Option<String>,
    all: Vec<(String, String)>,
) -> Result<Config, ConfigError> {
    let mut env = Reader { lookup, mistakes: Vec::new() };
    let mode = mode(&mut env);
    let sockets = sockets(&mut env, &mode);
    let in_kubernetes = env.text("KUBERNETES_SERVICE_HOST").is_some();
    let config = Config {
        node: node(&mut env, &all),
        discovery: discovery(&mut env, &all, in_kubernetes),
        certificates: certificates(&mut env, &all, in_kubernetes),
        hbone: http2(&mut env),
        sockets,
        dns: dns(&mut env),
        unknown_policy: unknown_policy(&mut env),
        log_policy_decisions: env.flag("AUTHZ_POLICY_INFO_LOGGING", false),
        response_baggage: env.flag("ENABLE_RESPONSE_BAGGAGE", true),
        localhost_app_tunnel: env.flag("LOCALHOST_APP_TUNNEL", true),
        encrypt_local: env.flag("ENCRYPT_LOCAL", false),
        workers: workers(&mut env),
        drain_deadline: drain_deadline(&mut env),
        ports: ports(&mut env),
        state_dir: env.text("AMBIT_STATE_DIR").map(PathBuf::from),
        mode,
    };
    if env.mistakes.is_empty() { Ok(config) } else { Err(ConfigError(env.mistakes)) }
}

fn mode(env: &mut Reader<'_>) -> ProxyMode {
    let shared = |env: &mut Reader<'_>| ProxyMode::Shared {
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

fn node(env: &mut Reader<'_>, all: &[(String, String)]) -> Node {
    let cluster = env.text("ISTIO_META_CLUSTER_ID").or_else(|| env.text("CLUSTER_ID"));
    Node {
        name: env.text("NODE_NAME").unwrap_or_default().into(),
        cluster: cluster.unwrap_or_else(|| "Kubernetes".into()).into(),
        cluster_domain: env.text("CLUSTER_DOMAIN").unwrap_or_else(|| "cluster.local".into()).into(),
        network: env.text("NETWORK").unwrap_or_default().into(),
        trust_domain: env.text("TRUST_DOMAIN").unwrap_or_else(|| "cluster.local".into()).into(),
        pod_name: env.text("POD_NAME").unwrap_or_default(),
        pod_namespace: env.text("POD_NAMESPACE").unwrap_or_default(),
        instance_ip: env.text("INSTANCE_IP").unwrap_or_else(|| "1.1.1.1".into()),
        metadata: prefixed(all, "ISTIO_META_"),
    }
}

fn discovery(env: &mut Reader<'_>, all: &[(String, String)], in_kubernetes: bool) -> Discovery {
    let file = env.text("LOCAL_XDS_PATH").map(PathBuf::from);
    let xds = match env.text("XDS_ADDRESS") {
        None if file.is_some() && !in_kubernetes => None,
        address => control_plane(env, all, "XDS", address, in_kubernetes),
    };
    Discovery { xds, file }
}

fn certificates(
    env: &mut Reader<'_>,
    all: &[(String, String)],
    in_kubernetes: bool,
) -> Certificates {
    let signer = if let Some(dir) = env.text("LOCAL_CA_DIR") {
        Signer::Directory(dir.into())
    } else if env.flag("FAKE_CA", false) {
        Signer::Fake
    } else {
        let address = env.text("CA_ADDRESS");
        match control_plane(env, all, "CA", address, in_kubernetes) {
            Some(service) => Signer::Service(service),
            None => {
                env.mistake("CA_ADDRESS", "", "an address, or set LOCAL_CA_DIR or FAKE_CA=true");
                Signer::Fake
            }
        }
    };
    Certificates {
        signer,
        ttl: env.duration("SECRET_TTL", Duration::from_secs(24 * 3600)),
        crl: env.text("CRL_PATH").map(PathBuf::from),
    }
}

/// `address` absent means the default one, empty means none.
fn control_plane(
    env: &mut Reader<'_>,
    all: &[(String, String)],
    prefix: &str,
    address: Option<String>,
    in_kubernetes: bool,
) -> Option<ControlPlane> {
    let default = if in_kubernetes { "istiod.istio-system.svc:15012" } else { "localhost:15012" };
    let address = address.unwrap_or_else(|| default.into());
    if address.is_empty() {
        return None;
    }
    let address = if address.contains("://") { address } else { format!("https://{address}") };
    let token = env
        .text("AUTH_TOKEN")
        .or_else(|| Path::new(TOKEN_PATH).exists().then(|| TOKEN_PATH.to_owned()));
    Some(ControlPlane {
        address,
        root: env.text(&format!("{prefix}_ROOT_CA")).unwrap_or_else(|| ROOT_PATH.into()),
        alt_hostname: env.text(&format!("ALT_{prefix}_HOSTNAME")),
        token,
        headers: prefixed(all, &format!("{prefix}_HEADER_")),
    })
}

fn http2(env: &mut Reader<'_>) -> hbone::Config {
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

fn sockets(env: &mut Reader<'_>, mode: &ProxyMode) -> Sockets {
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

fn dns(env: &mut Reader<'_>) -> Dns {
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

fn unknown_policy(env: &mut Reader<'_>) -> UnknownPolicy {
    match env.text("UNKNOWN_POLICY").as_deref() {
        None | Some("deny") => UnknownPolicy::Deny,
        Some("allow") => UnknownPolicy::Allow,
        Some(other) => {
            env.mistake("UNKNOWN_POLICY", other, "deny or allow");
            UnknownPolicy::Deny
        }
    }
}

/// `ZTUNNEL_WORKER_THREADS`: a number, `N%` of the cores, 0 = all. By default the container's CPU limit, and without one
/// a quarter of the cores, at least its CPU request and two (protocol facts 9).
fn workers(env: &mut Reader<'_>) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // The downward API's limit of a container without one is the whole node.
    let limit = cpus(env, "ZTUNNEL_CPU_LIMIT").filter(|limit| *limit < cores);
    let limit = cpus(env, "ZTUNNEL_RESOURCE_CPU_LIMIT").or(limit);
    let request = cpus(env, "ZTUNNEL_RESOURCE_CPU_REQUEST").unwrap_or(0);
    let default = limit.unwrap_or_else(|| (cores / 4).max(request).max(2)).min(cores.max(2));
    match env.text("ZTUNNEL_WORKER_THREADS").as_deref() {
        None => default,
        Some("0") => cores,
        Some(text) => {
            let count = match text.strip_suffix('%') {
                Some(percent) => percent.parse::<usize>().map(|p| (cores * p).div_ceil(100)),
                None => text.parse(),
            };
            match count {
                Ok(n) if (1..=1024).contains(&n) => n,
                _ => {
                    env.mistake("ZTUNNEL_WORKER_THREADS", text, "a number or a percentage");
                    default
                }
            }
        }
    }
}

/// A number of CPUs as the downward API writes it; 0 stands for none.
fn cpus(env: &mut Reader<'_>, name: &'static str) -> Option<usize> {
    let text = env.text(name)?;
    match text.parse() {
        Ok(0) => None,
        Ok(cpus) => Some(cpus),
        Err(_) => {
            env.mistake(name, &text, "a whole number of CPUs");
            None
        }
    }
}

/// The time that open connections get after SIGTERM.
fn drain_deadline(env: &mut Reader<'_>) -> Duration {
    let grace: u64 = env.parse("TERMINATION_GRACE_PERIOD_SECONDS", 0);
    let default = match grace {
        0 => 5,
        1..=10 => grace.saturating_sub(1).max(1),
        _ => grace - 5,
    };
    env.duration("CONNECTION_TERMINATION_DEADLINE", Duration::from_secs(default))
}

fn ports(env: &mut Reader<'_>) -> Ports {
    Ports {
        admin: env.parse("ADMIN_PORT", 15000),
        stats: env.parse("STATS_PORT", 15020),
        readiness: env.parse("READINESS_PORT", 15021),
    }
}

fn prefixed(all: &[(String, String)], prefix: &str) -> Vec<(String, String)> {
    all.iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())))
        .collect()
}

/// `90s`, `5m`, `24h`, `250ms` or bare seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    fn path(&self, name: &str, default: &str) -> PathBuf {
        self.text(name).unwrap_or_else(|| default.to_owned()).into()
    }

    fn parse<T: FromStr>(&mut self, name: &str, default: T) -> T {
        match self.text(name) {
            None => default,
            Some(text) => text.trim().parse().unwrap_or_else(|_| {
                self.mistake(name, &text, "a number");
                default
            }),
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("true" | "1" | "True" | "TRUE") => true,
            Some("false" | "0" | "False" | "FALSE" | "") => false,
            Some(other) => {
                self.mistake(name, other, "true or false");
                default
            }
        }
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        match self.text(name) {
            None => default,
            Some(text) => duration(&text).unwrap_or_else(|| {
                self.mistake(name, &text, "a duration such as 90s, 5m or 24h");
                default
            }),
        }
    }

    fn mistake(&mut self, name: &str, value: &str, expected: &str) {
        self.mistakes.push(format!("{name}={value:?}: expected {expected}"));
    }
}

// === impl ConfigError ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let all: Vec<_> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let vars = all.clone();
        read(&move |name| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()), all)
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

    #[test]
    fn the_grace_period_leaves_time_to_exit() {
        for (grace, seconds) in [("30", 25), ("11", 6), ("10", 9), ("2", 1), ("1", 1)] {
            let config = config(&[("TERMINATION_GRACE_PERIOD_SECONDS", grace)]).unwrap();
            assert_eq!(config.drain_deadline, Duration::from_secs(seconds), "{grace}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("5", 5000), ("250ms", 250), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "1.5s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
