//! Services that share a name or an address, and which of them a client means.

use std::sync::Arc;

use ambit_model::Service;
use imbl::OrdMap;

use crate::few::Few;

/// Some services, ordered by namespace and hostname. Rarely more than one.
pub(crate) type Group = Few<Service>;

/// For whom a service is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewpoint<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) preferred_namespace: Option<&'a str>,
}

impl<'a> Viewpoint<'a> {
    pub(crate) fn of(namespace: &'a str) -> Self {
        Self { namespace, preferred_namespace: None }
    }
}

/// Of visible services: one of the client's own namespace, then a canonical one, then one of the preferred namespace,
/// then the first.
pub(crate) fn best<'a>(
    services: &'a [Arc<Service>],
    from: Viewpoint<'_>,
) -> Option<&'a Arc<Service>> {
    let visible = services.iter().filter(|service| service.visible_to(from.namespace));
    visible.min_by_key(|service| {
        let own = &*service.namespace == from.namespace;
        let preferred = from.preferred_namespace == Some(&*service.namespace);
        (!own, !service.canonical, !preferred)
    })
}

/// Adds `service` to the group at `key`.
pub(crate) fn join<K: Ord + Clone>(groups: &mut OrdMap<K, Group>, key: K, service: &Arc<Service>) {
    let group = match groups.get(&key) {
        None => Few::One(service.clone()),
        Some(others) => others.with(service.clone(), |a, b| {
            (&a.namespace, &a.hostname).cmp(&(&b.namespace, &b.hostname))
        }),
    };
    groups.insert(key, group);
}

/// Removes `service` from the group at `key`, and the group with its last service.
pub(crate) fn leave<K: Ord + Clone>(
    groups: &mut OrdMap<K, Group>,
    key: &K,
    service: &Arc<Service>,
) {
    let Some(group) = groups.get(key) else { return };
    match group.only(|other| !Arc::ptr_eq(other, service)) {
        Some(rest) => groups.insert(key.clone(), rest),
        None => groups.remove(key),
    };
}
