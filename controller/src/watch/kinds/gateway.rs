//! `Gateway`.

mod tls;

use std::net::IpAddr;

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::meta::RawSelector;
use super::{Kind, Meta, Problem, Selector, network, part, ports};
use crate::watch::Key;

pub use tls::{ClientValidation, GatewayTls, ListenerTls};
use tls::{RawGatewayTls, RawTls};

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its metadata.
    pub meta: Meta,
    /// Its class.
    pub class: Str,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// TLS at all of its listeners, and with endpoints.
    pub tls: GatewayTls,
    /// The namespaces whose ListenerSets count, where anything is said about that.
    pub allowed_listeners: Option<AllowedRoutes>,
    /// What further fields of what is deployed are read from, as group and kind.
    pub parameters: Option<(Str, Str)>,
    /// Where it is found; nowhere while it is not ready.
    pub addresses: Vec<GatewayAddress>,
}

/// A listener of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: Str,
    /// The hosts that it is for, in lower case; all where empty.
    pub hostname: Str,
    /// The kinds of routes that may use it, as group and kind; all that its protocol has where empty.
    pub kinds: Vec<(Str, Str)>,
    /// How TLS ends at it, where it does.
    pub tls: Option<ListenerTls>,
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
    #[serde(default)]
    infrastructure: RawInfrastructure,
    #[serde(default)]
    tls: RawGatewayTls,
    allowed_listeners: Option<RawAllowedListeners>,
}

#[derive(Deserialize)]
struct RawAllowedListeners {
    namespaces: Option<RawNamespaces>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawInfrastructure {
    parameters_ref: Option<RawParameters>,
}

#[derive(Deserialize)]
struct RawParameters {
    #[serde(default)]
    group: Str,
    kind: Str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawListener {
    port: i64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    protocol: String,
    tls: Option<RawTls>,
    allowed_routes: Option<RawAllowed>,
}

#[derive(Deserialize)]
struct RawAllowed {
    namespaces: Option<RawNamespaces>,
    #[serde(default)]
    kinds: Vec<RawKind>,
}

#[derive(Deserialize)]
struct RawKind {
    group: Option<Str>,
    kind: Str,
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
    let listeners = spec.listeners.into_iter().enumerate().map(|raw| listener(&meta, raw));
    let addresses = status.addresses.into_iter().enumerate().map(address);
    Ok(Gateway {
        class: spec.gateway_class_name.into(),
        listeners: listeners.collect::<Result<_, _>>()?,
        parameters: spec.infrastructure.parameters_ref.map(|raw| (raw.group, raw.kind)),
        addresses: addresses.collect::<Result<_, _>>()?,
        tls: tls::of_gateway(&meta, spec.tls).map_err(|problem| problem.within("spec.tls"))?,
        allowed_listeners: spec.allowed_listeners.map(sets).transpose()?,
        meta,
    })
}

fn sets(raw: RawAllowedListeners) -> Result<AllowedRoutes, Problem> {
    let said = raw.namespaces.filter(|namespaces| namespaces.from.is_some());
    let Some(said) = said else { return Ok(AllowedRoutes::None) };
    allowed("namespaces", Some(said)).map_err(|problem| problem.within("spec.allowedListeners"))
}

pub(super) fn listener(meta: &Meta, (i, raw): (usize, RawListener)) -> Result<Listener, Problem> {
    if !raw.hostname.is_empty() {
        network::hostname(&format!("spec.listeners[{i}].hostname"), &raw.hostname)?;
    }
    let (namespaces, kinds) =
        raw.allowed_routes.map(|a| (a.namespaces, a.kinds)).unwrap_or_default();
    let group = |group: Option<Str>| group.unwrap_or_else(|| Kind::Gateway.group().into());
    let port = ports::port(&format!("spec.listeners[{i}].port"), raw.port)?;
    let within = |problem: Problem| problem.within(&format!("spec.listeners[{i}]"));
    Ok(Listener {
        name: raw.name.into(),
        hostname: raw.hostname.to_ascii_lowercase().into(),
        kinds: kinds.into_iter().map(|raw| (group(raw.group), raw.kind)).collect(),
        tls: raw.tls.map(|raw| tls::of_listener(meta, raw)).transpose().map_err(within)?,
        port,
        protocol: raw.protocol.into(),
        allowed: allowed("allowedRoutes.namespaces", namespaces).map_err(within)?,
    })
}

fn allowed(field: &str, namespaces: Option<RawNamespaces>) -> Result<AllowedRoutes, Problem> {
    Ok(match namespaces {
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
    })
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

// === impl Gateway ===

impl Gateway {
    /// What it is found by.
    pub fn key(&self) -> Key {
        let Meta { namespace, name, .. } = &self.meta;
        Key::new(Kind::Gateway, namespace.clone(), name.clone())
    }
}
