//! What a listener says that fits together, and whether it can be told from others. Pure.

use ambit_model::{GatewayClass, GatewayRole};

use super::listeners::Flaw;
use crate::watch::Kind;
use crate::watch::kinds::Listener;

/// Whether TLS does not end at a listener.
pub(super) fn passes_through(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.passthrough)
}

/// The kinds of routes that fit the protocol of a listener.
pub(super) fn protocol(class: &GatewayClass, listener: &Listener) -> Result<&'static [Kind], Flaw> {
    let name = &*listener.protocol;
    let flaw = |reason, message: String| Err((reason, message));
    let missing = || flaw("UnsupportedValue", format!("{name} needs tls"));
    match (class.role, name) {
        (GatewayRole::Waypoint, "HBONE") => Ok(&[]),
        (GatewayRole::Ingress, "HTTP") => Ok(&[Kind::HttpRoute, Kind::GrpcRoute]),
        (GatewayRole::Ingress, "HTTPS" | "TLS") if listener.tls.is_none() => missing(),
        (GatewayRole::Ingress, "HTTPS") if passes_through(listener) => {
            flaw("UnsupportedValue", "HTTPS ends here; use protocol TLS for Passthrough".to_owned())
        }
        (GatewayRole::Ingress, "HTTPS") => Ok(&[Kind::HttpRoute, Kind::GrpcRoute]),
        (GatewayRole::Ingress, "TLS") if passes_through(listener) => Ok(&[Kind::TlsRoute]),
        (GatewayRole::Ingress, "TLS") => Ok(&[Kind::TlsRoute, Kind::TcpRoute]),
        (GatewayRole::Ingress, "TCP") => Ok(&[Kind::TcpRoute]),
        _ => {
            let message = format!("proxies of class {} do not serve {name:?}", class.name);
            flaw("UnsupportedProtocol", message)
        }
    }
}

/// Those of the supported kinds that are allowed; and what is wrong with those that are asked for.
pub(super) fn kinds(listener: &Listener, supported: &[Kind]) -> (Vec<Kind>, Option<Flaw>) {
    if listener.kinds.is_empty() {
        return (supported.to_vec(), None);
    }
    let (mut kinds, mut flaw) = (Vec::new(), None);
    for (group, name) in &listener.kinds {
        match Kind::named(group, name).filter(|kind| supported.contains(kind)) {
            Some(kind) => kinds.push(kind),
            None => {
                let message =
                    format!("{name} is not a kind of route that {} has", listener.protocol);
                flaw = Some(("InvalidRouteKinds", message));
            }
        }
    }
    (kinds, flaw)
}

/// Listeners of one port speak one protocol, HTTPS and TLS being alike, and have different hosts. What others than the
/// owner may not know of these is not said.
pub(super) fn conflict<'a>(
    listener: &Listener,
    beside: impl Iterator<Item = &'a Listener>,
) -> Option<Flaw> {
    let family = |listener: &Listener| match &*listener.protocol {
        "HTTPS" => "TLS".to_owned(),
        other => other.to_owned(),
    };
    let mut found = None;
    for other in beside.filter(|other| other.port == listener.port) {
        if family(other) != family(listener) {
            let message = format!("a listener of the same port speaks {}", other.protocol);
            return Some(("ProtocolConflict", message));
        }
        if other.hostname == listener.hostname || &*other.protocol == "TCP" {
            found = Some(("HostnameConflict", "a listener has the same port and host".to_owned()));
        }
    }
    found
}
