//! What is to be captured in a pod, as its labels and the mesh's settings decide.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The port in the pod's namespace that takes its outbound connections (Istio ambient: 15001).
pub const OUTBOUND_PORT: u16 = 15001;
/// The port that takes inbound connections that do not come by HBONE (Istio ambient: 15006).
pub const INBOUND_PORT: u16 = 15006;
/// The port of the tunnel itself, which peers dial: never captured (Istio ambient: 15008).
pub const HBONE_PORT: u16 = 15008;
/// The port of the DNS proxy on the pod's loopback (Istio ambient: 15053).
pub const DNS_PORT: u16 = 15053;
/// SO_MARK of every socket of ztunnel in the pod, under the mask 0xfff (Istio ambient: 1337).
pub const PACKET_MARK: u32 = 0x539;
/// What Ambit's ztunnel adds to its mark where it connects as a client whose own connection to the same port may be on
/// record: the two may have one port, and the kernel must not take them for one. Istio ambient's rules ignore it.
pub const AS_CLIENT_MARK: u32 = 0x1000;
/// The mark of connections that ztunnel opened towards the pod, under the same mask (Istio ambient: 0x111).
pub(crate) const CONNECTION_MARK: u32 = 0x111;
/// The bits of a mark that mean something to the mesh.
pub(crate) const MARK_MASK: u32 = 0xfff;
/// Where the node's health probes of a captured pod come from (Istio ambient: `HOST_PROBE_SNAT_IP`).
pub const PROBE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
/// The same for IPv6 (Istio ambient: `HOST_PROBE_SNAT_IPV6`).
pub const PROBE_V6: Ipv6Addr =
    Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff);

/// What is captured in one pod. The default is Istio ambient's: both directions, both families, DNS too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Capture {
    /// IPv6 as well as IPv4.
    pub ipv6: bool,
    /// DNS queries, UDP and TCP (pods say otherwise with `ambient.istio.io/dns-capture`).
    pub dns: bool,
    /// Inbound connections; off for ingress gateways (`ambient.istio.io/bypass-inbound-capture`).
    pub inbound: bool,
    /// Interfaces whose incoming connections are treated as outbound ones of the pod, e.g. the bridge of virtual
    /// machines in it (`istio.io/reroute-virtual-interfaces`).
    pub reroute_interfaces: Vec<InterfaceName>,
    /// The IPv4 address whose connections are health probes and pass uncaptured.
    pub probe_v4: Ipv4Addr,
    /// The IPv6 address whose connections are health probes and pass uncaptured.
    pub probe_v6: Ipv6Addr,
}

/// A network interface's name, safe to write into a rule: 1 to 15 ASCII letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

/// A string that cannot name an interface.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no name of an interface: up to 15 letters, digits, '-', '_' or '.'")]
pub struct InvalidInterfaceName(pub String);

// === impl Capture ===

impl Default for Capture {
    fn default() -> Self {
        Self {
            ipv6: true,
            dns: true,
            inbound: true,
            reroute_interfaces: Vec::new(),
            probe_v4: PROBE_V4,
            probe_v6: PROBE_V6,
        }
    }
}

// === impl InterfaceName ===

impl InterfaceName {
    /// The loopback interface.
    pub(crate) fn loopback() -> Self {
        Self("lo".to_owned())
    }
}

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = (1..=15).contains(&name.len())
            && name.chars().all(allowed)
            && !matches!(name, "." | "..")
            && !name.starts_with('-');
        if valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInterfaceName(name.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_cannot_carry_syntax() {
        for name in ["eth0", "vnet-1", "br_0.100", "abcdefghijklmno"] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().to_string(), name);
        }
        for name in ["", "abcdefghijklmnop", "eth*", "eth+", "a b", "a\"b", "a\nb", "-A", "é", ".."]
        {
            assert!(name.parse::<InterfaceName>().is_err(), "{name:?}");
        }
    }
}
