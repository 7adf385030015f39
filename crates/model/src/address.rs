//! Addresses as the mesh names them: an IP on a network, a hostname in a namespace, a gateway.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Str;

/// An IP address on a network, written `network/ip`. The empty network is the default one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddress {
    /// The network's id.
    pub network: Str,
    /// The address, unique within its network.
    pub address: IpAddr,
}

/// A range of IP addresses on a network, written `network/ip/prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct NetworkCidr {
    /// The network's id.
    pub network: Str,
    /// The range.
    pub cidr: IpNet,
}

/// A hostname in a namespace, written `namespace/hostname`: the key of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespacedHostname {
    /// The namespace that owns the hostname.
    pub namespace: Str,
    /// The fully qualified hostname.
    pub hostname: Str,
}

/// Where a waypoint or a gateway to another network is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayAddress {
    /// The gateway's address or service.
    pub destination: GatewayDestination,
    /// The port of its HBONE listener; a service port where the destination is a service.
    pub hbone_mtls_port: u16,
}

/// The two ways to name a gateway; a string in files, told apart by what follows the slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GatewayDestination {
    /// `network/ip`.
    Address(NetworkAddress),
    /// `namespace/hostname`.
    Hostname(NamespacedHostname),
}

/// A string that is no address of the expected form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{value:?} is not of the form {form}")]
pub struct ParseAddressError {
    /// What was read.
    pub value: String,
    /// What was expected.
    pub form: &'static str,
}

// === impl NetworkAddress ===

impl NetworkAddress {
    /// `address` on `network`.
    pub fn new(network: impl Into<Str>, address: IpAddr) -> Self {
        Self { network: network.into(), address }
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.address)
    }
}

impl FromStr for NetworkAddress {
    type Err = ParseAddressError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (network, ip) = value.split_once('/')?;
            Some(Self::new(network, ip.parse().ok()?))
        };
        parse().ok_or_else(|| ParseAddressError { value: value.to_owned(), form: "network/ip" })
    }
}

// === impl NetworkCidr ===

impl NetworkCidr {
    /// `cidr` on `network`.
    pub fn new(network: impl Into<Str>, cidr: IpNet) -> Self {
        Self { network: network.into(), cidr }
    }
}

impl fmt::Display for NetworkCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.cidr)
    }
}

impl<'de> Deserialize<'de> for NetworkCidr {
    /// Reads both forms in use: `{network: …, cidr: …}` and `network/ip/prefix`.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Fields { network: Str, cidr: IpNet },
        }
        match Form::deserialize(deserializer)? {
            Form::Fields { network, cidr } => Ok(Self { network, cidr }),
            Form::Text(text) => text
                .split_once('/')
                .and_then(|(network, cidr)| Some(Self::new(network, cidr.parse().ok()?)))
                .ok_or_else(|| {
                    serde::de::Error::custom(ParseAddressError {
                        value: text,
                        form: "network/ip/prefix",
                    })
                }),
        }
    }
}

// === impl NamespacedHostname ===

impl NamespacedHostname {
    /// `hostname` in `namespace`.
    pub fn new(namespace: impl Into<Str>, hostname: impl Into<Str>) -> Self {
        Self { namespace: namespace.into(), hostname: hostname.into() }
    }
}

impl fmt::Display for NamespacedHostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

impl FromStr for NamespacedHostname {
    type Err = ParseAddressError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value.split_once('/') {
            Some((namespace, hostname)) if !hostname.is_empty() && !hostname.contains('/') => {
                Ok(Self::new(namespace, hostname))
            }
            _ => Err(ParseAddressError { value: value.to_owned(), form: "namespace/hostname" }),
        }
    }
}

// === impl GatewayDestination ===

impl fmt::Display for GatewayDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Hostname(hostname) => hostname.fmt(f),
        }
    }
}

/// Serialises as the `Display` form and reads it back, so that the type can key a map.
macro_rules! serde_as_string {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_string!(NetworkAddress, NamespacedHostname);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_addresses_of_both_families() {
        for text in ["/127.0.0.1", "remote/10.0.0.1", "net/2001:db8::1"] {
            assert_eq!(text.parse::<NetworkAddress>().unwrap().to_string(), text);
        }
        for text in ["127.0.0.1", "net/", "net/host", "a/b/10.0.0.1"] {
            assert!(text.parse::<NetworkAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn hostnames_need_a_namespace() {
        assert_eq!(
            "shop/cart.example".parse(),
            Ok(NamespacedHostname::new("shop", "cart.example"))
        );
        for text in ["cart.example", "shop/", "a/b/c"] {
            assert!(text.parse::<NamespacedHostname>().is_err(), "{text}");
        }
    }
}
