//! The listeners of a Gateway: which of them can be used, by which routes.

use ambit_model::{GatewayClass, Str};
use ambit_proto::ambit as proto;

use super::hostnames;
use super::listener_checks::{conflict, kinds, passes_through, protocol};
use super::listener_tls::{self, Clients};
use super::statuses::Detached;
use crate::index::{World, waypoints};
use crate::watch::kinds::{AllowedRoutes, Gateway, Listener, ListenerSet, ParentRef, Route};
use crate::watch::{Key, Kind};

/// A Gateway that is ours.
pub(super) struct Front<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) class: &'static GatewayClass,
    pub(super) listeners: Vec<Judged<'a>>,
}

/// A listener and what is to be said about it.
pub(super) struct Judged<'a> {
    /// The Gateway or the ListenerSet.
    pub(super) owner: Key,
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
    /// Whose certificates clients are asked for.
    pub(super) clients: Option<Clients>,
}

/// A reason of the specification's, and a sentence.
pub(super) type Flaw = (&'static str, String);

// === impl Front ===

impl<'a> Front<'a> {
    /// `gateway` with its listeners, if its class is ours: by the controller of its GatewayClass, or else by its name.
    pub(super) fn of(world: World<'a>, gateway: &'a Gateway) -> Option<Self> {
        let class = class(world, gateway)?;
        let own = gateway.listeners.iter().map(|listener| {
            let beside = gateway.listeners.iter().filter(|other| !std::ptr::eq(*other, listener));
            let conflict = conflict(listener, beside);
            Judged::new(world, (gateway, class), gateway.key(), (listener, conflict))
        });
        let mut listeners: Vec<Judged<'a>> = own.collect();
        // Of a set those that clash with one before them are out.
        for set in sets(world, gateway) {
            for listener in &set.listeners {
                let before = listeners.iter().filter(|judged| judged.conflict.is_none());
                let conflict = conflict(listener, before.map(|judged| judged.listener));
                let of = (listener, conflict);
                listeners.push(Judged::new(world, (gateway, class), set.key(), of));
            }
        }
        Some(Self { gateway, class, listeners })
    }

    /// The objects whose listeners these are, the Gateway first.
    pub(super) fn owners(&self, world: World<'a>) -> Vec<Key> {
        let sets = sets(world, self.gateway).map(|set| set.key());
        std::iter::once(self.gateway.key()).chain(sets).collect()
    }

    /// The listeners of one of them, by number.
    pub(super) fn of_owner(&self, owner: &Key) -> impl Iterator<Item = (usize, &Judged<'a>)> {
        let all = self.listeners.iter().enumerate();
        all.filter(move |(_, judged)| judged.owner == *owner)
    }

    /// The listeners, by number, that `route` is attached to by `parent`, and for which hosts.
    pub(super) fn attach(
        &self,
        world: World<'_>,
        route: &Route,
        parent: &ParentRef,
    ) -> Result<Vec<(usize, Vec<Str>)>, Detached> {
        let what = format!("{} {}/{}", parent.kind, parent.namespace, parent.name);
        let detached = |reason, message| Err(Detached { reason, message });
        let named = |judged: &Judged<'_>| {
            let Listener { name, port, .. } = judged.listener;
            (parent.section.is_empty() || parent.section == *name)
                && parent.port.is_none_or(|number| number == *port)
        };
        let owner = parent.key();
        let of = owner.iter().flat_map(|owner| self.of_owner(owner));
        let mut found: Vec<(usize, &Judged<'_>)> = of.filter(|(_, judged)| named(judged)).collect();
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
            waypoints::admits(world, &judged.owner.namespace, &judged.listener.allowed, namespace)
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

/// The ListenerSets that count, the oldest first.
fn sets<'a>(world: World<'a>, gateway: &'a Gateway) -> impl Iterator<Item = &'a ListenerSet> {
    let sets = world.inputs.listener_sets_of(&gateway.key()).into_iter();
    sets.filter(move |set| counts(world, gateway, set)).map(|set| &**set)
}

/// Whether a Gateway takes the listeners of a set.
pub(super) fn counts(world: World<'_>, gateway: &Gateway, set: &ListenerSet) -> bool {
    let allowed = gateway.allowed_listeners.as_ref().unwrap_or(&AllowedRoutes::None);
    waypoints::admits(world, &gateway.meta.namespace, allowed, &set.meta.namespace)
}

pub(super) fn class(world: World<'_>, gateway: &Gateway) -> Option<&'static GatewayClass> {
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
        (gateway, class): (&Gateway, &GatewayClass),
        owner: Key,
        (listener, conflict): (&'a Listener, Option<Flaw>),
    ) -> Self {
        let (mut refused, supported) = match protocol(class, listener) {
            Ok(kinds) => (None, kinds),
            Err(flaw) => (Some(flaw), &[][..]),
        };
        let (kinds, odd) = kinds(listener, supported);
        let from = (owner.kind, &owner.namespace);
        let (certificates, bad) = listener_tls::certificates(world, from, listener);
        let (clients, doubtful) = listener_tls::clients(world, gateway, listener);
        if let Some((_, message)) = doubtful.as_ref().filter(|_| clients.is_none()) {
            refused = refused.or_else(|| Some(("NoValidCACertificate", message.clone())));
        }
        Self {
            listener,
            kinds,
            refused,
            conflict,
            owner,
            unresolved: bad.or(doubtful).or(odd),
            certificates,
            clients,
        }
    }

    /// What proxies call it.
    pub(super) fn name(&self) -> Str {
        let Key { kind, namespace, name } = &self.owner;
        match kind {
            Kind::ListenerSet => format!("{namespace}/{name}/{}", self.listener.name).into(),
            _ => self.listener.name.clone(),
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
