//! IP addresses, ranges, ports and gateways as they appear inside workloads and services.

use std::net::IpAddr;

use ambit_model::{
    GatewayAddress, GatewayDestination, NamespacedHostname, NetworkAddress, PortMap,
};
use ambit_proto::workload as proto;
use ambit_proto::workload::gateway_address::Destination;
use ipnet::IpNet;

use crate::Interner;

/// A malformed address, port or gateway.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAddress {
    /// Neither IPv4 nor IPv6.
    #[error("an IP address of {0} bytes; it has to be 4 or 16")]
    Length(usize),
    /// A prefix longer than the address.
    #[error("prefix length {length} is too long for {address}")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// Its prefix length.
        length: u32,
    },
    /// A number that is no port.
    #[error("{0} is no port")]
    Port(u32),
    /// A gateway without destination.
    #[error("the gateway has neither hostname nor address")]
    NoDestination,
    /// A gateway whose service has no name.
    #[error("the gateway's service {0:?} is not of the form namespace/hostname")]
    Hostname(String),
}

/// The port of HBONE listeners, assumed for gateways that name none.
const HBONE_PORT: u16 = 15008;

/// An address of 4 or 16 bytes. IPv4-mapped IPv6 addresses become IPv4, as sockets report them.
pub(crate) fn ip(bytes: &[u8]) -> Result<IpAddr, InvalidAddress> {
    let address = if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        IpAddr::from(v6).to_canonical()
    } else {
        return Err(InvalidAddress::Length(bytes.len()));
    };
    Ok(address)
}

/// A range of addresses, without host bits.
pub(crate) fn cidr(bytes: &[u8], length: u32) -> Result<IpNet, InvalidAddress> {
    let address = ip(bytes)?;
    // A range of IPv4-mapped addresses counts its prefix from the front of the 16 bytes.
    let mapped = bytes.len() == 16 && address.is_ipv4();
    let within = if mapped { length.checked_sub(96) } else { Some(length) };
    within
        .and_then(|length| u8::try_from(length).ok())
        .and_then(|length| IpNet::new(address, length).ok())
        .map(|net| net.trunc())
        .ok_or(InvalidAddress::Prefix { address, length })
}

/// A port other than 0.
pub(crate) fn port(number: u32) -> Result<u16, InvalidAddress> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(InvalidAddress::Port(number)),
    }
}

/// A port where 0 means that there is none.
pub(crate) fn optional_port(number: u32) -> Result<u16, InvalidAddress> {
    u16::try_from(number).map_err(|_| InvalidAddress::Port(number))
}

/// Service ports with their target ports, of which 0 means "named".
pub(crate) fn ports(list: &[proto::Port]) -> Result<PortMap, InvalidAddress> {
    list.iter().map(|p| Ok((port(p.service_port)?, optional_port(p.target_port)?))).collect()
}

/// A single address on a network.
pub(crate) fn network_address(
    message: &proto::NetworkAddress,
    interner: &mut Interner,
) -> Result<NetworkAddress, InvalidAddress> {
    Ok(NetworkAddress::new(interner.intern(&message.network), ip(&message.address)?))
}

/// A waypoint or a gateway to another network.
pub(crate) fn gateway(
    message: &proto::GatewayAddress,
    interner: &mut Interner,
) -> Result<GatewayAddress, InvalidAddress> {
    let destination = match &message.destination {
        Some(Destination::Address(address)) => {
            GatewayDestination::Address(network_address(address, interner)?)
        }
        Some(Destination::Hostname(name)) => {
            if name.hostname.is_empty() || name.hostname.contains('/') {
                let name = format!("{}/{}", name.namespace, name.hostname);
                return Err(InvalidAddress::Hostname(name));
            }
            GatewayDestination::Hostname(NamespacedHostname::new(
                interner.intern(&name.namespace),
                interner.intern(&name.hostname),
            ))
        }
        None => return Err(InvalidAddress::NoDestination),
    };
    let hbone_mtls_port = match optional_port(message.hbone_mtls_port)? {
        0 => HBONE_PORT,
        port => port,
    };
    Ok(GatewayAddress { destination, hbone_mtls_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_4_or_16_bytes() {
        assert_eq!(ip(&[10, 0, 0, 1]), Ok("10.0.0.1".parse().unwrap()));
        let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap();
        assert_eq!(ip(&v6.octets()), Ok(v6.into()));
        let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap();
        assert_eq!(ip(&mapped.octets()), Ok("10.0.0.1".parse().unwrap()));
        for length in [0, 1, 3, 5, 15, 17, 64] {
            assert_eq!(ip(&vec![1; length]), Err(InvalidAddress::Length(length)));
        }
    }

    #[test]
    fn ranges_lose_their_host_bits_and_refuse_long_prefixes() {
        assert_eq!(cidr(&[10, 1, 2, 3], 16), Ok("10.1.0.0/16".parse().unwrap()));
        assert_eq!(cidr(&[10, 1, 2, 3], 0), Ok("0.0.0.0/0".parse().unwrap()));
        for length in [33, 128, 256, u32::MAX] {
            assert!(cidr(&[10, 1, 2, 3], length).is_err(), "{length}");
        }
        let mapped = "::ffff:10.1.2.3".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(cidr(&mapped, 112), Ok("10.1.0.0/16".parse().unwrap()));
        assert!(cidr(&mapped, 32).is_err());
        assert!(cidr(&mapped, 129).is_err());
    }

    #[test]
    fn ports_fit_sixteen_bits() {
        assert_eq!(port(65_535), Ok(65_535));
        for number in [0, 65_536, u32::MAX] {
            assert_eq!(port(number), Err(InvalidAddress::Port(number)));
        }
        assert_eq!(optional_port(0), Ok(0));
        assert!(optional_port(65_536).is_err());
    }
}
