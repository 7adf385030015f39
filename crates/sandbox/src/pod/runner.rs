//! One pod's life: enrolled in the mesh, started, watched, ended.

mod prepare;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::container::{Container, News, State, Stop, pause};
use super::launch::{Images, PodFacts};
use super::process::Program;
use super::status::{ContainerStatus, Mesh, PodStatus};
use super::volumes::PodDir;
use crate::cluster::{Objects, PodKey, PodPlan};
use crate::log::Log;
use crate::mesh::{Agent, Enrolment};
use crate::topology::{NodeNet, PodNet};

/// All that a pod needs to run.
pub(crate) struct Runner {
    pub(crate) plan: PodPlan,
    pub(crate) facts: PodFacts,
    pub(crate) net: Arc<PodNet>,
    pub(crate) node: Arc<NodeNet>,
    pub(crate) dir: PodDir,
    pub(crate) instance: String,
    pub(crate) images: Arc<Images>,
    /// The objects in force: what the pod refers to is looked up when it is needed.
    pub(crate) objects: watch::Receiver<Arc<Objects>>,
    /// Who captures its traffic; `None` where there is no mesh.
    pub(crate) agent: Option<Arc<Agent>>,
    /// Whether it should be captured.
    pub(crate) enrol: watch::Receiver<bool>,
    pub(crate) stop: Stop,
    pub(crate) reports: mpsc::Sender<(PodKey, String, Report)>,
    pub(crate) inside: Inside,
}

/// The way into a pod's containers, for commands and logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inside(Arc<Mutex<Vec<(String, Program, Log)>>>);

/// What a pod tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Report {
    Status(PodStatus),
    Restarted {
        container: String,
        reason: String,
    },
    /// Something keeps it from starting or from being captured.
    Problem(String),
    /// Nothing of it runs any more.
    Gone,
}

// === impl Inside ===

impl Inside {
    /// A container's program, the first one's if none is named.
    pub(crate) fn program(&self, container: Option<&str>) -> Option<Program> {
        let containers = self.0.lock();
        let mut found =
            containers.iter().filter(|(name, ..)| container.is_none_or(|of| of == name));
        found.next().map(|(_, program, _)| program.clone())
    }

    /// What all containers wrote.
    pub(crate) fn logs(&self) -> String {
        self.0.lock().iter().map(|(.., log)| log.text()).collect()
    }

    fn last_words(&self, container: usize) -> String {
        self.0.lock().get(container).map(|(.., log)| log.last_words()).unwrap_or_default()
    }
}

// === impl Runner ===

impl Runner {
    /// Runs the pod until it is stopped; the last report is [`Report::Gone`].
    pub(crate) async fn run(self) {
        let (mesh, watched) = watch::channel(Mesh::Out);
        let mut status = tokio::select! {
            status = self.keep_running(watched) => status,
            () = self.keep_enrolled(&mesh) => PodStatus::default(),
        };
        if *mesh.borrow() != Mesh::Out {
            self.leave().await;
            status.mesh = Mesh::Out;
            self.report(Report::Status(status)).await;
        }
        // A pod whose containers have all ended for good stays, as on a cluster, until it is deleted.
        self.stop.token.cancelled().await;
        self.inside.0.lock().clear();
        self.report(Report::Gone).await;
    }

    /// Takes the pod, which runs no more, out of the mesh.
    async fn leave(&self) {
        if let Some(agent) = &self.agent
            && let Err(problem) = agent.remove(&self.facts.uid, false).await
        {
            self.report(Report::Problem(problem)).await;
        }
    }

    async fn report(&self, report: Report) {
        let _ = self.reports.send((self.plan.key.clone(), self.facts.uid.clone(), report)).await;
    }

    /// Brings the pod into the mesh, and out of it, as is asked for.
    async fn keep_enrolled(&self, mesh: &watch::Sender<Mesh>) {
        let Some(agent) = &self.agent else { return std::future::pending().await };
        let mut enrol = self.enrol.clone();
        let mut failures = 0;
        loop {
            let wanted = *enrol.borrow_and_update();
            let current = *mesh.borrow();
            let result = match (wanted, current) {
                (true, Mesh::Out | Mesh::Pending) => {
                    let _ = mesh.send_replace(Mesh::Pending);
                    agent.add(&self.enrolment()).await.map(|()| Mesh::In)
                }
                (false, Mesh::In | Mesh::Pending) => {
                    agent.remove(&self.facts.uid, true).await.map(|()| Mesh::Out)
                }
                (_, settled) => Ok(settled),
            };
            match result {
                Ok(state) => {
                    failures = 0;
                    let _ = mesh.send_replace(state);
                    if enrol.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
                Err(problem) => {
                    if failures == 0 {
                        self.report(Report::Problem(problem)).await;
                    }
                    sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn enrolment(&self) -> Enrolment {
        let facts = &self.facts;
        let names = [&*facts.uid, &*facts.name, &*facts.namespace, &*facts.service_account];
        let paths = (self.net.room().path().to_owned(), self.dir.resolv_conf());
        Enrolment::new(names, paths, &facts.annotations)
    }

    /// Starts the containers when the pod is where it should be, and reports on them; ends when they have.
    async fn keep_running(&self, mut mesh: watch::Receiver<Mesh>) -> PodStatus {
        let mut status = PodStatus { containers: self.initial(), ..PodStatus::default() };
        let stopped = self.stop.token.cancelled();
        tokio::pin!(stopped);
        if self.agent.is_some() && *self.enrol.borrow() {
            tokio::select! {
                _ = mesh.wait_for(|mesh| *mesh == Mesh::In) => {}
                () = &mut stopped => return status,
            }
        }
        let containers = tokio::select! {
            containers = self.furnished(&mut status) => containers,
            () = &mut stopped => return status,
        };
        let (tell, mut news) = mpsc::channel(64);
        for (index, container) in containers.into_iter().enumerate() {
            tokio::spawn(relay(index, container, self.stop.clone(), tell.clone()));
        }
        drop(tell);
        status.mesh = *mesh.borrow_and_update();
        self.report(Report::Status(status.clone())).await;
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    None => break,
                    Some((index, heard)) => self.heard(&mut status, index, heard).await,
                },
                Ok(()) = mesh.changed() => {
                    status.mesh = *mesh.borrow_and_update();
                    self.report(Report::Status(status.clone())).await;
                }
            }
        }
        status
    }

    async fn heard(&self, status: &mut PodStatus, index: usize, news: News) {
        let before = status.clone();
        status.note(index, &news);
        if let News::Restarts { reason } = news {
            let container = self.plan.spec.containers.get(index).map(|of| of.name.clone());
            let words = self.inside.last_words(index);
            let reason = if words == "none" { reason } else { format!("{reason}: {words}") };
            let container = container.unwrap_or_default();
            self.report(Report::Restarted { container, reason }).await;
        }
        if *status != before {
            self.report(Report::Status(status.clone())).await;
        }
    }

    fn initial(&self) -> Vec<ContainerStatus> {
        let status = |container: &k8s::Container| ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::Waiting { reason: "it has not been started yet".to_owned() },
            ready: false,
            restarts: 0,
        };
        self.plan.spec.containers.iter().map(status).collect()
    }
}

/// Runs a container and passes its news on with its index.
async fn relay(index: usize, container: Container, stop: Stop, tell: mpsc::Sender<(usize, News)>) {
    let (sender, mut news) = mpsc::channel(8);
    let life = tokio::spawn(container.live(stop, sender));
    while let Some(heard) = news.recv().await {
        if tell.send((index, heard)).await.is_err() {
            break;
        }
    }
    let _ = life.await;
}

/// How long a pod's processes may take to end (`terminationGracePeriodSeconds`).
pub(crate) fn grace(spec: &k8s::PodSpec) -> Duration {
    let seconds = spec.termination_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(30).min(3600))
}
