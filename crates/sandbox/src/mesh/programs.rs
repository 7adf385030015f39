//! The commands that start the mesh's programs, with their arguments and environments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Places;
use super::component::{Start, logged};
use crate::error::Error;
use crate::room::{Room, find_program};
use crate::topology::{FABRIC_V4, NodeNet};

/// Where the mesh's own programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The node tunnel.
    pub ztunnel: PathBuf,
    /// The node agent.
    pub agent: PathBuf,
    /// The controller.
    pub controller: PathBuf,
    /// The proxy of waypoints and gateways; only needed where objects ask for one.
    pub waypoint: PathBuf,
}

/// How the mesh's programs are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they are.
    pub binaries: Binaries,
    /// Variables for every ztunnel, over those that the sandbox sets.
    pub ztunnel_env: BTreeMap<String, String>,
    /// Variables for every waypoint and gateway.
    pub waypoint_env: BTreeMap<String, String>,
    /// Variables for every agent.
    pub agent_env: BTreeMap<String, String>,
    /// Variables for the controller.
    pub controller_env: BTreeMap<String, String>,
    /// Further arguments of the controller.
    pub controller_args: Vec<String>,
}

/// The mesh's own namespace (Istio's default).
pub(super) const SYSTEM_NAMESPACE: &str = "istio-system";
/// The controller's port (Istio: xDS and certificates over TLS).
const CONTROLLER_PORT: u16 = 15012;
/// The name of the cluster.
pub(crate) const CLUSTER_ID: &str = "Kubernetes";

/// Where the controller listens.
pub(crate) fn control_plane() -> String {
    format!("https://{FABRIC_V4}:{CONTROLLER_PORT}")
}

// === impl Binaries ===

impl Binaries {
    /// The programs beside this one, as `cargo build` leaves them; from a test, those of its build.
    ///
    /// # Errors
    /// This program's own path is unknown.
    pub fn beside_this() -> std::io::Result<Self> {
        let mut dir = std::env::current_exe()?;
        dir.pop();
        if dir.ends_with("deps") {
            dir.pop();
        }
        Ok(Self {
            ztunnel: dir.join("ztunnel"),
            agent: dir.join("ambit-agent"),
            controller: dir.join("controller"),
            waypoint: dir.join("waypoint"),
        })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        for program in [&self.ztunnel, &self.agent, &self.controller] {
            find_program(program).ok_or_else(|| Error::Binary(program.clone()))?;
        }
        Ok(())
    }
}

// === impl Settings ===

impl From<Binaries> for Settings {
    fn from(binaries: Binaries) -> Self {
        Self {
            binaries,
            ztunnel_env: BTreeMap::new(),
            waypoint_env: BTreeMap::new(),
            agent_env: BTreeMap::new(),
            controller_env: BTreeMap::new(),
            controller_args: Vec::new(),
        }
    }
}

/// The controller, on the fabric.
pub(super) fn controller(settings: Arc<Settings>, places: Places, fabric: Arc<Room>) -> Start {
    Box::new(move || {
        let mut command = fabric.command(&settings.binaries.controller);
        command
            .arg("--from-dir")
            .arg(&places.objects)
            .arg("--node-tokens")
            .arg(places.tokens())
            .arg("--ca-dir")
            .arg(places.ca())
            .arg("--root-cert-out")
            .arg(places.root_cert())
            .args(["--listen", &format!("{FABRIC_V4}:{CONTROLLER_PORT}")])
            .args(&settings.controller_args)
            .envs(&settings.controller_env);
        fabric.spawn_async(logged(command))
    })
}

/// The agent of a node, in its network.
pub(super) fn agent(settings: Arc<Settings>, places: Places, node: Arc<NodeNet>) -> Start {
    Box::new(move || {
        let mut command = node.room().command(&settings.binaries.agent);
        command
            .env("CNI_AGENT_RUN_DIR", places.agent_dir(node.name()))
            .env("ZTUNNEL_UDS_ADDRESS", places.zds_socket(node.name()))
            .env("AMBIENT_IPV6", places.ipv6.to_string())
            .envs(&settings.agent_env);
        node.room().spawn_async(logged(command))
    })
}

/// The ztunnel of a node, in its network.
pub(super) fn ztunnel(settings: Arc<Settings>, places: Places, node: Arc<NodeNet>) -> Start {
    Box::new(move || {
        let address = control_plane();
        let dir = places.node(node.name());
        let mut command = node.room().command(&settings.binaries.ztunnel);
        command
            .args(["proxy", "ztunnel"])
            .env("XDS_ADDRESS", &address)
            .env("CA_ADDRESS", &address)
            .env("XDS_ROOT_CA", places.root_cert())
            .env("CA_ROOT_CA", places.root_cert())
            .env("AUTH_TOKEN", places.token(node.name()))
            .env("INPOD_UDS", places.zds_socket(node.name()))
            .env("NODE_NAME", node.name())
            .env("POD_NAME", format!("ztunnel-{}", node.name()))
            .env("POD_NAMESPACE", SYSTEM_NAMESPACE)
            .env("SERVICE_ACCOUNT", "ztunnel")
            .env("INSTANCE_IP", node.ip().to_string())
            .env("CLUSTER_ID", CLUSTER_ID)
            .env("IPV6_ENABLED", places.ipv6.to_string())
            .env("AMBIT_STATE_DIR", dir.join("state"))
            .envs(&settings.ztunnel_env)
            .current_dir(&dir);
        node.room().spawn_async(logged(command))
    })
}
