//! Pods: as a pod source describes them, and as the agent handles them.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ambit_net::NetNs;
use ambit_redirect::{Capture, InterfaceName, InvalidInterfaceName};
use ambit_zds::{DnsConfig, WorkloadInfo};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::resolv;

/// The longest UID, in bytes; Kubernetes' have 36.
const MAX_UID: usize = 128;
/// The longest name and service account, in bytes: Kubernetes' limit. All of them fit into one packet together.
const MAX_NAME: usize = 253;
/// The longest namespace, in bytes.
const MAX_NAMESPACE: usize = 63;
/// The most of a `resolv.conf` that is read, in bytes.
const MAX_RESOLV_CONF: u64 = 64 * 1024;

/// A pod as its source describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSpec {
    /// What identifies it on this node: up to 128 letters, digits, `-`, `_` and `.`.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The path of its network namespace, e.g. `/run/netns/<name>`.
    pub netns: PathBuf,
    /// The path of the `resolv.conf` that its processes see; ztunnel's own resolvers serve it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolv_conf: Option<PathBuf>,
    /// How its processes resolve names, for a source that knows no file; counts if `resolv_conf` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// Whether its DNS queries are captured; the agent's setting if absent (`ambient.istio.io/dns-capture`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_capture: Option<bool>,
    /// Whether inbound connections are left alone (`ambient.istio.io/bypass-inbound-capture`).
    #[serde(default)]
    pub bypass_inbound_capture: bool,
    /// Interfaces of virtual machines in it (`istio.io/reroute-virtual-interfaces`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reroute_interfaces: Vec<String>,
}

/// How a pod resolves names, as its `resolv.conf` would say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolver {
    /// Its name servers, in order.
    pub nameservers: Vec<IpAddr>,
    /// Its search domains, in order, without dots at their ends.
    pub searches: Vec<String>,
}

/// A pod as the agent handles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    /// What ztunnel is told.
    pub(crate) info: WorkloadInfo,
    /// What is captured.
    pub(crate) capture: Capture,
    /// How its source described it.
    pub(crate) spec: PodSpec,
}

/// What holds for every pod of the node.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// Whether DNS is captured in pods that do not say.
    pub(crate) dns_capture: bool,
    /// Whether IPv6 is captured.
    pub(crate) ipv6: bool,
    /// The agent's own network namespace, which is never a pod's.
    pub(crate) own_netns: NetNs,
}

/// Why a pod cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPod {
    #[error("field {field} is empty or longer than {max} bytes")]
    Length { field: &'static str, max: usize },
    #[error(
        "field uid: {0:?} has characters other than ASCII letters, digits, '-', '_' and '.', or begins with '.'"
    )]
    Uid(String),
    #[error("field rerouteInterfaces: {0}")]
    Interface(#[from] InvalidInterfaceName),
    #[error("network namespace {path}: {source}: give the path of a running pod's namespace")]
    Netns { path: PathBuf, source: io::Error },
    #[error(
        "network namespace {0} is the agent's own: pods on the node's network cannot be captured"
    )]
    OwnNetns(PathBuf),
    #[error("resolver configuration {path}: {source}: give its path as this process sees it")]
    ResolvConf { path: PathBuf, source: io::Error },
}

// === impl Defaults ===

impl Defaults {
    /// As `config` says, for an agent that runs in `own_netns`.
    pub(crate) fn new(config: &Config, own_netns: NetNs) -> Self {
        Self { dns_capture: config.dns_capture, ipv6: config.ipv6, own_netns }
    }
}

// === impl Pod ===

impl Pod {
    /// The pod that `spec` describes, and its network namespace. Reads files.
    pub(crate) fn open(spec: PodSpec, defaults: &Defaults) -> Result<(Self, NetNs), InvalidPod> {
        for (field, value, max) in [
            ("uid", &spec.uid, MAX_UID),
            ("name", &spec.name, MAX_NAME),
            ("namespace", &spec.namespace, MAX_NAMESPACE),
            ("serviceAccount", &spec.service_account, MAX_NAME),
        ] {
            if value.is_empty() || value.len() > max {
                return Err(InvalidPod::Length { field, max });
            }
        }
        // It names a file.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !spec.uid.chars().all(plain) || spec.uid.starts_with('.') {
            return Err(InvalidPod::Uid(spec.uid));
        }
        let netns = open_netns(&spec.netns, defaults)?;
        let reroute_interfaces = spec
            .reroute_interfaces
            .iter()
            .map(|name| name.parse::<InterfaceName>())
            .collect::<Result<_, _>>()?;
        let dns = match (&spec.resolv_conf, &spec.resolver) {
            (Some(path), _) => Some(resolv::parse(&read_resolv_conf(path)?)),
            (None, Some(resolver)) => Some(DnsConfig {
                nameservers: resolver.nameservers.clone(),
                searches: resolver.searches.clone(),
            }),
            (None, None) => None,
        };
        let pod = Self {
            uid: spec.uid.clone(),
            info: WorkloadInfo {
                name: spec.name.clone(),
                namespace: spec.namespace.clone(),
                service_account: spec.service_account.clone(),
                dns,
            },
            capture: Capture {
                ipv6: defaults.ipv6,
                dns: spec.dns_capture.unwrap_or(defaults.dns_capture),
                inbound: !spec.bypass_inbound_capture,
                reroute_interfaces,
                ..Capture::default()
            },
            spec,
        };
        Ok((pod, netns))
    }
}

fn open_netns(path: &Path, defaults: &Defaults) -> Result<NetNs, InvalidPod> {
    let failed = |source| InvalidPod::Netns { path: path.to_owned(), source };
    let netns = NetNs::open(path).map_err(failed)?;
    if netns == defaults.own_netns {
        return Err(InvalidPod::OwnNetns(path.to_owned()));
    }
    Ok(netns)
}

fn read_resolv_conf(path: &Path) -> Result<String, InvalidPod> {
    let read = || {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_RESOLV_CONF).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().map_err(|source| InvalidPod::ResolvConf { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn spec() -> PodSpec {
        PodSpec {
            uid: "u".into(),
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "sa".into(),
            netns: "/proc/self/ns/net".into(),
            ..PodSpec::default()
        }
    }

    /// Nothing but the thread's own namespace can be opened without rights, so its neighbour plays the agent's.
    fn defaults(own_netns: NetNs) -> Defaults {
        Defaults { dns_capture: true, ipv6: true, own_netns }
    }

    #[test]
    fn every_mistake_names_its_field() {
        let own = NetNs::current().unwrap();
        for (spec, expected) in [
            (PodSpec { uid: String::new(), ..spec() }, "field uid "),
            (PodSpec { uid: "../x".into(), ..spec() }, "field uid: \"../x\" has"),
            (PodSpec { uid: ".x".into(), ..spec() }, "field uid: \".x\" has"),
            (PodSpec { name: "n".repeat(254), ..spec() }, "field name "),
            (PodSpec { namespace: "n".repeat(64), ..spec() }, "field namespace "),
            (PodSpec { service_account: String::new(), ..spec() }, "field serviceAccount "),
            (spec(), "/proc/self/ns/net is the agent's own"),
            (
                PodSpec { netns: "/proc/self/ns/mnt".into(), ..spec() },
                "namespace /proc/self/ns/mnt",
            ),
            (PodSpec { netns: "/missing".into(), ..spec() }, "namespace /missing"),
        ] {
            let error = Pod::open(spec, &defaults(own.clone())).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn options_decide_what_is_captured() {
        if !nix::unistd::geteuid().is_root() {
            // Not captured by the test harness, as `eprintln!` would be.
            let _ = writeln!(std::io::stderr(), "skipped: needs root to make a network namespace");
            assert!(std::env::var("CI").as_deref() != Ok("true"));
            return;
        }
        let other = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            NetNs::current().unwrap()
        });
        let defaults = defaults(other.join().unwrap());
        let resolv_conf = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(resolv_conf.path(), "nameserver 10.0.0.1\n").unwrap();
        let (pod, netns) = Pod::open(spec(), &defaults).unwrap();
        assert_eq!(netns, NetNs::current().unwrap());
        assert_eq!(pod.capture, Capture::default());
        assert_eq!(pod.info.dns, None);
        let changed = PodSpec {
            dns_capture: Some(false),
            bypass_inbound_capture: true,
            reroute_interfaces: vec!["vnet0".into()],
            resolv_conf: Some(resolv_conf.path().to_owned()),
            ..spec()
        };
        let (pod, _) = Pod::open(changed, &defaults).unwrap();
        assert!(!pod.capture.dns && !pod.capture.inbound);
        assert_eq!(pod.capture.reroute_interfaces.len(), 1);
        let dns = pod.info.dns.unwrap();
        assert_eq!(dns.nameservers, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);

        let wrong = PodSpec { reroute_interfaces: vec!["a b".into()], ..spec() };
        assert!(matches!(Pod::open(wrong, &defaults), Err(InvalidPod::Interface(_))));
        let missing = PodSpec { resolv_conf: Some("/missing".into()), ..spec() };
        assert!(matches!(Pod::open(missing, &defaults), Err(InvalidPod::ResolvConf { .. })));
    }
}
