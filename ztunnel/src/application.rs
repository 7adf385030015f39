//! Applications that want to be told of the original connection by a PROXY protocol header.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ambit_model::Identity;
use ambit_net::{ConnectError, write_all_bytes};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::context::Context;
use crate::pod::Pod;

/// The signature of PROXY protocol version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
/// TCP over IPv4, TCP over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Istio's TLV that carries the peer's SPIFFE identity.
const TLV_IDENTITY: u8 = 0xd0;

/// Dials an application that takes PROXY headers: on loopback, unless configured otherwise, as it learns the client's
/// address from the header.
///
/// # Errors
/// As for any TCP connect.
pub(crate) async fn dial(
    context: &Context,
    pod: &Pod,
    upstream: SocketAddr,
) -> Result<TcpStream, ConnectError> {
    let (source, destination) = if context.config.localhost_app_tunnel {
        let loopback: IpAddr = if upstream.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        (Some(loopback), SocketAddr::new(loopback, upstream.port()))
    } else {
        (None, upstream)
    };
    pod.connect_app_from(source, destination).await
}

/// Writes the header.
///
/// # Errors
/// The application has closed already.
pub(crate) async fn introduce(
    app: &TcpStream,
    source: SocketAddr,
    destination: SocketAddr,
    identity: Option<&Identity>,
) -> io::Result<()> {
    write_all_bytes(app, proxy_header(source, destination, identity)).await
}

/// A PROXY v2 header. IPv4 and IPv6 do not mix: if they have to, both are written as IPv6.
pub(crate) fn proxy_header(
    source: SocketAddr,
    destination: SocketAddr,
    identity: Option<&Identity>,
) -> Bytes {
    let identity = identity.map(Identity::to_string).filter(|id| id.len() <= 4096);
    let mut body = BytesMut::with_capacity(64);
    let family = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            body.put_slice(&source.octets());
            body.put_slice(&destination.octets());
            TCP4
        }
        (source, destination) => {
            body.put_slice(&v6(source).octets());
            body.put_slice(&v6(destination).octets());
            TCP6
        }
    };
    body.put_u16(source.port());
    body.put_u16(destination.port());
    if let Some(identity) = identity {
        body.put_u8(TLV_IDENTITY);
        body.put_u16(identity.len() as u16);
        body.put_slice(identity.as_bytes());
    }
    let mut header = BytesMut::with_capacity(16 + body.len());
    header.put_slice(&SIGNATURE);
    header.put_u8(VERSION_AND_COMMAND);
    header.put_u8(family);
    header.put_u16(body.len() as u16);
    header.put_slice(&body);
    header.freeze()
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_over_ipv4_with_identity() {
        let id = Identity::new("td", "ns", "sa");
        let header = proxy_header(
            "10.0.0.1:4000".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
            Some(&id),
        );
        let text = id.to_string();
        let mut expected = SIGNATURE.to_vec();
        expected.extend([0x21, 0x11, 0, 12 + 3 + text.len() as u8]);
        expected.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0, 0, 80]);
        expected.extend([0xd0, 0, text.len() as u8]);
        expected.extend(text.as_bytes());
        assert_eq!(header, expected);
    }

    #[test]
    fn mixed_families_become_ipv6_and_no_identity_writes_no_tlv() {
        let header =
            proxy_header("10.0.0.1:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap(), None);
        assert_eq!(header[13], 0x21);
        assert_eq!(header[14..16], [0, 36]);
        assert_eq!(header.len(), 16 + 36);
    }
}
