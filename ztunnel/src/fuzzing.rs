//! What the fuzz targets call; nothing else does.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ambit_model::Identity;

use crate::application::proxy_header;
use crate::dns;

/// A DNS message, from a pod or from a resolver.
pub fn dns_message(data: &[u8]) {
    dns::fuzzing::message(data);
}

/// A `resolv.conf`.
pub fn resolv_conf(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = dns::parse_resolv_conf(&text);
    assert!(read.nameservers.len() <= text.lines().count());
    let searches: usize = read.searches.iter().map(|search| search.len()).sum();
    assert!(searches <= text.len());
}

/// The PROXY header for two addresses and an identity, as a reader sees it that was written from the specification.
pub fn proxy_protocol(data: &[u8]) {
    let Some((addresses, name)) = data.split_at_checked(37) else { return };
    let address = |bytes: &[u8], v4: bool| {
        let octets: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        let port = u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?);
        let [a, b, c, d, ..] = octets;
        let ip = if v4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(octets) };
        Some(SocketAddr::new(ip, port))
    };
    let [families, rest @ ..] = addresses else { return };
    let (from, to) = rest.split_at(18);
    let (Some(from), Some(to)) = (address(from, families & 1 == 0), address(to, families & 2 == 0))
    else {
        return;
    };
    let identity = str::from_utf8(name).ok().filter(|name| !name.is_empty());
    let identity = identity.map(|name| Identity::new("td", "ns", name));
    let header = proxy_header(from, to, identity.as_ref());
    let read = read_proxy(&header);
    let v6 = from.is_ipv6() || to.is_ipv6();
    let as_written = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        ip => SocketAddr::new(ip, address.port()),
    };
    let name = identity.map(|identity| identity.to_string()).filter(|name| name.len() <= 4096);
    assert_eq!(read, Some((as_written(from), as_written(to), name)), "{header:?}");
}

/// Source, destination and what TLV 0xD0 says; `None` for anything that the specification does not allow.
fn read_proxy(header: &[u8]) -> Option<(SocketAddr, SocketAddr, Option<String>)> {
    let (start, rest) = header.split_at_checked(16)?;
    let length = usize::from(u16::from_be_bytes(start.get(14..)?.try_into().ok()?));
    if !start.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21") || rest.len() != length {
        return None;
    }
    let size = match start.get(13)? {
        0x11 => 4,
        0x21 => 16,
        _ => return None,
    };
    let ip = |bytes: &[u8]| match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))),
    };
    let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
    let (from, rest) = rest.split_at_checked(size)?;
    let (to, rest) = rest.split_at_checked(size)?;
    let (ports, tlv) = rest.split_at_checked(4)?;
    let from = SocketAddr::new(ip(from)?, port(ports.get(..2)?)?);
    let to = SocketAddr::new(ip(to)?, port(ports.get(2..)?)?);
    let name = match tlv {
        [] => None,
        [0xd0, high, low, name @ ..] if usize::from(port(&[*high, *low])?) == name.len() => {
            Some(String::from_utf8(name.to_vec()).ok()?)
        }
        _ => return None,
    };
    Some((from, to, name))
}
