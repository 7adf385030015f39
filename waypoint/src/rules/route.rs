//! What is done for one service.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str};
use ambit_proto::ambit as proto;
use proto::route::Target;

use super::{Caller, Invalid, Labels, Table};
use crate::destination::{Destination, Destinations};

/// What this version understands beyond the first.
const FEATURES: [&str; 0] = [];

/// What is done for one service, by port.
#[derive(Debug)]
pub(crate) struct Route {
    ports: HashMap<u16, Port>,
}

/// What is done for one port of a service.
#[derive(Debug)]
pub(crate) struct Port {
    pub protocol: proto::Protocol,
    /// The service itself, where no rule leads elsewhere.
    pub default: Arc<Destination>,
    /// By the callers' namespace.
    consumers: Vec<(Str, Table)>,
    everybody: Option<Table>,
}

/// A Route, by what it is for.
pub(super) enum Compiled {
    Service(NamespacedHostname, Route),
    /// A listener's host.
    Host(Str, Str, Arc<Table>),
}

pub(super) fn compile(message: proto::Route, to: &Destinations) -> Result<Compiled, Invalid> {
    let known = |feature: &&String| !FEATURES.contains(&feature.as_str());
    if let Some(unknown) = message.required_features.iter().find(known) {
        return Err(Invalid::Feature(unknown.clone()));
    }
    match message.target {
        Some(Target::Service(service)) => {
            let service: NamespacedHostname =
                service.parse().map_err(|_| Invalid::Service(service.clone()))?;
            let route = Route::compile(&service, message.ports, message.tables, to)?;
            Ok(Compiled::Service(service, route))
        }
        Some(Target::Listener(of)) => {
            let table = message.tables.into_iter().next().unwrap_or_default();
            let table = Table::compile(table, &to.through_waypoints())?;
            Ok(Compiled::Host(of.listener.into(), of.hostname.into(), Arc::new(table)))
        }
        None => Err(Invalid::Missing("what the route is for")),
    }
}

fn number(port: u32) -> Result<u16, Invalid> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or(Invalid::Port(port))
}

// === impl Route ===

impl Route {
    fn compile(
        service: &NamespacedHostname,
        messages: Vec<proto::Port>,
        tables: Vec<proto::Table>,
        to: &Destinations,
    ) -> Result<Self, Invalid> {
        let mut ports = HashMap::new();
        for message in messages {
            let protocol = message.protocol();
            let port = number(message.port)?;
            let (subset, labels) = (Str::default(), Labels::default());
            let default = to.get(service.clone(), port, subset, labels, protocol);
            ports.insert(port, Port { protocol, default, consumers: Vec::new(), everybody: None });
        }
        for message in tables {
            let port = number(message.port)?;
            let consumer: Str = message.consumer_namespace.as_str().into();
            let table = Table::compile(message, to)?;
            let of = ports.get_mut(&port).ok_or(Invalid::Port(port.into()))?;
            if consumer.is_empty() {
                of.everybody = Some(table);
            } else {
                of.consumers.push((consumer, table));
            }
        }
        Ok(Self { ports })
    }

    pub(crate) fn port(&self, port: u16) -> Option<&Port> {
        self.ports.get(&port)
    }
}

// === impl Port ===

impl Port {
    /// The rules for what `caller` sends.
    pub(crate) fn table(&self, caller: &Caller) -> Option<&Table> {
        let own = caller.namespace.as_ref().and_then(|namespace| {
            self.consumers.iter().find(|(consumer, _)| consumer == namespace)
        });
        own.map(|(_, table)| table).or(self.everybody.as_ref())
    }
}
