//! The listeners of a Gateway: which of them can be used, by which routes.

use ambit_model::{GatewayClass, GatewayRole, Str};
use ambit_proto::ambit as proto;
use ambit_tls::pem;

use super::statuses::Detached;
use super::{backends, hostnames};
use crate::index::{World, waypoints};
use crate::watch::kinds::{BackendRef, Gateway, Listener, ParentRef, Route};
use crate::watch::{Kind, Object};

/// A Gateway that is ours.
pub(super) struct Front<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) class: &'static GatewayClass,
    pub(super) listeners: Vec<Judged<'a>>,
}

/// A listener and what is to be said about it.
pub(super) struct Judged<'a> {
    pub(super) listener: &'a Listener,
    /// The routes that it takes.
    pub(super) kinds: Vec<Kind>,
    /// Why it cannot be used at all.
    pub(super) refused: Option<Flaw>,
    /// Why it cannot be told from another one.
    pub(super) conflict: Option<Flaw>,
    /// What is wrong with what it refers to.
    pub(super) unresolved: Option<Flaw>,
    pub(super) certificates: Vec<proto::Certificate>,
}

/// A reason of the specification's, and a sentence.
pub(super) type Flaw = (&'static str, String);

// === impl Front ===

impl<'a> Front<'a> {
    /// `gateway` with its listeners, if its class is ours: by the controller of its GatewayClass, or else by its name.
    pub(super) fn of(world: World<'a>, gateway: &'a Gateway) -> Option<Self> {
        let class = class(world, gateway)?;
        let listeners = gateway.listeners.iter();
        let judged = listeners.map(|listener| Judged::new(world, gateway, class, listener));
        Some(Self { gateway, class, listeners: judged.collect() })
    }

    /// The listeners, by number, that `route` is attached to by `parent`, and for which hosts.
    pub(super) fn attach(
        &self,
        world: World<'_>,
        route: &Route,
        parent: &ParentRef,
    ) -> Result<Vec<(usize, Vec<Str>)>, Detached> {
        let what = format!("Gateway {}/{}", parent.namespace, parent.name);
        let detached = |reason, message| Err(Detached { reason, message });
        let named = |judged: &Judged<'_>| {
            let Listener { name, port, .. } = judged.listener;
            (parent.section.is_empty() || parent.section == *name)
                && parent.port.is_none_or(|number| number == *port)
        };
        let mut found: Vec<(usize, &Judged<'_>)> =
            self.listeners.iter().enumerate().filter(|(_, judged)| named(judged)).collect();
        if found.is_empty() {
            return detached("NoMatchingParent", format!("{what} has no such listener"));
        }
        found.retain(|(_, judged)| judged.kinds.contains(&route.kind));
        if found.is_empty() {
            let message =
                format!("no listener of {what} takes objects of kind {}", route.kind.as_str());
            return detached("NotAllowedByListeners", message);
        }
        let namespace = &route.meta.namespace;
        found.retain(|(_, judged)| {
            waypoints::admits(world, self.gateway, &judged.listener.allowed, namespace)
        });
        if found.is_empty() {
            let message =
                format!("no listener of {what} allows namespace {namespace}; see allowedRoutes");
            return detached("NotAllowedByListeners", message);
        }
        let hosts = |judged: &Judged<'_>| match route.kind {
            Kind::TcpRoute => vec![Str::default()],
            _ => hostnames::common(&judged.listener.hostname, &route.hostnames),
        };
        let mut common: Vec<(usize, Vec<Str>)> =
            found.into_iter().map(|(i, judged)| (i, hosts(judged))).collect();
        common.retain(|(_, hosts)| !hosts.is_empty());
        if common.is_empty() {
            let message = format!("no listener of {what} is for any of the hosts");
            return detached("NoMatchingListenerHostname", message);
        }
        Ok(common)
    }
}

fn class(world: World<'_>, gateway: &Gateway) -> Option<&'static GatewayClass> {
    match world.inputs.gateway_class(&gateway.class) {
        Some(class) => {
            ambit_model::GATEWAY_CLASSES.iter().find(|known| *known.controller == *class.controller)
        }
        None => GatewayClass::named(&gateway.class),
    }
}

// === impl Judged ===

impl<'a> Judged<'a> {
    fn new(
        world: World<'_>,
        gateway: &Gateway,
        class: &GatewayClass,
        listener: &'a Listener,
    ) -> Self {
        let (refused, supported) = match protocol(class, listener) {
            Ok(kinds) => (None, kinds),
            Err(flaw) => (Some(flaw), &[][..]),
        };
        let (kinds, odd) = kinds(listener, supported);
        let (certificates, bad) = certificates(world, gateway, listener);
        Self {
            listener,
            kinds,
            refused,
            conflict: conflict(gateway, listener),
            unresolved: bad.or(odd),
            certificates,
        }
    }

    /// Whether connections can be taken.
    pub(super) fn is_usable(&self) -> bool {
        let ends_tls = self.protocol().is_some_and(|protocol| {
            matches!(
                protocol,
                proto::ListenerProtocol::Https | proto::ListenerProtocol::TlsTerminated
            )
        });
        self.refused.is_none()
            && self.conflict.is_none()
            && !(ends_tls && self.certificates.is_empty())
    }

    /// What a proxy does with its connections; nothing for those of waypoints.
    pub(super) fn protocol(&self) -> Option<proto::ListenerProtocol> {
        Some(match (&*self.listener.protocol, passes_through(self.listener)) {
            ("HTTP", _) => proto::ListenerProtocol::PlainHttp,
            ("HTTPS", _) => proto::ListenerProtocol::Https,
            ("TLS", true) => proto::ListenerProtocol::TlsPassthrough,
            ("TLS", false) => proto::ListenerProtocol::TlsTerminated,
            ("TCP", _) => proto::ListenerProtocol::PlainTcp,
            _ => return None,
        })
    }
}

fn passes_through(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.passthrough)
}

/// The kinds of routes that fit the protocol of a listener.
fn protocol(class: &GatewayClass, listener: &Listener) -> Result<&'static [Kind], Flaw> {
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
fn kinds(listener: &Listener, supported: &[Kind]) -> (Vec<Kind>, Option<Flaw>) {
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

/// Listeners of one port speak one protocol, HTTPS and TLS being alike, and have different hosts.
fn conflict(gateway: &Gateway, listener: &Listener) -> Option<Flaw> {
    let family = |listener: &Listener| match &*listener.protocol {
        "HTTPS" => "TLS".to_owned(),
        other => other.to_owned(),
    };
    let beside = gateway
        .listeners
        .iter()
        .filter(|other| !std::ptr::eq(*other, listener) && other.port == listener.port);
    let mut found = None;
    for other in beside {
        let name = &other.name;
        if family(other) != family(listener) {
            let message = format!("listener {name} of the same port speaks {}", other.protocol);
            return Some(("ProtocolConflict", message));
        }
        if other.hostname == listener.hostname || &*other.protocol == "TCP" {
            found =
                Some(("HostnameConflict", format!("listener {name} has the same port and host")));
        }
    }
    found
}

fn certificates(
    world: World<'_>,
    gateway: &Gateway,
    listener: &Listener,
) -> (Vec<proto::Certificate>, Option<Flaw>) {
    let Some(tls) = listener.tls.as_ref().filter(|tls| !tls.passthrough) else {
        return Default::default();
    };
    let (mut certificates, mut flaw) = (Vec::new(), None);
    for reference in &tls.certificates {
        match certificate(world, gateway, reference) {
            Ok(certificate) => certificates.push(certificate),
            Err(found) => flaw = flaw.or(Some(found)),
        }
    }
    if tls.certificates.is_empty() {
        flaw = Some(("InvalidCertificateRef", "tls.certificateRefs is missing".to_owned()));
    }
    (certificates, flaw)
}

fn certificate(
    world: World<'_>,
    gateway: &Gateway,
    reference: &BackendRef,
) -> Result<proto::Certificate, Flaw> {
    let BackendRef { kind, namespace, name, .. } = reference;
    let what = format!("{kind} {namespace}/{name}");
    let invalid = |message| Err(("InvalidCertificateRef", message));
    let Some(key) = reference.key().filter(|key| key.kind == Kind::Secret) else {
        return invalid(format!("{what}: certificates are in Secrets"));
    };
    if !backends::permitted(world, (Kind::Gateway, &gateway.meta.namespace), reference) {
        let message =
            format!("{what}: no ReferenceGrant in {namespace} lets this Gateway refer to it");
        return Err(("RefNotPermitted", message));
    }
    let Some(Object::Secret(secret)) = world.inputs.get(&key) else {
        return invalid(format!("there is no {what} of type kubernetes.io/tls that can be read"));
    };
    let checked = pem::certificates(&secret.chain).map(drop);
    if let Err(error) = checked.and_then(|()| pem::private_key(&secret.key).map(drop)) {
        return invalid(format!("{what}: {error}"));
    }
    Ok(proto::Certificate { chain: secret.chain.to_vec(), key: secret.key.to_vec() })
}
