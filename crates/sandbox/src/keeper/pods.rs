//! Starts and ends pods as the plan says, and takes note of what they report.

use std::fs;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Keeper;
use super::entry::{Entry, facts, now};
use crate::cluster::{Plan, PodKey, PodPlan};
use crate::error::Error;
use crate::event::Event;
use crate::pod::Stop;
use crate::pod::launch::resolv_conf;
use crate::pod::runner::{Inside, Report, Runner, grace};
use crate::pod::status::{Mesh, Phase, PodStatus};
use crate::pod::volumes::PodDir;
use crate::services::DNS_V4;

impl Keeper {
    /// Starts what is missing, ends what is too much, and tells the others what has changed about them.
    pub(super) fn follow(&mut self, plan: &Plan) {
        for (key, entry) in &mut self.pods {
            let wanted = plan.pods.get(key);
            let fits = wanted.is_some_and(|wanted| {
                wanted.hash == entry.plan.hash && wanted.node == entry.plan.node
            });
            if !fits && !plan.retained.contains(key) {
                if !entry.is_ending() {
                    entry.end(None);
                }
                continue;
            }
            if let Some(wanted) = wanted {
                entry.plan.clone_from(wanted);
            }
        }
        let missing: Vec<PodPlan> =
            plan.pods.values().filter(|pod| !self.pods.contains_key(&pod.key)).cloned().collect();
        for pod in missing {
            let key = pod.key.clone();
            if let Err(error) = self.start(pod) {
                self.complain(&format!("pod {key}"), &error);
            }
        }
        let objects = self.objects.borrow().clone();
        for entry in self.pods.values() {
            let PodPlan { key, labels, annotations, .. } = &entry.plan;
            let wanted = objects.enrols(&key.namespace, labels, annotations);
            entry.enrol.send_if_modified(|enrol| std::mem::replace(enrol, wanted) != wanted);
        }
    }

    fn start(&mut self, plan: PodPlan) -> Result<(), Error> {
        let key = plan.key.clone();
        let unknown = || Error::Unknown { kind: "node", name: plan.node.clone() };
        let node = self.nodes.get(&plan.node).ok_or_else(unknown)?;
        let net = self.topology.add_pod(&plan.node, &key.to_string())?;
        let instance = self.topology.instance().clone();
        let dir =
            PodDir(instance.dir().join("pods").join(format!("{}.{}", key.namespace, key.name)));
        let _ = fs::remove_dir_all(&dir.0);
        let facts = facts(&plan, &net, node.net.ip());
        let resolv_conf = resolv_conf(&plan.spec, &key.namespace, &DNS_V4.to_string());
        dir.prepare(&plan.spec, &facts.hostname, net.ips(), &resolv_conf)?;
        let objects = self.objects.subscribe();
        let enrols = objects.borrow().enrols(&key.namespace, &plan.labels, &plan.annotations);
        let (enrol, enrolled) = watch::channel(enrols);
        let stop = Stop {
            token: CancellationToken::new(),
            grace: Arc::new(Mutex::new(grace(&plan.spec))),
        };
        let inside = Inside::default();
        let entry = Entry {
            uid: facts.uid.clone(),
            node: node.net.clone(),
            net: net.clone(),
            inside: inside.clone(),
            status: PodStatus::default(),
            dir: dir.clone(),
            created: now(),
            deleted: None,
            enrol,
            stop: stop.clone(),
            plan: plan.clone(),
        };
        let runner = Runner {
            plan,
            facts,
            net,
            node: node.net.clone(),
            dir,
            instance: instance.name().to_owned(),
            images: self.images.clone(),
            objects,
            agent: node.agent.clone(),
            enrol: enrolled,
            stop,
            reports: self.reports.clone(),
            inside,
        };
        tokio::spawn(runner.run());
        self.note_images(&entry.plan);
        self.pods.insert(key, entry);
        Ok(())
    }

    /// Says, once for each image, that it has no effect.
    fn note_images(&mut self, plan: &PodPlan) {
        let containers = plan.spec.init_containers.iter().flatten().chain(&plan.spec.containers);
        let unused = containers.filter(|container| container.command.is_some());
        let images: Vec<String> = unused.filter_map(|container| container.image.clone()).collect();
        for image in images {
            if self.unused_images.insert(image.clone()) {
                let what =
                    "is not used: its containers run their commands from this machine".to_owned();
                self.tell(Event::Unused { object: format!("image {image}"), what });
            }
        }
    }

    /// Takes note of what a pod tells about itself.
    pub(super) fn report(&mut self, key: &PodKey, uid: &str, report: Report) {
        let Some(entry) = self.pods.get_mut(key).filter(|entry| entry.uid == uid) else { return };
        let pod = key.clone();
        match report {
            Report::Status(status) => {
                let before = (entry.is_ready(), std::mem::replace(&mut entry.status, status));
                let events = changes(&pod, before, entry);
                events.into_iter().for_each(|event| self.tell(event));
            }
            Report::Restarted { container, reason } => {
                self.tell(Event::PodRestarted { pod, container, reason });
            }
            Report::Problem(problem) => self.tell(Event::PodProblem { pod, problem }),
            Report::Gone => {
                let dir = entry.dir.clone();
                self.pods.remove(key);
                self.topology.remove_pod(&key.to_string());
                if let Err(error) = fs::remove_dir_all(&dir.0)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(dir = %dir.0.display(), %error, "cannot remove a pod's directory");
                }
                self.tell(Event::PodRemoved { pod });
            }
        }
    }
}

/// What is worth telling about a change of status.
fn changes(pod: &PodKey, before: (bool, PodStatus), entry: &Entry) -> Vec<Event> {
    let pod = pod.clone();
    let (was_ready, before) = before;
    let (ready, now) = (entry.is_ready(), &entry.status);
    let meshed = now.mesh == Mesh::In;
    let mut events = Vec::new();
    // Before its first start a pod's joining is part of its becoming ready.
    if (before.mesh == Mesh::In) != meshed && was_ready && ready {
        events.push(Event::PodMesh { pod: pod.clone(), meshed });
    }
    match (was_ready, ready) {
        (false, true) => events.push(Event::PodReady {
            pod: pod.clone(),
            node: entry.plan.node.clone(),
            ip: entry.net.ips().first().copied(),
            meshed,
        }),
        (true, false) if !entry.is_ending() => events.push(Event::PodNotReady { pod: pod.clone() }),
        _ => {}
    }
    let over = |phase| matches!(phase, Phase::Succeeded | Phase::Failed);
    if over(now.phase()) && !over(before.phase()) && !entry.is_ending() {
        let succeeded = now.phase() == Phase::Succeeded;
        events.push(Event::PodEnded { pod, succeeded });
    }
    events
}
