//! Objects by what they are and whom they concern.

use std::collections::BTreeSet;
use std::sync::Arc;

use ambit_model::Str;

use super::{Inputs, hosts};
use crate::watch::kinds::{
    AuthorizationPolicy, BackendRef, BackendTlsPolicy, DestinationRule, EndpointSlice, Gateway,
    GatewayClass, ListenerSet, Namespace, PeerAuthentication, Phase, Pod, ReferenceGrant, Route,
    Service, ServiceEntry, VirtualService,
};
use crate::watch::{Key, Kind, Object};

impl Inputs {
    pub(crate) fn services(&self, namespace: &Str) -> impl Iterator<Item = &Arc<Service>> {
        self.in_namespace(Kind::Service, namespace).filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    }

    pub(crate) fn service_entries(
        &self,
        namespace: &Str,
    ) -> impl Iterator<Item = &Arc<ServiceEntry>> {
        self.in_namespace(Kind::ServiceEntry, namespace).filter_map(|object| match object {
            Object::ServiceEntry(entry) => Some(entry),
            _ => None,
        })
    }

    /// The routes that are attached to `parent`.
    pub(crate) fn routes_of(&self, parent: &Key) -> impl Iterator<Item = &Arc<Route>> {
        self.parents.to(parent).filter_map(|key| self.route(key))
    }

    /// The ListenerSets that are for a Gateway, the oldest first.
    pub(crate) fn listener_sets_of(&self, gateway: &Key) -> Vec<&Arc<ListenerSet>> {
        let sets = self.sets.to(gateway).filter_map(|key| self.listener_set(key));
        let mut sets: Vec<_> = sets.collect();
        sets.sort_by_cached_key(|set| set.meta.age());
        sets
    }

    pub(crate) fn listener_set(&self, key: &Key) -> Option<&Arc<ListenerSet>> {
        match self.get(key)? {
            Object::ListenerSet(set) => Some(set),
            _ => None,
        }
    }

    /// The BackendTLSPolicies for a service.
    pub(crate) fn tls_policies_of(
        &self,
        service: &Key,
    ) -> impl Iterator<Item = &Arc<BackendTlsPolicy>> {
        self.tls_targets.to(service).filter_map(|key| match self.get(key)? {
            Object::BackendTlsPolicy(policy) => Some(policy),
            _ => None,
        })
    }

    /// The EndpointSlices in which somebody has named a pod.
    pub(crate) fn slices_of(&self, pod: &Key) -> impl Iterator<Item = &EndpointSlice> {
        self.pods.to(pod).filter_map(|key| match self.get(key)? {
            Object::EndpointSlice(slice) => Some(&**slice),
            _ => None,
        })
    }

    /// The routes with backends of this group, kind, namespace and name.
    pub(crate) fn routes_to(&self, backend: &BackendRef) -> impl Iterator<Item = &Key> {
        self.backends.to(backend)
    }

    pub(crate) fn route(&self, key: &Key) -> Option<&Arc<Route>> {
        match self.get(key)? {
            Object::Route(route) => Some(route),
            _ => None,
        }
    }

    pub(crate) fn virtual_service(&self, key: &Key) -> Option<&Arc<VirtualService>> {
        match self.get(key)? {
            Object::VirtualService(service) => Some(service),
            _ => None,
        }
    }

    pub(crate) fn destination_rule(&self, key: &Key) -> Option<&Arc<DestinationRule>> {
        match self.get(key)? {
            Object::DestinationRule(rule) => Some(rule),
            _ => None,
        }
    }

    /// The services that the VirtualService `key` is for, by itself or as a delegate.
    pub(crate) fn served_by(&self, key: &Key) -> BTreeSet<Key> {
        let mut services = BTreeSet::new();
        for key in std::iter::once(key).chain(self.hosts.delegating(key)) {
            if let Some(service) = self.virtual_service(key) {
                self.with_hosts(&service.full_hosts(&self.domain), &mut services);
            }
        }
        services
    }

    /// The services with one of these hosts, which may be wildcards.
    pub(crate) fn with_hosts(&self, hosts: &[Str], services: &mut BTreeSet<Key>) {
        for host in hosts {
            let Some(suffix) = host.strip_prefix('*') else {
                services.extend(self.hosts.services(host).cloned());
                continue;
            };
            let all = self.of_kind(Kind::Service).chain(self.of_kind(Kind::ServiceEntry));
            let named = all.filter(|object| {
                hosts::hosts(Some(object), &self.domain).iter().any(|host| host.ends_with(suffix))
            });
            services.extend(named.map(Object::key));
        }
    }

    /// The hosts of a service.
    pub(crate) fn hosts_of(&self, object: &Object) -> Vec<Str> {
        hosts::hosts(Some(object), &self.domain)
    }

    /// Whether labels are asked for that were not before, or the other way round.
    pub(crate) fn labels_changed(&mut self) -> bool {
        std::mem::take(&mut self.labels_changed)
    }

    pub(crate) fn reference_grants(
        &self,
        namespace: &Str,
    ) -> impl Iterator<Item = &Arc<ReferenceGrant>> {
        self.in_namespace(Kind::ReferenceGrant, namespace).filter_map(|object| match object {
            Object::ReferenceGrant(grant) => Some(grant),
            _ => None,
        })
    }

    pub(crate) fn authorization_policies(
        &self,
        namespace: &Str,
    ) -> impl Iterator<Item = &Arc<AuthorizationPolicy>> {
        self.in_namespace(Kind::AuthorizationPolicy, namespace).filter_map(|object| match object {
            Object::AuthorizationPolicy(policy) => Some(policy),
            _ => None,
        })
    }

    pub(crate) fn peer_authentications(
        &self,
        namespace: &Str,
    ) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        self.in_namespace(Kind::PeerAuthentication, namespace).filter_map(|object| match object {
            Object::PeerAuthentication(policy) => Some(policy),
            _ => None,
        })
    }

    pub(crate) fn namespace(&self, name: &Str) -> Option<&Namespace> {
        match self.get(&Key::new(Kind::Namespace, "", name.clone()))? {
            Object::Namespace(namespace) => Some(namespace),
            _ => None,
        }
    }

    pub(crate) fn gateway(&self, namespace: &Str, name: &Str) -> Option<&Gateway> {
        match self.get(&Key::new(Kind::Gateway, namespace.clone(), name.clone()))? {
            Object::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    pub(crate) fn gateway_class(&self, name: &Str) -> Option<&GatewayClass> {
        match self.get(&Key::new(Kind::GatewayClass, "", name.clone()))? {
            Object::GatewayClass(class) => Some(class),
            _ => None,
        }
    }

    pub(crate) fn service(&self, namespace: &Str, name: &Str) -> Option<&Service> {
        match self.get(&Key::new(Kind::Service, namespace.clone(), name.clone()))? {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }
}

/// Whether the pod has addresses of its own.
pub(crate) fn is_addressable(pod: &Pod) -> bool {
    !pod.ips.is_empty() && matches!(pod.phase, Phase::Pending | Phase::Running)
}

/// The pods that an EndpointSlice names.
pub(crate) fn named_pods(object: &Object) -> Vec<Key> {
    let Object::EndpointSlice(slice) = object else { return Vec::new() };
    let key = |name: &Str| Key::new(Kind::Pod, slice.meta.namespace.clone(), name.clone());
    slice.pods.iter().map(key).collect()
}
