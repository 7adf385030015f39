//! A workload as it is kept: what is its own, and references to what it shares.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{
    HealthStatus, Identity, NamespacedHostname, NetworkMode, Str, TunnelProtocol, Workload,
};

use crate::shape::{Place, Shape};

/// A workload in about 100 bytes of its own. [`Record::to_workload`] makes the full description of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The last segment of the uid.
    pub(crate) uid_tail: Box<str>,
    pub(crate) addresses: Addresses,
    pub(crate) capacity: u32,
    pub(crate) status: HealthStatus,
    pub(crate) shape: Arc<Shape>,
    pub(crate) place: Arc<Place>,
}

/// Nearly every workload has exactly one address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    One(IpAddr),
    Many(Box<[IpAddr]>),
}

// === impl Record ===

impl Record {
    /// The uid, cut after its last slash.
    pub(crate) fn uid_parts(&self) -> (&str, &str) {
        (&self.shape.uid_prefix, &self.uid_tail)
    }

    pub(crate) fn uid(&self) -> Str {
        let (prefix, tail) = self.uid_parts();
        [prefix, tail].concat().into()
    }

    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        let (prefix, tail) = self.uid_parts();
        uid.strip_prefix(prefix) == Some(tail)
    }

    pub(crate) fn name(&self) -> &str {
        self.shape.name().map_or(&self.uid_tail, |name| name)
    }

    pub(crate) fn addresses(&self) -> &[IpAddr] {
        match &self.addresses {
            Addresses::One(ip) => std::slice::from_ref(ip),
            Addresses::Many(ips) => ips,
        }
    }

    /// The addresses by which it is found: none where they are its node's.
    pub(crate) fn own_addresses(&self) -> &[IpAddr] {
        match self.shape.network_mode {
            NetworkMode::Standard => self.addresses(),
            NetworkMode::HostNetwork => &[],
        }
    }

    /// How it is named where it has a hostname.
    pub(crate) fn hostname_key(&self) -> Option<NamespacedHostname> {
        let hostname = self.shape.hostname()?;
        Some(NamespacedHostname::new(self.shape.namespace.clone(), hostname.clone()))
    }

    pub(crate) fn identity(&self) -> Identity {
        let Shape { trust_domain, namespace, service_account, .. } = &*self.shape;
        Identity::new(trust_domain.clone(), namespace.clone(), service_account.clone())
    }

    pub(crate) fn has_identity(&self, identity: &Identity) -> bool {
        let Shape { trust_domain, namespace, service_account, .. } = &*self.shape;
        *trust_domain == identity.trust_domain
            && *namespace == identity.namespace
            && *service_account == identity.service_account
    }

    /// How well it stands for an address that several claim: a pod in the mesh, a pod, in the mesh, anything.
    /// Nothing but a pod's owner decides on a pod's address, so pods are believed first (protocol facts 3.1).
    pub(crate) fn address_rank(&self) -> u8 {
        let pod = self.shape.uid_prefix.contains("//Pod/");
        let mesh = self.shape.protocol == TunnelProtocol::Hbone;
        2 * u8::from(pod) + u8::from(mesh)
    }

    /// The full description.
    pub(crate) fn to_workload(&self) -> Workload {
        Workload {
            uid: self.uid(),
            name: self.shape.name().cloned().unwrap_or_else(|| (*self.uid_tail).into()),
            workload_ips: self.addresses().to_vec(),
            node: self.place.node.clone(),
            locality: self.place.locality.clone(),
            status: self.status,
            capacity: self.capacity,
            ..self.shape.to_workload()
        }
    }
}
