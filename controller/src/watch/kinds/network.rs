//! IP addresses and hostnames in objects.

use std::net::IpAddr;

use super::Problem;

/// An IP address. IPv4-mapped IPv6 addresses become IPv4.
pub(super) fn ip(field: &str, text: &str) -> Result<IpAddr, Problem> {
    text.parse::<IpAddr>()
        .map(|ip| ip.to_canonical())
        .map_err(|_| Problem::new(field, format!("{text:?} is not an IP address")))
}

/// An address that can be a workload's or a service's: not unspecified, not multicast.
pub(super) fn unicast(field: &str, text: &str) -> Result<IpAddr, Problem> {
    let ip = ip(field, text)?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Problem::new(field, format!("{text} cannot be anybody's address")));
    }
    Ok(ip)
}

/// A DNS name, optionally with a leading `*.`.
pub(super) fn hostname(field: &str, text: &str) -> Result<(), Problem> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(Problem::new(field, format!("{text:?} is not a host name")))
    }
}
