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

pub(super) fn compile(message: proto::Route, to: &Destinations) -> Result<Route, Invalid> {
    if let Some(unknown) =
        message.required_features.iter().find(|feature| !FEATURES.contains(&feature.as_str()))
    {
        return Err(Invalid::Feature(unknown.clone()));
    }
    let Some(Target::Service(service)) = message.target else {
        return Err(Invalid::Missing("the service"));
    };
    let service: NamespacedHostname =
        service.parse().map_err(|_| Invalid::Service(service.clone()))?;
    let mut ports = HashMap::new();
    for port in message.ports {
        let protocol = proto::Protocol::try_from(port.protocol).unwrap_or_default();
        let port = number(port.port)?;
        let default = to.get(service.clone(), port, Str::default(), Labels::default(), protocol);
        ports.insert(port, Port { protocol, default, consumers: Vec::new(), everybody: None });
    }
    for table in message.tables {
        let port = number(table.port)?;
        let consumer: Str = table.consumer_namespace.as_str().into();
        let table = Table::compile(table, to)?;
        let of = ports.get_mut(&port).ok_or(Invalid::Port(port.into()))?;
        if consumer.is_empty() {
            of.everybody = Some(table);
        } else {
            of.consumers.push((consumer, table));
        }
    }
    Ok(Route { ports })
}

fn number(port: u32) -> Result<u16, Invalid> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or(Invalid::Port(port))
}

// === impl Route ===

impl Route {
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
