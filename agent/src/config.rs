//! What can be configured, and the one place where the environment is read.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ambit_redirect::Backend;

mod kubernetes;

pub use kubernetes::KubernetesConfig;

/// The variables that are read, with their defaults, for `--help`.
pub const USAGE: &str = "\
ambit-agent: redirects the pods of this node and hands them to ztunnel

  ambit-agent [--kubernetes]     runs until it is told to end, and undoes nothing then
  ambit-agent uninstall [--kubernetes]
                                 takes everything out: plugin, node rules, and the rules of all captured pods
  ambit-agent check              whether this node can carry the mesh, one JSON line for each thing; run by
                                 `ambit check --pre`, which adds: node TIME UID IP | wait | listen |
                                 network SERVICE NODE=IP...

Configured by environment variables:
  CNI_AGENT_RUN_DIR       /var/run/istio-cni              lock, records and control socket
  ZTUNNEL_UDS_ADDRESS     /var/run/ztunnel/ztunnel.sock   where ztunnels connect
  AMBIENT_DNS_CAPTURE     true                            capture DNS in pods that do not say
  AMBIENT_IPV6            true                            capture IPv6 too
  NATIVE_NFTABLES         what the node has               true: nftables; false: iptables
  AMBIT_VERIFY_INTERVAL   60s                             how often each pod's rules are looked after
  AMBIT_REQUEST_TIMEOUT   30s                             how long a pod source waits for ztunnel
  AMBIT_AGENT_PORT        8000                            /healthz, /readyz and /metrics
  AMBIT_KUBERNETES        false                           Kubernetes is the source of pods (--kubernetes)
  NODE_NAME                                               with it: this node's name
  POD_NAMESPACE           istio-system                    with it: the mesh's own namespace
  EXCLUDE_NAMESPACES      kube-system                     with it: namespaces that are never captured
  HOST_ROOT               /proc/1/root                    with it: the node's root directory
  AMBIT_INSTALL_CNI       true                            with it: install the CNI plugin
  AMBIT_CNI_PLUGIN        ambit-cni beside this program   the plugin to install
  AMBIT_CNI_OWN_LIST      false                           a CNI list of our own before the node's first, so that no
                                                          pod starts without us when others rewrite theirs
  CNI_BIN_DIR             /host/opt/cni/bin               where programs of CNI plugins are
  CNI_NET_DIR             /host/etc/cni/net.d             where the configuration of CNI is
  CNI_NET_DIR_ON_NODE     /etc/cni/net.d                  the same as the container runtime sees it
  AMBIT_SERVICE_ACCOUNT_DIR                               where token and ca.crt are; the kubelet's place if not set
  LOG_FORMAT              plain                           or json
  RUST_LOG                info                            log levels
";

/// The agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Holds the lock, the records of captured pods, and the control socket.
    pub run_dir: PathBuf,
    /// Where ztunnels connect to.
    pub ztunnel_socket: PathBuf,
    /// Whether DNS is captured in pods that do not say.
    pub dns_capture: bool,
    /// Whether IPv6 is captured.
    pub ipv6: bool,
    /// What holds the rules; what the node has if absent.
    pub backend: Option<Backend>,
    /// How often each pod's rules are verified.
    pub verify_interval: Duration,
    /// How long a pod source waits for a reply.
    pub request_timeout: Duration,
    /// The port for health and metrics; 0 takes any free one.
    pub port: u16,
    /// How Kubernetes is followed, if it is the source of pods.
    pub kubernetes: Option<KubernetesConfig>,
}

/// Every mistake found in the environment.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl Default for Config {
    fn default() -> Self {
        Self {
            run_dir: "/var/run/istio-cni".into(),
            ztunnel_socket: "/var/run/ztunnel/ztunnel.sock".into(),
            dns_capture: true,
            ipv6: true,
            backend: None,
            verify_interval: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            port: 8000,
            kubernetes: None,
        }
    }
}

// === impl Config ===

impl Config {
    /// Reads the process's environment. Empty variables count as absent. `kubernetes` says that Kubernetes is the
    /// source of pods, whatever the environment says.
    ///
    /// # Errors
    /// Names every variable that is not understood.
    pub fn from_env(kubernetes: bool) -> Result<Self, ConfigError> {
        Self::read(&|name| match name {
            "AMBIT_KUBERNETES" if kubernetes => Some("true".to_owned()),
            name => std::env::var(name).ok(),
        })
    }

    fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut env = Env { lookup, mistakes: Vec::new() };
        let default = Self::default();
        let nftables = env.get("NATIVE_NFTABLES", "true or false", flag);
        let mut config = Self {
            run_dir: env.get("CNI_AGENT_RUN_DIR", "a path", path).unwrap_or(default.run_dir),
            ztunnel_socket: env
                .get("ZTUNNEL_UDS_ADDRESS", "a path", path)
                .unwrap_or(default.ztunnel_socket),
            dns_capture: env
                .get("AMBIENT_DNS_CAPTURE", "true or false", flag)
                .unwrap_or(default.dns_capture),
            ipv6: env.get("AMBIENT_IPV6", "true or false", flag).unwrap_or(default.ipv6),
            backend: nftables.map(|nftables| match nftables {
                true => Backend::Nftables,
                false => Backend::Iptables,
            }),
            verify_interval: env
                .get("AMBIT_VERIFY_INTERVAL", DURATION, duration)
                .unwrap_or(default.verify_interval),
            request_timeout: env
                .get("AMBIT_REQUEST_TIMEOUT", DURATION, duration)
                .unwrap_or(default.request_timeout),
            port: env
                .get("AMBIT_AGENT_PORT", "a port", |text| text.parse().ok())
                .unwrap_or(default.port),
            kubernetes: None,
        };
        config.kubernetes = match env.get("AMBIT_KUBERNETES", "true or false", flag) {
            Some(true) => Some(KubernetesConfig::read(&mut env, &config.run_dir)),
            _ => None,
        };
        if env.mistakes.is_empty() { Ok(config) } else { Err(ConfigError(env.mistakes)) }
    }
}

/// Reads variables and remembers what was wrong with them.
struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

impl Env<'_> {
    /// A variable that has to be there.
    fn need(&mut self, name: &str, why: &str) -> String {
        self.get(name, "a word", |text| Some(text.to_owned())).unwrap_or_else(|| {
            self.mistakes.push(format!("{name} is not set: {why}"));
            String::new()
        })
    }

    fn get<T>(&mut self, name: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = (self.lookup)(name).filter(|text| !text.is_empty())?;
        let value = parse(&text);
        if value.is_none() {
            self.mistakes.push(format!("{name}={text:?} is not {form}"));
        }
        value
    }
}

const DURATION: &str = "a duration above 0 such as 500ms, 30s or 5m";

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    Some(unit * number)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let find = |name: &str| vars.iter().find(|(known, _)| *known == name);
        Config::read(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]), Ok(Config::default()));
        assert_eq!(read(&[("AMBIENT_IPV6", "")]), Ok(Config::default()));
    }

    #[test]
    fn everything_can_be_set() {
        let expected = Config {
            run_dir: "/run/a".into(),
            ztunnel_socket: "/run/z".into(),
            dns_capture: false,
            ipv6: false,
            backend: Some(Backend::Iptables),
            verify_interval: Duration::from_millis(500),
            request_timeout: Duration::from_secs(120),
            port: 0,
            kubernetes: None,
        };
        let vars = [
            ("CNI_AGENT_RUN_DIR", "/run/a"),
            ("ZTUNNEL_UDS_ADDRESS", "/run/z"),
            ("AMBIENT_DNS_CAPTURE", "false"),
            ("AMBIENT_IPV6", "0"),
            ("NATIVE_NFTABLES", "False"),
            ("AMBIT_VERIFY_INTERVAL", "500ms"),
            ("AMBIT_REQUEST_TIMEOUT", "2m"),
            ("AMBIT_AGENT_PORT", "0"),
        ];
        assert_eq!(read(&vars), Ok(expected));
        for (name, _) in vars {
            assert!(USAGE.contains(name), "{name}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let error = read(&[
            ("AMBIENT_IPV6", "maybe"),
            ("AMBIT_VERIFY_INTERVAL", "0s"),
            ("AMBIT_REQUEST_TIMEOUT", "5"),
            ("AMBIT_AGENT_PORT", "70000"),
        ]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "environment: AMBIENT_IPV6=\"maybe\" is not true or false; \
             AMBIT_VERIFY_INTERVAL=\"0s\" is not a duration above 0 such as 500ms, 30s or 5m; \
             AMBIT_REQUEST_TIMEOUT=\"5\" is not a duration above 0 such as 500ms, 30s or 5m; \
             AMBIT_AGENT_PORT=\"70000\" is not a port"
        );
        for text in ["", "s", "-1s", "1.5s", "4294967296s", "1d", "1 s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
