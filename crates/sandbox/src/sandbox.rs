//! A running sandbox, as its owner holds it.

mod build;
mod components;
mod first;
mod options;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::error::Error;
use crate::event::Event;
use crate::instance::Instance;
use crate::keeper::{Command, PodHandle, View};
use crate::manifest::{self, ObjectRef};
use crate::mesh::Mesh;
use crate::pod::process::{Output, Program};
use crate::room::Room;
use crate::topology::NodeNet;

pub use options::{Options, Source};

/// Nodes, pods and services on this machine, and the mesh's programs among them.
///
/// All its tasks run on a thread of their own: the owner may be of any runtime. Dropping it ends everything at once;
/// [`Sandbox::stop`] lets processes end in their own way first.
#[derive(Debug)]
pub struct Sandbox {
    commands: Option<mpsc::Sender<Command>>,
    events: broadcast::Sender<Event>,
    /// What has happened since the start, until somebody asks.
    early: Mutex<Option<broadcast::Receiver<Event>>>,
    view: watch::Receiver<Arc<View>>,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
    mesh: Option<Arc<Mesh>>,
    nodes: BTreeMap<String, Arc<NodeNet>>,
    fabric: Arc<Room>,
    instance: Arc<Instance>,
}

/// How long stopping may take beyond what its pods may.
const STOP_MARGIN: Duration = Duration::from_secs(15);

// === impl Sandbox ===

impl Sandbox {
    /// Starts nodes and the mesh's programs, and what the objects say. Returns when pods are on their way;
    /// [`Sandbox::ready`] waits for them.
    ///
    /// # Errors
    /// The machine lacks something, a program of the mesh does not come up, or an object given directly is wrong. What
    /// is wrong with objects in files is told by [`Sandbox::events`], and the others are used.
    pub async fn start(options: Options) -> Result<Self, Error> {
        build::start(options).await
    }

    /// Everything that changes from now on; for the first who asks, from the start on. A listener that falls far
    /// behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.early.lock().take().unwrap_or_else(|| self.events.subscribe())
    }

    /// Waits until every pod takes traffic or has completed, and none is on its way out.
    ///
    /// # Errors
    /// It takes longer than `limit`; the message names the pods and what keeps them.
    pub async fn ready(&self, limit: Duration) -> Result<(), Error> {
        let mut view = self.view.clone();
        let waited = timeout(limit, view.wait_for(|view| view.unsettled().is_empty())).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => {
                let pods = self.view.borrow().unsettled().join("; ");
                Err(Error::Timeout {
                    what: format!("not all pods were ready ({pods})"),
                    seconds: limit.as_secs(),
                })
            }
        }
    }

    /// Waits until `condition` holds for the pod of that name (see [`Sandbox::pod`]).
    ///
    /// # Errors
    /// It takes longer than `limit`.
    pub async fn wait_for(
        &self,
        pod: &str,
        limit: Duration,
        condition: impl Fn(&PodHandle) -> bool,
    ) -> Result<PodHandle, Error> {
        let mut view = self.view.clone();
        let holds = |view: &Arc<View>| view.pod(pod).is_some_and(&condition);
        let found = timeout(limit, view.wait_for(holds)).await;
        match found {
            Ok(Ok(view)) => view.pod(pod).cloned().ok_or_else(|| unknown_pod(pod)),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => {
                let what = format!("pod {pod} did not come to the state that was waited for");
                Err(Error::Timeout { what, seconds: limit.as_secs() })
            }
        }
    }

    /// A pod as it is now. The name is `namespace/name`, or `name` where only one namespace has it; a Deployment's
    /// name stands for its first pod that is ready.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn pod(&self, name: &str) -> Result<PodHandle, Error> {
        self.view.borrow().pod(name).cloned().ok_or_else(|| unknown_pod(name))
    }

    /// All pods as they are now.
    pub fn pods(&self) -> Vec<PodHandle> {
        self.view.borrow().pods.values().cloned().collect()
    }

    /// A service's virtual addresses; none for a headless one.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Error> {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self.view.borrow().services.get(&key).cloned();
        found.ok_or_else(|| Error::Unknown { kind: "service", name: format!("{namespace}/{name}") })
    }

    /// A node.
    ///
    /// # Errors
    /// There is no such node.
    pub fn node(&self, name: &str) -> Result<&Arc<NodeNet>, Error> {
        let unknown = || Error::Unknown { kind: "node", name: name.to_owned() };
        self.nodes.get(name).ok_or_else(unknown)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeNet>> {
        self.nodes.values()
    }

    /// The network between the nodes; see [`crate::Topology::fabric`].
    pub fn fabric(&self) -> &Arc<Room> {
        &self.fabric
    }

    /// The name and run directory.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Runs a command in the first container of a pod (see [`Sandbox::pod`]), to its end.
    ///
    /// # Errors
    /// There is no such pod, it has not been started yet, or the program cannot be run. A command that fails is no
    /// error here: look at [`Output::code`].
    pub async fn exec(&self, pod: &str, argv: &[&str]) -> Result<Output, Error> {
        let program = self.program(pod)?;
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let name = argv.first().cloned().unwrap_or_default();
        let run = async move { program.exec(&argv).await };
        match self.runtime.spawn(run).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(problem)) => Err(Error::Start {
                program: format!("{name} in pod {pod}"),
                source: std::io::Error::other(problem),
            }),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// A command in the first container of a pod that goes on while the caller does other things. It is killed when
    /// the value is dropped, or with the pod.
    ///
    /// # Errors
    /// As [`Sandbox::exec`].
    pub fn spawn(
        &self,
        pod: &str,
        argv: &[&str],
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Result<std::process::Child, Error> {
        let program = self.program(pod)?;
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let failed =
            |problem: std::io::Error| Error::Start { program: argv.join(" "), source: problem };
        let mut command =
            program.command(&argv).map_err(|problem| failed(std::io::Error::other(problem)))?;
        prepare(&mut command);
        program.room.spawn(command).map_err(failed)
    }

    fn program(&self, pod: &str) -> Result<Program, Error> {
        let unknown = || Error::Unknown { kind: "running pod", name: pod.to_owned() };
        self.pod(pod)?.inside.program(None).ok_or_else(unknown)
    }

    /// Puts the objects of some YAML in force, over those from files, and returns their names. Pods that follow from
    /// them are on their way then; [`Sandbox::ready`] waits for them.
    ///
    /// # Errors
    /// One of them is wrong; none is used then.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<ObjectRef>, Error> {
        let manifest = manifest::read("applied", yaml);
        if let Some(refusal) = manifest.refusals.into_iter().next() {
            return Err(refusal.invalid.into());
        }
        let manifest = manifest::read("applied", yaml);
        self.ask(|done| Command::Apply(manifest, done)).await
    }

    /// Takes an object out of force, wherever it came from. The namespace is empty for kinds that have none.
    ///
    /// # Errors
    /// There is no such object.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Error> {
        let key = ObjectRef::new(kind, namespace, name);
        let text = key.to_string();
        match self.ask(|done| Command::Delete(key, done)).await? {
            true => Ok(()),
            false => Err(Error::Unknown { kind: "object", name: text }),
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(Error::Stopping)?;
        commands.send(command(done)).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// Ends every process by SIGTERM, and by SIGKILL what takes longer than `grace`; then removes everything.
    ///
    /// # Errors
    /// Pods did not end; they are killed then, and everything is removed all the same.
    pub async fn stop(mut self, grace: Duration) -> Result<(), Error> {
        let limit = grace + STOP_MARGIN;
        let stopped = timeout(limit, self.ask(|done| Command::Stop(grace, done))).await;
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // Joining blocks for as long as namespaces take to go.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        match stopped {
            Ok(_) => Ok(()),
            Err(_) => {
                let what = "pods did not end, and were killed".to_owned();
                Err(Error::Timeout { what, seconds: limit.as_secs() })
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unknown_pod(name: &str) -> Error {
    Error::Unknown { kind: "pod", name: name.to_owned() }
}

#[cfg(test)]
mod tests;
