//! The way to a chosen workload, before and after its address is known.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{Identity, Str};

/// The port on which node proxies take HBONE (protocol facts 1.1).
pub(crate) const HBONE_PORT: u16 = 15008;

/// How bytes get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Plain TCP.
    Tcp {
        /// The address to dial.
        destination: SocketAddr,
    },
    /// HBONE to the destination pod itself: the one case for the same-node path.
    Hbone(Hbone),
    /// HBONE to a waypoint, which goes on from there.
    Waypoint(Hbone),
    /// HBONE inside HBONE, through the gateway of another network.
    DoubleHbone(DoubleHbone),
    /// The workload to dial has only a hostname: look it up, then call [`Unresolved::at`].
    Hostname(Unresolved),
}

/// One HBONE tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hbone {
    /// The address to dial.
    pub dial: SocketAddr,
    /// The CONNECT request's `:authority`.
    pub authority: SocketAddr,
    /// The identities of which the peer must present one.
    pub identities: Vec<Identity>,
}

/// Two nested HBONE tunnels. Both CONNECT requests carry the same `:authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubleHbone {
    /// The gateway's address to dial.
    pub gateway: SocketAddr,
    /// The identities of which the gateway must present one.
    pub gateway_identities: Vec<Identity>,
    /// `<service hostname>:<service port>`.
    pub authority: String,
    /// The identities of which the far end of the inner tunnel must present one: the service's, never empty.
    pub identities: Vec<Identity>,
}

/// A hop whose address is still to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The hostname to look up.
    pub host: Str,
    /// Whether IPv6 addresses are preferred (the family of the original destination), else IPv4.
    pub prefer_ipv6: bool,
    pub(crate) leg: Leg,
}

/// A hop without its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// To the pod's own port.
    Tcp { port: u16 },
    /// To the pod's node proxy, for the pod's own port.
    Hbone { port: u16, identities: Vec<Identity> },
    /// To a waypoint's port, for the original destination.
    Waypoint { port: u16, authority: SocketAddr, identities: Vec<Identity> },
    /// To a gateway's port.
    DoubleHbone {
        port: u16,
        gateway_identities: Vec<Identity>,
        authority: String,
        identities: Vec<Identity>,
    },
}

// === impl Unresolved ===

impl Unresolved {
    /// The hop to `address`, which the hostname resolved to. Never [`Hop::Hostname`].
    pub fn at(&self, address: IpAddr) -> Hop {
        self.leg.clone().at(address)
    }
}

// === impl Leg ===

impl Leg {
    pub(crate) fn at(self, ip: IpAddr) -> Hop {
        let address = |port| SocketAddr::new(ip, port);
        match self {
            Self::Tcp { port } => Hop::Tcp { destination: address(port) },
            Self::Hbone { port, identities } => Hop::Hbone(Hbone {
                dial: address(HBONE_PORT),
                authority: address(port),
                identities,
            }),
            Self::Waypoint { port, authority, identities } => {
                Hop::Waypoint(Hbone { dial: address(port), authority, identities })
            }
            Self::DoubleHbone { port, gateway_identities, authority, identities } => {
                Hop::DoubleHbone(DoubleHbone {
                    gateway: address(port),
                    gateway_identities,
                    authority,
                    identities,
                })
            }
        }
    }
}
