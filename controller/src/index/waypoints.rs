//! Which waypoint stands in front of a service or a workload.

mod refusal;

use ambit_model::{
    GatewayAddress, GatewayDestination, NamespacedHostname, NetworkAddress, Str, WeightedWaypoint,
};

use super::World;
use crate::watch::kinds::{self, AllowedRoutes, Gateway, ServiceEntry};
use crate::watch::{Key, Kind, Meta};

pub(super) use refusal::{Reason, Refusal};

/// The port of waypoints that do not say otherwise.
const HBONE_PORT: u16 = 15008;

/// What kind of traffic asks for a waypoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// To a service.
    Service,
    /// To a workload's own address.
    Workload,
}

/// The waypoints of a service or a workload.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Bound {
    /// The waypoint.
    pub(super) waypoint: Option<GatewayAddress>,
    /// The waypoint and its canary, with their shares, where there is a canary.
    pub(super) weighted: Vec<WeightedWaypoint>,
    /// The Gateways of `waypoint` and `weighted`.
    pub(super) gateways: Vec<Key>,
    /// Why there is none although one is asked for, or no canary.
    pub(super) refused: Option<Refusal>,
}

/// A reference to a Gateway.
struct Reference<'a> {
    namespace: Str,
    name: Str,
    /// The object that refers to it.
    by: &'a Meta,
    /// Whether that is the namespace.
    inherited: bool,
}

/// Managers whose services are waypoints and gateways themselves.
const GATEWAYS: [&str; 3] =
    ["istio.io-mesh-controller", "istio.io-eastwest-controller", "ambit.dev-mesh-controller"];
const USE: [&str; 2] = ["istio.io/use-waypoint", "istio.io/use-waypoint-namespace"];
const CANARY: [&str; 2] =
    ["istio.io/use-waypoint-canary", "istio.io/use-waypoint-canary-namespace"];
/// On whoever names a waypoint: traffic passes without it as long as it is not ready. Ambit only.
const FAIL_OPEN: &str = "ambit.dev/waypoint-fail-open";
const CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";

/// The waypoints in front of the object with `meta`. One that is asked for and cannot be used is a problem, never
/// replaced by the namespace's.
pub(super) fn bind(world: World<'_>, meta: &Meta, traffic: Traffic) -> Bound {
    let mut bound = Bound::default();
    let Some(primary) = reference(world, meta, USE) else { return bound };
    let gateway = match resolve(world, meta, &primary, traffic) {
        Ok(Some(gateway)) => gateway,
        Ok(None) => return bound,
        Err(refusal) => {
            if refusal.reason == Reason::WaypointIsNotReady && !fails_open(world, &primary) {
                bound.waypoint = Some(absent(world, &primary));
                // Its proxies know what they are for before anybody is sent to them.
                let exists = world.inputs.gateway(&primary.namespace, &primary.name).is_some();
                bound.gateways.extend(exists.then(|| primary.key()));
            }
            bound.refused = Some(refusal);
            return bound;
        }
    };
    bound.gateways.push(primary.key());
    if traffic == Traffic::Service {
        match canary(world, meta, &primary) {
            Ok(None) => {}
            Ok(Some((reference, canary, weight))) => {
                bound.gateways.push(reference.key());
                bound.weighted = vec![
                    WeightedWaypoint { destination: gateway.clone(), weight: 100 - weight },
                    WeightedWaypoint { destination: canary, weight },
                ];
            }
            Err(refusal) => bound.refused = Some(refusal),
        }
    }
    bound.waypoint = Some(gateway);
    bound
}

/// The waypoints in front of a Service of Kubernetes, unless it is one itself.
pub(super) fn bind_service(world: World<'_>, meta: &Meta) -> Bound {
    match meta.label("gateway.istio.io/managed") {
        Some(by) if GATEWAYS.contains(&&**by) => Bound::default(),
        _ => bind(world, meta, Traffic::Service),
    }
}

/// The waypoints in front of a ServiceEntry. One that only its own namespace sees cannot stand behind the waypoint of
/// another.
pub(super) fn bind_entry(world: World<'_>, entry: &ServiceEntry) -> Bound {
    let bound = bind(world, &entry.meta, Traffic::Service);
    let elsewhere = bound.gateways.iter().find(|gateway| gateway.namespace != entry.meta.namespace);
    let Some(gateway) = elsewhere.filter(|_| entry.private) else { return bound };
    let message =
        format!("{gateway} is of another namespace, which exportTo keeps from seeing this entry");
    let reason = Reason::CrossNamespaceWaypointForbidden;
    Bound { refused: Some(Refusal::new(reason, USE[0], message)), ..Bound::default() }
}

/// Whether `meta` or its namespace refers to the Gateway `key`, or is one of its pods.
pub(super) fn mentions(world: World<'_>, meta: &Meta, key: &Key) -> bool {
    let to = |labels| {
        reference(world, meta, labels)
            .is_some_and(|r| r.namespace == key.namespace && r.name == key.name)
    };
    let part = meta.namespace == key.namespace && gateway_name(meta) == Some(&key.name);
    part || to(USE) || to(CANARY)
}

/// The Gateway that the object is a part of.
pub(super) fn gateway_name(meta: &Meta) -> Option<&Str> {
    meta.label("gateway.networking.k8s.io/gateway-name")
}

fn reference<'a>(
    world: World<'a>,
    meta: &'a Meta,
    [name, namespace]: [&str; 2],
) -> Option<Reference<'a>> {
    let owner = world.inputs.namespace(&meta.namespace).map(|n| &n.meta);
    // A namespace's canary goes with the namespace's waypoint.
    let own = meta.label(USE[0]).is_some();
    let by = if own { meta } else { owner? };
    let name = by.label(name).filter(|name| &***name != "none")?.clone();
    let namespace = by.label(namespace).unwrap_or(&meta.namespace).clone();
    Some(Reference { namespace, name, by, inherited: !own })
}

fn resolve(
    world: World<'_>,
    meta: &Meta,
    reference: &Reference<'_>,
    traffic: Traffic,
) -> Result<Option<GatewayAddress>, Refusal> {
    let Reference { namespace, name, .. } = reference;
    let refusal = |reason, message: String| Refusal::new(reason, USE[0], message);
    let Some(gateway) = world.inputs.gateway(namespace, name) else {
        let message = format!("there is no Gateway {namespace}/{name}");
        return Err(refusal(Reason::WaypointIsNotReady, message));
    };
    if !serves(gateway, traffic) {
        let message = format!(
            "Gateway {namespace}/{name} does not serve this kind of traffic; see its label istio.io/waypoint-for"
        );
        let refusal = refusal(Reason::UnsupportedTrafficType, message);
        return if reference.inherited { Ok(None) } else { Err(refusal) };
    }
    let listener = gateway.listeners.iter().find(|l| &*l.protocol == "HBONE");
    let same = AllowedRoutes::Same;
    let allowed = listener.map_or(&same, |l| &l.allowed);
    if !admits(world, &gateway.meta.namespace, allowed, &meta.namespace) {
        let message = format!(
            "Gateway {namespace}/{name} does not allow namespace {}; see allowedRoutes of its HBONE listener",
            meta.namespace
        );
        return Err(refusal(Reason::AttachmentDenied, message));
    }
    let destination = destination(world, gateway).ok_or_else(|| {
        let message =
            format!("Gateway {namespace}/{name} is not ready: it has no status.addresses");
        refusal(Reason::WaypointIsNotReady, message)
    })?;
    let hbone_mtls_port = listener.map_or(HBONE_PORT, |l| l.port);
    Ok(Some(GatewayAddress { destination, hbone_mtls_port }))
}

/// Whether traffic may pass without the waypoint as long as that is not ready: whoever names it says so.
fn fails_open(world: World<'_>, reference: &Reference<'_>) -> bool {
    let says = |meta: &Meta| meta.annotation(FAIL_OPEN).is_some_and(|value| &**value == "true");
    let owner = world.inputs.namespace(&reference.by.namespace).filter(|_| !reference.inherited);
    says(reference.by) || owner.is_some_and(|namespace| says(&namespace.meta))
}

/// Where a waypoint will be; until then it has no endpoint, so that nobody gets past it.
fn absent(world: World<'_>, reference: &Reference<'_>) -> GatewayAddress {
    let Reference { namespace, name, .. } = reference;
    let host = format!("{name}.{namespace}.svc.{}", world.settings.cluster_domain);
    let key = NamespacedHostname::new(namespace.clone(), host);
    GatewayAddress { destination: GatewayDestination::Hostname(key), hbone_mtls_port: HBONE_PORT }
}

fn serves(gateway: &Gateway, traffic: Traffic) -> bool {
    match gateway.meta.label("istio.io/waypoint-for").map(|value| &**value) {
        None | Some("service") => traffic == Traffic::Service,
        Some("workload") => traffic == Traffic::Workload,
        Some("all") => true,
        Some(_) => false,
    }
}

/// Whether `namespace` is among those that are allowed by an object in the namespace `home`.
pub(super) fn admits(
    world: World<'_>,
    home: &Str,
    allowed: &AllowedRoutes,
    namespace: &Str,
) -> bool {
    match allowed {
        AllowedRoutes::Same => home == namespace,
        AllowedRoutes::All => true,
        AllowedRoutes::None => false,
        AllowedRoutes::Selector(selector) => {
            let namespace = world.inputs.namespace(namespace);
            namespace.is_some_and(|n| selector.matches(&n.meta.labels))
        }
    }
}

/// A service's name is preferred: its address may change.
fn destination(world: World<'_>, gateway: &Gateway) -> Option<GatewayDestination> {
    let hostname = gateway.addresses.iter().find_map(|address| match address {
        kinds::GatewayAddress::Hostname(host) => Some(host),
        kinds::GatewayAddress::Ip(_) => None,
    });
    let ip = || {
        gateway.addresses.iter().find_map(|address| match address {
            kinds::GatewayAddress::Ip(ip) => {
                Some(GatewayDestination::Address(NetworkAddress::new(world.network(), *ip)))
            }
            kinds::GatewayAddress::Hostname(_) => None,
        })
    };
    hostname
        .map(|host| {
            let name = NamespacedHostname::new(gateway.meta.namespace.clone(), host.clone());
            GatewayDestination::Hostname(name)
        })
        .or_else(ip)
}

fn canary<'a>(
    world: World<'a>,
    meta: &'a Meta,
    primary: &Reference<'_>,
) -> Result<Option<(Reference<'a>, GatewayAddress, u32)>, Refusal> {
    let Some(canary) = reference(world, meta, CANARY) else { return Ok(None) };
    let invalid = |reason, message: &str| Refusal::new(reason, CANARY[0], message);
    if canary.key() == primary.key() {
        return Err(invalid(Reason::CanarySameAsPrimary, "is the waypoint itself"));
    }
    let weight = canary.by.annotation(CANARY_WEIGHT).and_then(|w| w.parse().ok());
    let Some(weight @ 0..=100) = weight else {
        let message = "needs the annotation istio.io/use-waypoint-canary-weight, 0 to 100";
        return Err(invalid(Reason::CanaryInvalidWeight, message));
    };
    let gateway = resolve(world, meta, &canary, Traffic::Service)?;
    Ok(gateway.map(|gateway| (canary, gateway, weight)))
}

// === impl Reference ===

impl Reference<'_> {
    fn key(&self) -> Key {
        Key::new(Kind::Gateway, self.namespace.clone(), self.name.clone())
    }
}

// === impl World ===

impl World<'_> {
    /// The network of everything that names none: a label of the root namespace.
    pub(super) fn network(&self) -> Str {
        let root = self.inputs.namespace(&self.settings.root_namespace);
        root.and_then(|n| n.meta.label("topology.istio.io/network")).cloned().unwrap_or_default()
    }
}
