//! TLS of a Gateway: how it ends at listeners, who may come, and what endpoints are shown.

use std::collections::BTreeMap;

use ambit_model::Str;
use serde::Deserialize;

use super::super::{BackendRef, Kind, Meta, Problem, ports};

/// TLS at all listeners of a Gateway, and with endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayTls {
    /// Which clients may come over HTTPS; all where absent.
    pub clients: Option<ClientValidation>,
    /// The same for ports of which it is said.
    pub clients_of_ports: BTreeMap<u16, Option<ClientValidation>>,
    /// What endpoints are shown that TLS is spoken with.
    pub certificate: Option<BackendRef>,
}

/// Whose certificates clients have to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientValidation {
    /// The authorities.
    pub authorities: Vec<BackendRef>,
    /// Whether clients without a valid one are served as well.
    pub optional: bool,
}

/// How TLS ends at a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    /// It does not: connections are passed on as they are.
    pub passthrough: bool,
    /// The certificates of its hosts.
    pub certificates: Vec<BackendRef>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawGatewayTls {
    frontend: RawFrontend,
    backend: RawBackend,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawFrontend {
    default: RawConfig,
    per_port: Vec<RawPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawBackend {
    client_certificate_ref: Option<RawReference>,
}

#[derive(Deserialize)]
struct RawPort {
    port: i64,
    #[serde(default)]
    tls: RawConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawConfig {
    validation: Option<RawValidation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawValidation {
    #[serde(default)]
    ca_certificate_refs: Vec<RawReference>,
    mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawTls {
    mode: Option<String>,
    certificate_refs: Vec<RawReference>,
}

#[derive(Deserialize)]
struct RawReference {
    group: Option<Str>,
    kind: Option<Str>,
    namespace: Option<Str>,
    name: Str,
}

/// What a Gateway says of all its listeners, and of endpoints.
pub(super) fn of_gateway(meta: &Meta, raw: RawGatewayTls) -> Result<GatewayTls, Problem> {
    let RawFrontend { default, per_port } = raw.frontend;
    let mut clients_of_ports = BTreeMap::new();
    for (i, raw) in per_port.into_iter().enumerate() {
        let within = |problem: Problem| problem.within(&format!("frontend.perPort[{i}]"));
        let port = ports::port("port", raw.port).map_err(within)?;
        let clients = clients(meta, raw.tls).map_err(|p| within(p.within("tls")))?;
        clients_of_ports.insert(port, clients);
    }
    Ok(GatewayTls {
        clients: clients(meta, default).map_err(|p| p.within("frontend.default"))?,
        clients_of_ports,
        certificate: raw.backend.client_certificate_ref.map(|raw| raw.of(meta)),
    })
}

fn clients(meta: &Meta, raw: RawConfig) -> Result<Option<ClientValidation>, Problem> {
    let Some(raw) = raw.validation else { return Ok(None) };
    let optional = match raw.mode.as_deref() {
        None | Some("AllowValidOnly") => false,
        Some("AllowInsecureFallback") => true,
        Some(other) => {
            let message = format!("{other:?} is neither AllowValidOnly nor AllowInsecureFallback");
            return Err(Problem::new("validation.mode", message));
        }
    };
    let authorities = raw.ca_certificate_refs.into_iter().map(|raw| raw.of(meta)).collect();
    Ok(Some(ClientValidation { authorities, optional }))
}

/// What a listener says of itself.
pub(super) fn of_listener(meta: &Meta, raw: RawTls) -> Result<ListenerTls, Problem> {
    let passthrough = match raw.mode.as_deref() {
        None | Some("Terminate") => false,
        Some("Passthrough") => true,
        Some(other) => {
            let message = format!("{other:?} is neither Terminate nor Passthrough");
            return Err(Problem::new("tls.mode", message));
        }
    };
    let certificates = raw.certificate_refs.into_iter().map(|raw| raw.of(meta));
    Ok(ListenerTls { passthrough, certificates: certificates.collect() })
}

// === impl RawReference ===

impl RawReference {
    /// The object, a Secret of the namespace of `meta` where nothing else is said.
    fn of(self, meta: &Meta) -> BackendRef {
        BackendRef {
            group: self.group.unwrap_or_default(),
            kind: self.kind.unwrap_or_else(|| Kind::Secret.as_str().into()),
            namespace: self.namespace.unwrap_or_else(|| meta.namespace.clone()),
            name: self.name,
            port: None,
        }
    }
}

// === impl GatewayTls ===

impl GatewayTls {
    /// Which clients may come to HTTPS on a port.
    pub fn clients_of(&self, port: u16) -> Option<&ClientValidation> {
        self.clients_of_ports.get(&port).unwrap_or(&self.clients).as_ref()
    }

    /// All that is said of clients.
    pub fn validations(&self) -> impl Iterator<Item = &ClientValidation> {
        self.clients_of_ports.values().chain([&self.clients]).flatten()
    }
}
