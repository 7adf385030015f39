//! What the cluster tells about Gateways, their parts, and the defaults of classes.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{BoxStream, select_all};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;

use super::desk::{Desk, Known, Seen};
use super::gateway::{self, Name};
use super::hands::MANAGER;
use super::objects::GATEWAY_NAME;
use super::overlays::Overlays;
use super::parts::{Part, PartKey};
use crate::cluster::follow_with;
use crate::watch::Pace;

/// The label of ConfigMaps with the defaults of a class (Istio).
const DEFAULTS: &str = "gateway.istio.io/defaults-for-class";

/// Something that the cluster told.
pub(super) enum News {
    Gateway(Event<DynamicObject>),
    ListenerSet(Event<DynamicObject>),
    Part(Part, Event<DynamicObject>),
    Defaults(Event<ConfigMap>),
}

/// Follows everything that bears on deployments.
pub(super) struct Watcher {
    /// The namespace of defaults.
    pub(super) namespace: String,
    pub(super) pace: Pace,
}

/// Lists that are not complete yet.
#[derive(Default)]
pub(super) struct Listing {
    gateways: BTreeSet<Name>,
    sets: BTreeSet<Name>,
    defaults: BTreeMap<Name, (String, Overlays)>,
    parts: BTreeMap<Part, BTreeSet<PartKey>>,
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn follow(&self, client: &Client) -> impl Stream<Item = News> + use<> {
        let pace = self.pace;
        let gateways = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway"),
            "gateways",
        );
        let gateways: Api<DynamicObject> = Api::all_with(client.clone(), &gateways);
        let gateways = follow_with(gateways, Config::default(), pace).map(News::Gateway);
        let sets = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "ListenerSet"),
            "listenersets",
        );
        let sets: Api<DynamicObject> = Api::all_with(client.clone(), &sets);
        let sets = follow_with(sets, Config::default(), pace).map(News::ListenerSet);
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &self.namespace);
        let defaults = follow_with(maps, Config::default().labels(DEFAULTS), pace);
        let part = |part: Part| -> BoxStream<'static, News> {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &part.resource());
            let events = follow_with(api, Config::default().labels(GATEWAY_NAME), pace);
            events.map(move |event| News::Part(part, event)).boxed()
        };
        let first = [gateways.boxed(), sets.boxed(), defaults.map(News::Defaults).boxed()];
        select_all(first.into_iter().chain(Part::ALL.map(part)))
    }
}

// === impl Listing ===

impl Listing {
    /// Takes news in.
    pub(super) fn take(&mut self, news: News, desk: &mut Desk, now: Instant) {
        match news {
            News::Gateway(event) => self.gateway(event, desk, now),
            News::ListenerSet(event) => self.listener_set(event, desk, now),
            News::Part(part, event) => self.part(part, event, desk, now),
            News::Defaults(event) => self.defaults(event, desk, now),
        }
    }

    fn gateway(&mut self, event: Event<DynamicObject>, desk: &mut Desk, now: Instant) {
        match event {
            Event::Init => self.gateways.clear(),
            Event::InitDone => desk.gateways(&std::mem::take(&mut self.gateways)),
            Event::InitApply(object) | Event::Apply(object) => {
                let name = name(&object);
                self.gateways.insert(name.clone());
                match known(&object) {
                    Ok(known) => desk.gateway(name, known, now),
                    // What was deployed for its last good version stays.
                    Err(problem) => tracing::warn!("Gateway {name}: cannot be deployed: {problem}"),
                }
            }
            Event::Delete(object) => desk.gateway(name(&object), None, now),
        }
    }

    fn listener_set(&mut self, event: Event<DynamicObject>, desk: &mut Desk, now: Instant) {
        match event {
            Event::Init => self.sets.clear(),
            Event::InitDone => desk.listener_sets(&std::mem::take(&mut self.sets), now),
            Event::InitApply(object) | Event::Apply(object) => {
                self.sets.insert(name(&object));
                desk.listener_set(name(&object), gateway::read_set(&object), now);
            }
            Event::Delete(object) => desk.listener_set(name(&object), None, now),
        }
    }

    fn part(&mut self, part: Part, event: Event<DynamicObject>, desk: &mut Desk, now: Instant) {
        let key = |object: &DynamicObject| PartKey {
            part,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        let listed = self.parts.entry(part).or_default();
        match event {
            Event::Init => listed.clear(),
            Event::InitDone => desk.only(part, &std::mem::take(listed), now),
            Event::InitApply(object) | Event::Apply(object) => {
                listed.insert(key(&object));
                desk.part(key(&object), Some(seen(&object)), now);
            }
            Event::Delete(object) => desk.part(key(&object), None, now),
        }
    }

    fn defaults(&mut self, event: Event<ConfigMap>, desk: &mut Desk, now: Instant) {
        match event {
            Event::Init => self.defaults.clear(),
            Event::InitDone => desk.defaults(std::mem::take(&mut self.defaults), now),
            Event::InitApply(map) => self.defaults.extend(default(&map)),
            Event::Apply(map) => {
                if let Some((name, of)) = default(&map) {
                    desk.class_default(name, Some(of), now);
                }
            }
            Event::Delete(map) => desk.class_default(name(&map), None, now),
        }
    }
}

fn name(object: &impl kube::ResourceExt) -> Name {
    Name { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// The defaults in a ConfigMap. One that cannot be read leaves what it said before.
fn default(map: &ConfigMap) -> Option<(Name, (String, Overlays))> {
    let (name, class) = (name(map), map.labels().get(DEFAULTS)?.clone());
    match Overlays::read(&map.data.clone().unwrap_or_default()) {
        Ok(overlays) => Some((name, (class, overlays))),
        Err(problem) => {
            tracing::warn!("ConfigMap {name}: {problem}");
            None
        }
    }
}

/// A Gateway as it counts; `None` for one that is going.
fn known(object: &DynamicObject) -> Result<Option<Known>, String> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let uid = object.uid().unwrap_or_default();
    Ok(Some(Known { uid, gateway: gateway::read(object)? }))
}

/// A deployed object as it counts.
pub(super) fn seen(object: &DynamicObject) -> Seen {
    let label = object.labels().get(GATEWAY_NAME).cloned().unwrap_or_default();
    let owner = object.owner_references().iter().find(|owner| owner.kind == "Gateway");
    let ours = object.managed_fields().iter().find(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    });
    Seen {
        gateway: Name { namespace: object.namespace().unwrap_or_default(), name: label },
        owner: owner.map(|owner| owner.uid.clone()),
        version: object.resource_version().and_then(|version| version.parse().ok()),
        owned: ours.and_then(|entry| entry.fields_v1.as_ref()).map(|fields| fields.0.clone()),
    }
}
