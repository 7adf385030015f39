//! Virtual addresses for hosts that have none, in 240.240.0.0/16 and 2001:2::/48 as istiod allocates them.
//!
//! An address follows from the host's name and, where two hosts would get the same, from their age. So every controller
//! that knows the same objects gives the same addresses.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ambit_model::Str;
use xxhash_rust::xxh64::xxh64;

/// The numbers to give: every 16-bit one but the first and the last, which are no hosts' addresses.
const LAST: u64 = 0xfffe;

/// A host of a ServiceEntry: namespace, name, host.
pub(super) type Host = (Str, Str, Str);

/// Gives each host a number, in the order of `hosts`, oldest first. Hosts beyond the range get none.
pub(super) fn allocate(hosts: impl Iterator<Item = Host>) -> BTreeMap<Host, u16> {
    let (mut given, mut taken) = (BTreeMap::new(), HashSet::new());
    for host in hosts {
        if taken.len() >= LAST as usize {
            break;
        }
        let (namespace, name, hostname) = &host;
        let first = xxh64(format!("{namespace}/{name}/{hostname}").as_bytes(), 0) % LAST;
        // A first guess by hash, then one after the other.
        let mut candidates = (0..LAST).map(|attempt| (first + attempt) % LAST + 1);
        if let Some(number) = candidates.find(|n| taken.insert(*n)) {
            given.insert(host, u16::try_from(number).unwrap_or(1));
        }
    }
    given
}

/// The addresses with this number.
pub(super) fn addresses(number: u16) -> [IpAddr; 2] {
    let [high, low] = number.to_be_bytes();
    [
        Ipv4Addr::new(240, 240, high, low).into(),
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, number).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        ("ns".into(), name.into(), "example.com".into())
    }

    #[test]
    fn addresses_depend_on_the_host_alone() {
        let alone = allocate([host("a")].into_iter());
        let among = allocate((0..500).map(|i| host(&format!("x{i}"))).chain([host("a")]));
        let distinct: HashSet<u16> = among.values().copied().collect();
        assert_eq!(distinct.len(), 501);
        // Not one of the 500 happens to want the same number.
        assert_eq!(alone[&host("a")], among[&host("a")]);
    }

    #[test]
    fn every_number_is_given_once_and_then_none() {
        let given = allocate((0..70_000).map(|i| host(&i.to_string())));
        let distinct: HashSet<u16> = given.values().copied().collect();
        assert_eq!((given.len(), distinct.len()), (0xfffe, 0xfffe));
        assert!(!distinct.contains(&0) && !distinct.contains(&0xffff));
    }

    #[test]
    fn both_families_are_in_their_ranges() {
        assert_eq!(
            addresses(0x0102),
            ["240.240.1.2".parse::<IpAddr>().unwrap(), "2001:2::102".parse().unwrap()]
        );
    }
}
