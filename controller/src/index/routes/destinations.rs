//! Services that traffic can be sent to: those of Kubernetes and those of ServiceEntries.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ambit_model::{NamespacedHostname, Str};
use ambit_proto::ambit as proto;
use ambit_proto::workload::AppProtocol;

use crate::index::waypoints;
use crate::index::{World, services};
use crate::watch::kinds::{BackendRef, ParentRef};
use crate::watch::{Key, Kind, Object};

/// A service.
pub(super) struct Destination {
    pub(super) key: Key,
    /// Its hosts that no other object has; at least one.
    pub(super) hosts: Vec<NamespacedHostname>,
    pub(super) ports: Vec<Port>,
}

/// Destinations that were looked up already: the rules of a gateway refer to few, thousands of times.
#[derive(Default)]
pub(in crate::index) struct Found(RefCell<HashMap<BackendRef, Lookup>>);

type Lookup = Result<Option<Rc<Destination>>, InvalidKind>;

/// A reference is to a kind of object that nothing can be sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct InvalidKind;

/// A port of a service.
pub(super) struct Port {
    pub(super) name: Str,
    pub(super) number: u16,
    pub(super) protocol: proto::Protocol,
}

// === impl Destination ===

impl Destination {
    /// `object` as a service, if it is one that traffic can be sent to.
    pub(super) fn of(world: World<'_>, object: &Object) -> Option<Self> {
        let (hosts, ports) = match object {
            Object::Service(service) if !service.external_name => {
                let hostname = world.inputs.hostname(&service.meta);
                let host = NamespacedHostname::new(service.meta.namespace.clone(), hostname);
                let ports = service.ports.iter().map(|p| (&p.name, p.port, p.app_protocol));
                (vec![host], ports.map(Port::new).collect())
            }
            Object::ServiceEntry(entry) => {
                let ports = entry.ports.iter().map(|p| (&p.name, p.number, p.app_protocol));
                (services::hosts(world, entry).collect(), ports.map(Port::new).collect())
            }
            _ => return None,
        };
        let hosts: Vec<NamespacedHostname> = hosts;
        (!hosts.is_empty()).then(|| Self { key: object.key(), hosts, ports })
    }

    /// What `reference` names, if it is there. `Err` where it is of a kind that nothing can be sent to.
    pub(super) fn find(world: World<'_>, reference: &BackendRef) -> Lookup {
        if let Some(known) = world.found.0.borrow().get(reference) {
            return known.clone();
        }
        let found = Self::look_up(world, reference).map(|found| found.map(Rc::new));
        world.found.0.borrow_mut().insert(reference.clone(), found.clone());
        found
    }

    fn look_up(world: World<'_>, reference: &BackendRef) -> Result<Option<Self>, InvalidKind> {
        let key = match reference.key() {
            _ if reference.is_host() => owner(world, reference).cloned(),
            Some(key) if matches!(key.kind, Kind::Service | Kind::ServiceEntry) => Some(key),
            _ => return Err(InvalidKind),
        };
        let object = key.as_ref().and_then(|key| world.inputs.get(key));
        let found = object.and_then(|object| Self::of(world, object));
        Ok(found.map(|destination| destination.only(reference)))
    }

    /// Of several hosts the one that is named.
    fn only(mut self, reference: &BackendRef) -> Self {
        if reference.is_host() {
            self.hosts.retain(|host| host.hostname == reference.name);
        }
        self
    }

    /// The Gateways whose waypoints stand in front of it.
    pub(super) fn waypoints(&self, world: World<'_>, object: &Object) -> Vec<Key> {
        match object {
            Object::Service(service) => waypoints::bind_service(world, &service.meta).gateways,
            Object::ServiceEntry(entry) => waypoints::bind_entry(world, entry).gateways,
            _ => Vec::new(),
        }
    }

    pub(super) fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// The object with a host, as the namespace that refers to it sees it.
fn owner<'a>(world: World<'a>, reference: &BackendRef) -> Option<&'a Key> {
    let own = world.inputs.owner_of(&reference.namespace, &reference.name);
    own.or_else(|| world.inputs.canonical(&reference.name))
}

// === impl Port ===

impl Port {
    fn new((name, number, protocol): (&Str, u16, AppProtocol)) -> Self {
        let protocol = match protocol {
            AppProtocol::Unknown => proto::Protocol::Detect,
            AppProtocol::Http11 => proto::Protocol::Http1,
            AppProtocol::Http2 => proto::Protocol::Http2,
            AppProtocol::Grpc => proto::Protocol::Grpc,
            AppProtocol::Tcp => proto::Protocol::Tcp,
            AppProtocol::Tls => proto::Protocol::Tls,
        };
        Self { name: name.clone(), number, protocol }
    }

    /// Whether a parent is this port, as far as it names any.
    pub(super) fn is_named(&self, parent: &ParentRef) -> bool {
        parent.port.is_none_or(|number| number == self.number)
            && (parent.section.is_empty() || parent.section == self.name)
    }

    /// Whether requests can be told apart on it.
    pub(super) fn is_http(&self) -> bool {
        !matches!(self.protocol, proto::Protocol::Tcp | proto::Protocol::Tls)
    }
}

impl From<&Port> for proto::Port {
    fn from(port: &Port) -> Self {
        Self { port: port.number.into(), protocol: port.protocol.into() }
    }
}
