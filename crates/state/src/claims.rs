//! Which workloads claim which addresses of one network.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::few::Few;
use crate::record::Record;

/// Workloads by address; of those with the same address, best first. The families are kept apart to keep keys small.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    v4: OrdMap<[u8; 4], Few<Record>>,
    v6: OrdMap<[u8; 16], Few<Record>>,
}

// === impl Claims ===

impl Claims {
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The best claimant of an address.
    pub(crate) fn best(&self, ip: IpAddr) -> Option<&Arc<Record>> {
        let claimants = match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.get(&ip.octets()),
            IpAddr::V6(ip) => self.v6.get(&ip.octets()),
        };
        claimants?.as_slice().first()
    }

    pub(crate) fn insert(&mut self, record: &Arc<Record>) {
        for ip in distinct(record.own_addresses()) {
            match ip {
                IpAddr::V4(ip) => claim(&mut self.v4, ip.octets(), record),
                IpAddr::V6(ip) => claim(&mut self.v6, ip.octets(), record),
            }
        }
    }

    pub(crate) fn remove(&mut self, record: &Arc<Record>) {
        for ip in distinct(record.own_addresses()) {
            match ip {
                IpAddr::V4(ip) => disclaim(&mut self.v4, ip.octets(), record),
                IpAddr::V6(ip) => disclaim(&mut self.v6, ip.octets(), record),
            }
        }
    }
}

fn claim<K: Ord + Copy>(claims: &mut OrdMap<K, Few<Record>>, key: K, record: &Arc<Record>) {
    let claimants = match claims.get(&key) {
        None => Few::One(record.clone()),
        Some(others) => others.with(record.clone(), best_first),
    };
    claims.insert(key, claimants);
}

fn disclaim<K: Ord + Copy>(claims: &mut OrdMap<K, Few<Record>>, key: K, record: &Arc<Record>) {
    let Some(claimants) = claims.get(&key) else {
        return;
    };
    match claimants.only(|other| !Arc::ptr_eq(other, record)) {
        Some(rest) => claims.insert(key, rest),
        None => claims.remove(&key),
    };
}

fn best_first(a: &Record, b: &Record) -> Ordering {
    let by_rank = b.address_rank().cmp(&a.address_rank());
    by_rank.then_with(|| a.uid_parts().cmp(&b.uid_parts()))
}

/// Each address once, also where one is written in both of its forms.
fn distinct(ips: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let canonical = ips.iter().map(IpAddr::to_canonical).enumerate();
    let earlier = |i: usize, ip: IpAddr| ips.iter().take(i).any(|o| o.to_canonical() == ip);
    canonical.filter(move |(i, ip)| !earlier(*i, *ip)).map(|(_, ip)| ip)
}
