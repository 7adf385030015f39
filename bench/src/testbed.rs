//! Where it happens: for each peer two nodes of its own, a client on the first and a server on each.
//!
//! All peers' nodes stay up during the whole run, so that the measurements can alternate between them.

mod agent;
mod server;
pub(crate) mod state_file;
mod ztunnel;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ambit_sandbox::{NodeNet, PodNet, Room, Topology, TopologyOptions};
use anyhow::{Context as _, ensure};

use crate::load::Tools;
use crate::load::idle::{Connections, Request};
use crate::peer::{Peer, Ztunnel};
use crate::scenario::{CONGESTION_CONTROL, Placement};
use crate::sockets;
use server::Server;
pub(crate) use ztunnel::{Feed, Proxy};

/// All stages. Dropping it ends every process inside and removes every namespace.
#[derive(Debug)]
pub(crate) struct Testbed {
    // Order matters: processes end before their namespaces go.
    pub(crate) stages: Vec<Stage>,
    _topology: Topology,
}

/// What is out of the ordinary on every stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    /// Client pods beside the first one.
    pub(crate) more_clients: usize,
    /// Policies that are asked about every connection and match none.
    pub(crate) policies: u32,
}

/// What one peer is measured on.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) peer: Peer,
    pub(crate) client: Arc<PodNet>,
    pub(crate) more_clients: Vec<Arc<PodNet>>,
    /// The nodes, the client's first.
    pub(crate) nodes: Vec<Arc<NodeNet>>,
    near: Server,
    far: Server,
    /// The proxy of the client's node, then that of the other; none for the bare network.
    pub(crate) proxies: Vec<Proxy>,
}

/// One node with its pods.
struct Node {
    net: Arc<NodeNet>,
    pods: Vec<Arc<PodNet>>,
}

// === impl Testbed ===

impl Testbed {
    /// Makes the namespaces, and starts servers and proxies in them; returns when all are ready.
    ///
    /// # Errors
    /// Privileges or programs are missing, or a program does not become ready; each message says what to do.
    pub(crate) async fn build(
        peers: &[Peer],
        layout: Layout,
        tools: &Tools,
    ) -> anyhow::Result<Self> {
        check_kernel()?;
        let congestion_control = Some(CONGESTION_CONTROL.to_owned());
        let options = TopologyOptions { congestion_control, ..TopologyOptions::default() };
        let mut topology = Topology::new(options)?;
        be_a_switch(topology.fabric())?;
        let mut stages = Vec::new();
        for peer in peers {
            let stage = Stage::build((peer, layout), &mut topology, tools).await;
            stages.push(stage.with_context(|| format!("setting up {:?}", peer.name))?);
        }
        Ok(Self { stages, _topology: topology })
    }

    /// # Errors
    /// Traffic of a stage does not take the way that is to be measured.
    pub(crate) async fn check_paths(&self) -> anyhow::Result<()> {
        for stage in &self.stages {
            for placement in Placement::ALL {
                stage.check_path(placement).await?;
            }
        }
        Ok(())
    }
}

// === impl Stage ===

impl Stage {
    async fn build(
        (peer, layout): (&Peer, Layout),
        topology: &mut Topology,
        tools: &Tools,
    ) -> anyhow::Result<Self> {
        let dir = topology.instance().dir().join(peer.name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let name = |part: &str| format!("{}-{part}", peer.name);
        let (mut first, mut second) =
            (Node::add(topology, &name("1"))?, Node::add(topology, &name("2"))?);
        let client = first.add_pod(topology, &name("client"))?;
        let mut more_clients = Vec::new();
        for number in 0..layout.more_clients {
            more_clients.push(first.add_pod(topology, &name(&format!("client-{number}")))?);
        }
        let near = first.add_pod(topology, &name("near"))?;
        let far = second.add_pod(topology, &name("far"))?;
        let near = Server::start(near, tools, &dir).await?;
        let far = Server::start(far, tools, &dir).await?;
        let nodes = vec![first.net.clone(), second.net.clone()];
        let proxies = match &peer.ztunnel {
            Some(ztunnel) => proxies(ztunnel, &[first, second], layout.policies, &dir).await?,
            None => Vec::new(),
        };
        let peer = peer.clone();
        Ok(Self { peer, client, more_clients, nodes, near, far, proxies })
    }

    /// The processes of the proxies, that of the client's node first.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.proxies.iter().map(|proxy| proxy.program.pid()).collect()
    }

    /// The server that is placed there.
    pub(crate) fn server(&self, placement: Placement) -> &Arc<PodNet> {
        match placement {
            Placement::CrossNode => self.far.pod(),
            Placement::SameNode => self.near.pod(),
        }
    }

    /// # Errors
    /// Names the program of this stage that has ended, with its last words.
    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        for program in self.near.programs().chain(self.far.programs()) {
            program.ensure_running()?;
        }
        self.proxies.iter_mut().try_for_each(|proxy| proxy.program.ensure_running())
    }

    /// Opens a connection, and looks whether it goes where it should: through the proxies, or not through any.
    ///
    /// # Errors
    /// It does not, and measuring would tell nothing.
    async fn check_path(&self, placement: Placement) -> anyhow::Result<()> {
        let server = self.server(placement);
        let client = self.client.room();
        let connections = Connections::open(client, server.ip(), 1, Request::Small);
        let _open = connections.await.with_context(|| self.last_words())?;
        let captured = sockets::established(client, ambit_redirect::OUTBOUND_PORT)? > 0;
        let tunnelled = sockets::established(server.room(), ambit_redirect::HBONE_PORT)? > 0;
        let (name, place) = (self.peer.name, placement.title());
        if self.peer.ztunnel.is_none() {
            ensure!(!captured && !tunnelled, "{name}, {place}: a proxy is in the path");
            return Ok(());
        }
        ensure!(captured, "{name}, {place}: the client's connections are not captured");
        // On one node a proxy may take any way it likes.
        let tunnelled = tunnelled || placement == Placement::SameNode;
        ensure!(tunnelled, "{name}, {place}: no tunnel arrives in the server's namespace");
        Ok(())
    }

    fn last_words(&self) -> String {
        let of =
            |proxy: &Proxy| format!("{}: {}", proxy.program.name(), proxy.program.last_words());
        self.proxies.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

// === impl Node ===

impl Node {
    fn add(topology: &mut Topology, name: &str) -> anyhow::Result<Self> {
        let net = topology.add_node(name)?;
        check_congestion_control(net.room())?;
        Ok(Self { net, pods: Vec::new() })
    }

    fn add_pod(&mut self, topology: &mut Topology, name: &str) -> anyhow::Result<Arc<PodNet>> {
        let pod = topology.add_pod(self.net.name(), name)?;
        check_congestion_control(pod.room())?;
        self.pods.push(pod.clone());
        Ok(pod)
    }
}

/// Starts a proxy on each node, for its pods, all knowing of all pods.
async fn proxies(
    ztunnel: &Ztunnel,
    nodes: &[Node],
    policies: u32,
    dir: &Path,
) -> anyhow::Result<Vec<Proxy>> {
    let state = dir.join("state.yaml");
    let pods = nodes.iter().flat_map(|node| &node.pods);
    let content = state_file::render(pods.map(|pod| (pod.name(), pod.node(), pod.ips())), policies);
    fs::write(&state, content).with_context(|| format!("cannot write {}", state.display()))?;
    let mut proxies = Vec::new();
    for node in nodes {
        let place = (&*node.net, &node.pods[..]);
        proxies.push(Proxy::start(ztunnel, place, Feed::File(&state), dir).await?);
    }
    Ok(proxies)
}

/// Takes packet filters out of the way between the nodes, which kernels put on bridges where containers run.
fn be_a_switch(fabric: &Room) -> anyhow::Result<()> {
    let dir = Path::new("/proc/sys/net/bridge");
    let write = move || {
        ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]
            .map(|name| dir.join(name))
            .iter()
            .filter(|path| path.exists())
            .try_for_each(|path| fs::write(path, "0"))
    };
    fabric.run(write).flatten().with_context(|| format!("cannot write to {}", dir.display()))
}

/// Whether the kernel has the congestion control at all.
fn check_kernel() -> anyhow::Result<()> {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let available = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    ensure!(
        available.split_whitespace().any(|name| name == CONGESTION_CONTROL),
        "the kernel has no congestion control {CONGESTION_CONTROL:?}: `modprobe tcp_{CONGESTION_CONTROL}`"
    );
    Ok(())
}

/// Whether new sockets in `room` use it.
fn check_congestion_control(room: &Room) -> anyhow::Result<()> {
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    let used = room.run(move || fs::read_to_string(path)).flatten();
    let used = used.with_context(|| format!("cannot read {path}"))?;
    ensure!(
        used.trim() == CONGESTION_CONTROL,
        "a namespace uses the congestion control {:?} instead of {CONGESTION_CONTROL:?}: look at \
         `sysctl net.ipv4.tcp_allowed_congestion_control` on the machine itself",
        used.trim()
    );
    Ok(())
}
