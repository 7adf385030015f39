//! Keeps what runs the way the objects say: one actor, one decision at a time.

mod entry;
pub(crate) mod layers;
mod pods;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::cluster::{NodeLabels, Objects, Plan, PodKey, plan};
use crate::dns::{DnsServer, Zone};
use crate::error::Error;
use crate::event::Event;
use crate::gateways::Gateways;
use crate::manifest::{Changes, Manifest, ObjectRef};
use crate::mesh::Agent;
use crate::pod::launch::Images;
use crate::pod::runner::Report;
use crate::publish::{Picture, Publisher, files};
use crate::services::{Addresses, ServiceView, node_rules, views};
use crate::topology::{NodeNet, Topology};
use entry::Entry;
use layers::{Layers, difference};
pub use view::PodHandle;
pub(crate) use view::View;

/// What the keeper can be asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Files have these contents now; `None` for those that are gone.
    Files(Changes),
    /// Put objects on top of those from files; answered when it has been acted on.
    Apply(Manifest, oneshot::Sender<Vec<ObjectRef>>),
    /// Take an object away; answered with whether there was one.
    Delete(ObjectRef, oneshot::Sender<bool>),
    /// End every pod, within the time given for each; answered when all are gone.
    Stop(Duration, oneshot::Sender<()>),
}

/// A node and what runs on it for all.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) net: Arc<NodeNet>,
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) _dns: DnsServer,
    pub(crate) rules: String,
}

/// All state of a sandbox.
pub(crate) struct Keeper {
    pub(crate) topology: Topology,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) images: Arc<Images>,
    /// Who deploys waypoints and gateways; `None` where there is no mesh.
    pub(crate) gateways: Option<Gateways>,
    pub(crate) ipv6: bool,
    pub(crate) zone: Arc<RwLock<Arc<Zone>>>,
    pub(crate) publisher: Publisher,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) layers: Layers,
    pub(crate) objects: watch::Sender<Arc<Objects>>,
    pub(crate) pods: BTreeMap<PodKey, Entry>,
    pub(crate) addresses: Addresses,
    pub(crate) reports: mpsc::Sender<(PodKey, String, Report)>,
    /// What has been said about objects that cannot be used, so as to say it once.
    pub(crate) said: BTreeSet<(String, String)>,
    pub(crate) unused_images: BTreeSet<String>,
    /// What has happened and not been told yet.
    pub(crate) outbox: Vec<Event>,
    pub(crate) stopping: Option<oneshot::Sender<()>>,
}

// === impl Keeper ===

impl Keeper {
    /// Takes the first objects.
    pub(crate) fn begin(&mut self, files: Changes) {
        self.command(Command::Files(files));
        self.reconcile();
    }

    /// Acts on commands and reports until all is stopped, or nobody is left to command: `false` then.
    pub(crate) async fn run(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<(PodKey, String, Report)>,
    ) -> bool {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return false,
                },
                Some((key, uid, report)) = reports.recv() => self.report(&key, &uid, report),
            }
            // What has arrived meanwhile is acted on together.
            while let Ok((key, uid, report)) = reports.try_recv() {
                self.report(&key, &uid, report);
            }
            self.reconcile();
            if self.pods.is_empty()
                && let Some(done) = self.stopping.take()
            {
                let _ = done.send(());
                return true;
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Files(files) => {
                for (name, content) in files {
                    self.layers.file(&name, content);
                }
                self.sum_up();
            }
            Command::Apply(manifest, done) => {
                let keys = manifest.documents.iter().map(|document| document.key.clone()).collect();
                for document in manifest.documents {
                    self.layers.apply(document);
                }
                self.sum_up();
                self.reconcile();
                let _ = done.send(keys);
            }
            Command::Delete(key, done) => {
                let found = self.layers.delete(&key);
                self.sum_up();
                self.reconcile();
                let _ = done.send(found);
            }
            Command::Stop(grace, done) => {
                for entry in self.pods.values_mut() {
                    entry.end(Some(grace));
                }
                self.stopping = Some(done);
            }
        }
    }

    /// Takes over what the layers amount to, and tells what changed.
    fn sum_up(&mut self) {
        let mut sum = self.layers.sum();
        let gateways = self.gateways.as_mut();
        let problems = gateways.map(|gateways| gateways.deploy(&mut sum.objects));
        self.refuse("gateway", problems.unwrap_or_default());
        let before = self.objects.borrow().clone();
        let difference = difference(&before, &sum.objects);
        for object in difference.added {
            if object.kind == "Node" && !self.nodes.contains_key(&object.name) {
                let what = "has no effect: nodes are made when the sandbox starts".to_owned();
                self.tell(Event::Unused { object: object.to_string(), what });
            }
            self.tell(Event::Applied { object });
        }
        for object in difference.changed {
            self.tell(Event::Changed { object });
        }
        for object in difference.removed {
            if object.kind == "Service" {
                self.addresses.forget(&object.namespace, &object.name);
            }
            self.tell(Event::Deleted { object });
        }
        let problems = sum.invalid.into_iter().map(|invalid| (invalid.origin, invalid.problem));
        self.refuse("file", problems.collect());
        self.publisher.pass_on(sum.passed_on);
        self.objects.send_replace(Arc::new(sum.objects));
    }

    /// Says what is wrong, each thing once, and again when it comes back after having been right.
    fn refuse(&mut self, about: &str, problems: Vec<(String, String)>) {
        let now: BTreeSet<(String, String)> = problems
            .into_iter()
            .map(|(origin, problem)| (format!("{about}\0{origin}"), problem))
            .collect();
        let news = now.difference(&self.said).map(|(origin, reason)| Event::Refused {
            origin: origin.split('\0').nth(1).unwrap_or_default().to_owned(),
            reason: reason.clone(),
        });
        self.outbox.extend(news);
        let prefix = format!("{about}\0");
        self.said.retain(|(origin, _)| !origin.starts_with(&prefix));
        self.said.extend(now);
    }

    /// Makes what runs follow the objects and the state of the pods.
    fn reconcile(&mut self) {
        if self.stopping.is_none() {
            let plan = self.plan();
            self.follow(&plan);
            let problems = plan.problems.iter().map(|(key, text)| (key.to_string(), text.clone()));
            self.refuse("plan", problems.collect());
        }
        let objects = self.objects.borrow().clone();
        let pods: Vec<_> = self.pods.values().map(Entry::view).collect();
        let (services, problems) = views(&objects, &pods, &mut self.addresses, self.ipv6);
        let problems = problems.into_iter().map(|(key, text)| (key.to_string(), text));
        self.refuse("service", problems.collect());
        self.route(&services);
        *self.zone.write() = Arc::new(Zone::new(&services));
        self.publish(&objects, &services);
        let view = view::view(&self.pods, &services);
        self.view.send_if_modified(|current| {
            let changed = **current != view;
            *current = Arc::new(view);
            changed
        });
        for event in self.outbox.drain(..) {
            // Nobody may be listening.
            let _ = self.events.send(event);
        }
    }

    fn plan(&self) -> Plan {
        let objects = self.objects.borrow().clone();
        let labels = |name: &String| NodeLabels {
            name: name.clone(),
            labels: objects
                .nodes()
                .find(|(known, _)| known == name)
                .and_then(|(_, node)| node.metadata.labels.clone())
                .unwrap_or_default(),
        };
        let nodes: Vec<NodeLabels> = self.nodes.keys().map(labels).collect();
        let running = self.pods.iter().filter(|(_, entry)| !entry.is_ending());
        let running = running.map(|(key, entry)| (key.clone(), entry.running())).collect();
        plan(&objects, &nodes, &running)
    }

    /// Sends packets for services to their endpoints, on every node.
    fn route(&mut self, services: &[ServiceView]) {
        let mut failures = Vec::new();
        for (name, node) in &mut self.nodes {
            let rules = node_rules(name, node.net.gateways(), services);
            if rules == node.rules {
                continue;
            }
            match crate::topology::load_rules(node.net.room(), rules.clone()) {
                Ok(()) => node.rules = rules,
                Err(error) => failures.push((format!("services on {name}"), error.line())),
            }
        }
        self.refuse("rules", failures);
    }

    fn publish(&mut self, objects: &Objects, services: &[ServiceView]) {
        let picture = Picture {
            objects,
            services,
            pods: self.pods.values().map(Entry::picture).collect(),
            nodes: self.nodes.iter().map(|(name, node)| (&**name, node.net.ips())).collect(),
            ipv6: self.ipv6,
        };
        let files = files(&picture);
        if let Err(error) = self.publisher.publish(files) {
            self.refuse("publish", vec![("objects for the controller".to_owned(), error.line())]);
        }
    }

    /// Tells of a change, when the view shows it.
    fn tell(&mut self, event: Event) {
        self.outbox.push(event);
    }

    /// Tells of an error that the sandbox goes on without.
    fn complain(&mut self, what: &str, error: &Error) {
        self.tell(Event::Refused { origin: what.to_owned(), reason: error.line() });
    }
}
