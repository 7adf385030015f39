//! Virtual addresses: chosen by the service's name, so that they are the same in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Service;
use xxhash_rust::xxh64::xxh64;

/// Where the name servers of unmeshed pods listen, on every node.
pub(crate) const DNS_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The same for IPv6.
pub(crate) const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa);

/// Numbers given to services: the last 16 bits of their addresses. Below 256 is for fixed ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    numbers: BTreeMap<(String, String), u16>,
    taken: BTreeSet<u16>,
}

// === impl Addresses ===

impl Addresses {
    /// The virtual addresses of a service, the same each time.
    ///
    /// # Errors
    /// It asks for an address that it cannot have.
    pub(crate) fn of(
        &mut self,
        (namespace, name): (&str, &str),
        service: &Service,
        ipv6: bool,
    ) -> Result<Vec<IpAddr>, String> {
        let Some(spec) = &service.spec else {
            return Ok(Vec::new());
        };
        if spec.cluster_ip.as_deref() == Some("None")
            || spec.type_.as_deref() == Some("ExternalName")
        {
            return Ok(Vec::new());
        }
        let key = (namespace.to_owned(), name.to_owned());
        let wanted = match spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty()) {
            Some(ip) => Some(number_of(ip).ok_or_else(|| {
                format!("spec.clusterIP: {ip} is not in 10.96.0.0/16 (or fd00:10:96::/112); leave it out")
            })?),
            None => None,
        };
        let number = self.number(key, wanted)?;
        Ok(families(service, ipv6).map(|v4| address(number, v4)).collect())
    }

    /// Gives a service's number back.
    pub(crate) fn forget(&mut self, namespace: &str, name: &str) {
        if let Some(number) = self.numbers.remove(&(namespace.to_owned(), name.to_owned())) {
            self.taken.remove(&number);
        }
    }

    fn number(&mut self, key: (String, String), wanted: Option<u16>) -> Result<u16, String> {
        if let Some(known) = self.numbers.get(&key)
            && wanted.is_none_or(|wanted| wanted == *known)
        {
            return Ok(*known);
        }
        let number = match wanted {
            Some(number) if self.taken.contains(&number) || number == number_of_dns() => {
                return Err(
                    "spec.clusterIP: another service has this address; leave it out".to_owned()
                );
            }
            Some(number) => number,
            None => self.free(&key)?,
        };
        self.forget(&key.0, &key.1);
        self.taken.insert(number);
        self.numbers.insert(key, number);
        Ok(number)
    }

    /// The number that the name leads to, or the next free one.
    fn free(&self, (namespace, name): &(String, String)) -> Result<u16, String> {
        let start = xxh64(format!("{namespace}/{name}").as_bytes(), 0);
        (0..u64::from(LAST - FIRST))
            .map(|step| FIRST + (start.wrapping_add(step) % u64::from(LAST - FIRST)) as u16)
            .find(|number| !self.taken.contains(number))
            .ok_or_else(|| "all addresses for services are taken".to_owned())
    }
}

/// The first number for services without an address of their own.
const FIRST: u16 = 0x0100;
/// One past the last.
const LAST: u16 = 0xff00;

fn number_of_dns() -> u16 {
    number_of(&DNS_V4.to_string()).unwrap_or_default()
}

fn number_of(ip: &str) -> Option<u16> {
    match ip.parse().ok()? {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 96, high, low] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number] => Some(number),
            _ => None,
        },
    }
}

fn address(number: u16, v4: bool) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    if v4 {
        Ipv4Addr::new(10, 96, high, low).into()
    } else {
        Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, number).into()
    }
}

/// Whether each of a service's addresses is IPv4, in order. As on a cluster, one family unless asked for more.
pub(super) fn families(service: &Service, ipv6: bool) -> impl Iterator<Item = bool> + use<> {
    let spec = service.spec.as_ref();
    let asked = spec.and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let policy = spec.and_then(|spec| spec.ip_family_policy.as_deref());
    let dual = matches!(policy, Some("PreferDualStack" | "RequireDualStack")) || asked.len() > 1;
    let first = asked.first().is_none_or(|family| family != "IPv6") || !ipv6;
    [(true, first), (dual && ipv6, !first)]
        .into_iter()
        .filter_map(|(wanted, family)| wanted.then_some(family))
}
