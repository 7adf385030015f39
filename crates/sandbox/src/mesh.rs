//! The programs of the mesh itself: a controller, and an agent and a ztunnel on each node.

mod agent;
mod component;
mod diagnostics;
mod programs;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep};

use crate::error::{Error, IoContext};
use crate::event::Event;
use crate::room::Room;
use crate::topology::NodeNet;

pub(crate) use agent::{Agent, Enrolment};
pub use component::Component;
pub(crate) use component::{Order, Supervisor};
use diagnostics::Diagnostics;
pub use programs::{Binaries, Settings};
pub(crate) use programs::{CLUSTER_ID, control_plane};
pub(crate) use tokens::Tokens;

/// All programs of the mesh, running.
#[derive(Debug)]
pub(crate) struct Mesh {
    supervisors: BTreeMap<Component, Supervisor>,
}

/// Where the programs find each other's files, below the instance's directory.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) dir: PathBuf,
    /// The objects that the controller reads.
    pub(crate) objects: PathBuf,
    pub(crate) ipv6: bool,
}

/// How long a program may take to come up.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long one may take to end when all ends.
const STOP_GRACE: Duration = Duration::from_secs(2);

// === impl Mesh ===

impl Mesh {
    /// Starts everything, and returns when pods can be enrolled. `written` tells of objects that were written.
    ///
    /// # Errors
    /// A program is missing, or does not come up; the message has its last words.
    pub(crate) async fn start(
        settings: &Arc<Settings>,
        places: &Places,
        (fabric, nodes): (&Arc<Room>, &[Arc<NodeNet>]),
        (events, written): (&broadcast::Sender<Event>, &Arc<Notify>),
    ) -> Result<Self, Error> {
        settings.binaries.check()?;
        let mut mesh = Self { supervisors: BTreeMap::new() };
        let start = programs::controller(settings.clone(), places.clone(), fabric.clone());
        mesh.supervise(Component::Controller, events, start);
        let diagnostics = Diagnostics {
            fabric: fabric.clone(),
            written: written.clone(),
            events: events.clone(),
            dir: places.objects.clone(),
        };
        tokio::spawn(diagnostics.run());
        for node in nodes {
            let start = programs::agent(settings.clone(), places.clone(), node.clone());
            mesh.supervise(Component::Agent(node.name().to_owned()), events, start);
        }
        // A ztunnel reads the roots when it starts.
        let root = places.root_cert();
        mesh.await_file(&Component::Controller, &root).await?;
        for node in nodes {
            let start = programs::ztunnel(settings.clone(), places.clone(), node.clone());
            mesh.supervise(Component::Ztunnel(node.name().to_owned()), events, start);
        }
        for node in nodes {
            let agent = Component::Agent(node.name().to_owned());
            mesh.await_file(&agent, &places.agent_socket(node.name())).await?;
        }
        Ok(mesh)
    }

    fn supervise(
        &mut self,
        component: Component,
        events: &broadcast::Sender<Event>,
        start: component::Start,
    ) {
        let supervisor = Supervisor::new(component.clone(), events.clone(), start);
        self.supervisors.insert(component, supervisor);
    }

    async fn await_file(&self, component: &Component, file: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        while !file.exists() {
            if Instant::now() > deadline {
                let supervisor = self.supervisors.get(component);
                return Err(Error::Component {
                    component: component.to_string(),
                    problem: format!("was not up within {} s", START_LIMIT.as_secs()),
                    last_words: supervisor.map(|of| of.log().last_words()).unwrap_or_default(),
                });
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The supervisor of a program.
    pub(crate) fn get(&self, component: &Component) -> Result<&Supervisor, Error> {
        self.supervisors
            .get(component)
            .ok_or_else(|| Error::Unknown { kind: "program", name: component.to_string() })
    }

    /// Ends everything.
    pub(crate) async fn stop(&self) {
        let stops = self.supervisors.values().map(|of| of.order(Order::Stop(STOP_GRACE)));
        futures_util::future::join_all(stops).await;
    }
}

// === impl Places ===

impl Places {
    /// Makes the directories.
    pub(crate) fn make(&self, nodes: &[Arc<NodeNet>]) -> Result<(), Error> {
        let of_node = |node: &Arc<NodeNet>| {
            [self.node(node.name()).join("state"), self.agent_dir(node.name())]
        };
        let dirs = nodes.iter().flat_map(of_node).chain([self.ca(), self.root_dir()]);
        for dir in dirs {
            fs::create_dir_all(&dir).doing("create", &dir)?;
        }
        Ok(())
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.dir.join("nodes").join(name)
    }

    pub(crate) fn token(&self, node: &str) -> PathBuf {
        self.node(node).join("token")
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.join("node-tokens")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    pub(crate) fn root_cert(&self) -> PathBuf {
        self.root_dir().join("root-cert.pem")
    }

    /// The directory of the roots.
    pub(crate) fn root_dir(&self) -> PathBuf {
        self.dir.join("controller")
    }

    /// The directory with the token of an account, `namespace/name`.
    pub(crate) fn account(&self, account: &str) -> PathBuf {
        self.dir.join("accounts").join(account.replace('/', "."))
    }

    pub(crate) fn zds_socket(&self, node: &str) -> PathBuf {
        self.node(node).join("ztunnel.sock")
    }

    pub(crate) fn agent_dir(&self, node: &str) -> PathBuf {
        self.node(node).join("agent")
    }

    pub(crate) fn agent_socket(&self, node: &str) -> PathBuf {
        self.agent_dir(node).join("control.sock")
    }
}
