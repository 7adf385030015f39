//! `Gateway`, as far as waypoints need it.

use std::net::IpAddr;

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::meta::RawSelector;
use super::{Meta, Problem, Selector, network, part, ports};

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its metadata.
    pub meta: Meta,
    /// Its class.
    pub class: Str,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Where it is found; nowhere while it is not ready.
    pub addresses: Vec<GatewayAddress>,
}

/// A listener of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    /// `HBONE`, `HTTP`, …
    pub protocol: Str,
    /// The namespaces whose objects may use it.
    pub allowed: AllowedRoutes,
}

/// The namespaces whose objects may use a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedRoutes {
    /// The gateway's own.
    #[default]
    Same,
    /// All.
    All,
    /// None.
    None,
    /// Those with certain labels.
    Selector(Selector),
}

/// An address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayAddress {
    /// A service's name.
    Hostname(Str),
    /// An address.
    Ip(IpAddr),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    gateway_class_name: String,
    #[serde(default)]
    listeners: Vec<RawListener>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawListener {
    port: i64,
    #[serde(default)]
    protocol: String,
    allowed_routes: Option<RawAllowed>,
}

#[derive(Deserialize)]
struct RawAllowed {
    namespaces: Option<RawNamespaces>,
}

#[derive(Deserialize)]
struct RawNamespaces {
    from: Option<String>,
    selector: Option<RawSelector>,
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    addresses: Vec<RawAddress>,
}

#[derive(Deserialize)]
struct RawAddress {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: String,
}

pub(super) fn trim(meta: Meta, value: &Value) -> Result<Gateway, Problem> {
    let spec: RawSpec = part(value, "spec")?;
    let status: RawStatus = part(value, "status")?;
    let listeners = spec.listeners.into_iter().enumerate().map(listener);
    let addresses = status.addresses.into_iter().enumerate().map(address);
    Ok(Gateway {
        class: spec.gateway_class_name.into(),
        listeners: listeners.collect::<Result<_, _>>()?,
        addresses: addresses.collect::<Result<_, _>>()?,
        meta,
    })
}

fn listener((i, raw): (usize, RawListener)) -> Result<Listener, Problem> {
    let field = format!("spec.listeners[{i}].allowedRoutes.namespaces");
    let namespaces = raw.allowed_routes.and_then(|a| a.namespaces);
    let allowed = match namespaces {
        None => AllowedRoutes::Same,
        Some(namespaces) => match (namespaces.from.as_deref(), namespaces.selector) {
            (None | Some("Same"), _) => AllowedRoutes::Same,
            (Some("All"), _) => AllowedRoutes::All,
            (Some("None"), _) => AllowedRoutes::None,
            (Some("Selector"), Some(selector)) => AllowedRoutes::Selector(selector.into()),
            (Some("Selector"), None) => {
                return Err(Problem::new(format!("{field}.selector"), "is missing"));
            }
            (Some(other), _) => {
                let message = format!("{other:?} is none of Same, All, Selector, None");
                return Err(Problem::new(format!("{field}.from"), message));
            }
        },
    };
    let port = ports::port(&format!("spec.listeners[{i}].port"), raw.port)?;
    Ok(Listener { port, protocol: raw.protocol.into(), allowed })
}

fn address((i, raw): (usize, RawAddress)) -> Result<GatewayAddress, Problem> {
    let field = format!("status.addresses[{i}].value");
    if raw.kind.as_deref() == Some("Hostname") {
        network::hostname(&field, &raw.value)?;
        Ok(GatewayAddress::Hostname(raw.value.into()))
    } else {
        network::unicast(&field, &raw.value).map(GatewayAddress::Ip)
    }
}
