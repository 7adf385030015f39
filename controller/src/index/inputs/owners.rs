//! What only one object can have: addresses and hostnames.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ambit_model::Str;

use super::is_addressable;
use crate::index::claims::Claims;
use crate::watch::kinds::Pod;
use crate::watch::{Key, Kind, Meta, Object};

/// How claims are ranked: what loses is greater.
type Rank = (u8, i64);

/// Who has what.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Addresses of pods, on their networks: the newest has it, for addresses are reused.
    pub(super) pod_ips: Claims<(Str, IpAddr), Rank>,
    /// Cluster addresses of services: the oldest has it.
    pub(super) cluster_ips: Claims<IpAddr, Rank>,
    /// Hostnames within a namespace: a Service has it, else the oldest ServiceEntry.
    pub(super) names: Claims<(Str, Str), Rank>,
    /// Hostnames in the mesh: whose is the canonical one, by the same rule among those that all may see.
    pub(super) hosts: Claims<Str, Rank>,
}

// === impl Owners ===

impl Owners {
    /// Says what `object` wants from now on. Returns the objects for which the outcome may have changed.
    pub(super) fn claim(
        &mut self,
        key: &Key,
        object: Option<&Object>,
        domain: &str,
    ) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        match key.kind {
            Kind::Pod => {
                let (rank, ips) = match object {
                    Some(Object::Pod(pod)) => pod_claim(pod),
                    _ => Default::default(),
                };
                touched.extend(self.pod_ips.set(key, rank, ips));
            }
            Kind::Service | Kind::ServiceEntry => {
                let (rank, hosts, private, ips) = match object {
                    Some(Object::Service(s)) if !s.external_name => {
                        let rank = (0, s.meta.created.unwrap_or(i64::MAX));
                        (rank, vec![hostname(&s.meta, domain)], false, s.cluster_ips.clone())
                    }
                    Some(Object::ServiceEntry(e)) => {
                        let rank = (1, e.meta.created.unwrap_or(i64::MAX));
                        (rank, e.hosts.clone(), e.private, Vec::new())
                    }
                    _ => Default::default(),
                };
                let local = hosts.iter().map(|host| (key.namespace.clone(), host.clone()));
                touched.extend(self.names.set(key, rank, local.collect()));
                let public = if private { Vec::new() } else { hosts };
                touched.extend(self.hosts.set(key, rank, public));
                touched.extend(self.cluster_ips.set(key, rank, ips));
            }
            _ => {}
        }
        touched
    }
}

/// The hostname of a Service of Kubernetes.
pub(super) fn hostname(service: &Meta, domain: &str) -> Str {
    format!("{}.{}.svc.{domain}", service.name, service.namespace).into()
}

/// A pod that is going loses its address to one that stays, an older one to a newer one.
fn pod_claim(pod: &Pod) -> (Rank, Vec<(Str, IpAddr)>) {
    if pod.host_network || !is_addressable(pod) {
        return Default::default();
    }
    let newest_first = pod.meta.created.map_or(i64::MAX, |created| created.saturating_neg());
    let network = pod.meta.label("topology.istio.io/network").cloned().unwrap_or_default();
    let ips = pod.ips.iter().map(|ip| (network.clone(), *ip)).collect();
    ((u8::from(pod.meta.deleting), newest_first), ips)
}
