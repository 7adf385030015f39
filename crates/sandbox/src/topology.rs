//! The bare machine room: a fabric, nodes on it, and pods behind the nodes, all with addresses and routes.
//!
//! ```text
//!  pod eth0 ── veth ── p<n> node eth0 ── veth ── <node> fabric bridge
//!  10.244.N.x          10.244.N.1  172.30.0.(10+N)      172.30.0.1
//!  fd00:10:244:N::x    fe80::1     fd00:172:30::(10+N)  fd00:172:30::1
//! ```
//!
//! Pods' addresses are routed, not bridged, so that all of a pod's traffic passes its node's IP layer, as on most
//! clusters. Whatever the nodes say to each other can be captured on the fabric.

mod link;
mod net;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::instance::{Instance, kill_inside};
use crate::room::{Room, find_program};

pub use net::{NodeNet, PodNet};

/// How a topology is made.
#[derive(Clone, Debug)]
pub struct TopologyOptions {
    /// The name that tells sandboxes apart, 1 to 20 lower-case letters, digits or `-`; a new one if `None`.
    pub instance: Option<String>,
    /// IPv6 addresses beside the IPv4 ones, where the kernel has IPv6.
    pub ipv6: bool,
    /// The TCP congestion control of every namespace; the machine's own if `None`. Benchmarks want `cubic`.
    pub congestion_control: Option<String>,
}

/// Namespaces for a fabric, nodes and pods. Dropping it ends every process inside and removes everything.
#[derive(Debug)]
pub struct Topology {
    // Order matters: rooms close before the instance sweeps.
    pods: BTreeMap<String, Arc<PodNet>>,
    nodes: BTreeMap<String, Arc<NodeNet>>,
    fabric: Arc<Room>,
    next_host: BTreeMap<String, u8>,
    options: TopologyOptions,
    instance: Arc<Instance>,
}

/// The most nodes that a topology has room for.
pub const MAX_NODES: usize = 200;
/// The most pods that a node has room for.
pub const MAX_PODS: usize = 250;
/// The fabric's own address, where a process beside the nodes (the controller) listens.
pub const FABRIC_V4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// The same for IPv6.
pub const FABRIC_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 1);

// === impl TopologyOptions ===

impl Default for TopologyOptions {
    fn default() -> Self {
        Self { instance: None, ipv6: true, congestion_control: None }
    }
}

// === impl Topology ===

impl Topology {
    /// An empty fabric. Sweeps what crashed sandboxes left on this machine first.
    ///
    /// # Errors
    /// The name is taken, or privileges or programs are missing; each message says what to do.
    pub fn new(options: TopologyOptions) -> Result<Self, Error> {
        supported()?;
        let ipv6 = options.ipv6 && kernel_has_ipv6();
        let options = TopologyOptions { ipv6, ..options };
        let name = options.instance.clone().unwrap_or_else(unique_name);
        let instance = Arc::new(Instance::take(&name)?);
        if let Some(algorithm) = &options.congestion_control {
            link::allow_congestion_control(&instance, algorithm)?;
        }
        let fabric = Arc::new(Room::create(instance.name())?);
        instance.record("fabric", fabric.netns().id(), fabric.path())?;
        link::set_up_fabric(&fabric, &options)?;
        let next_host = BTreeMap::new();
        let (pods, nodes) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { pods, nodes, fabric, next_host, options, instance })
    }

    /// The name and run directory.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The namespace with the bridge that connects the nodes; `tcpdump -i fabric` in it sees all they say.
    pub fn fabric(&self) -> &Arc<Room> {
        &self.fabric
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeNet>> {
        self.nodes.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeNet>> {
        self.nodes.values()
    }

    /// The pod of that name.
    pub fn pod(&self, name: &str) -> Option<&Arc<PodNet>> {
        self.pods.get(name)
    }

    /// Adds a node, reachable from all others.
    ///
    /// # Errors
    /// There is one of that name, no room for more, or the network cannot be set up.
    pub fn add_node(&mut self, name: &str) -> Result<Arc<NodeNet>, Error> {
        if self.nodes.contains_key(name) {
            return Err(Error::Exists { kind: "node", name: name.to_owned() });
        }
        let taken: Vec<u8> = self.nodes.values().map(|node| node.index).collect();
        let index = (1..=MAX_NODES)
            .filter_map(|index| u8::try_from(index).ok())
            .find(|index| !taken.contains(index))
            .ok_or(Error::Full { what: "the fabric".to_owned(), limit: MAX_NODES })?;
        let room = Room::create(self.instance.name())?;
        self.instance.record(&node_part(name), room.netns().id(), room.path())?;
        let ips = link::node_ips(index, &self.options);
        let gateways = link::gateways(index, &self.options);
        let node = NodeNet { name: name.to_owned(), index, ips, gateways, room };
        link::set_up_node(&self.fabric, &node, &self.options)?;
        let node = Arc::new(node);
        for other in self.nodes.values() {
            link::route_between(other, &node)?;
            link::route_between(&node, other)?;
        }
        self.nodes.insert(name.to_owned(), node.clone());
        Ok(node)
    }

    /// Adds a pod's namespace behind `node`, with addresses, and routes to everything.
    ///
    /// # Errors
    /// There is a pod of that name, or no such node; no room for more; or the network cannot be set up.
    pub fn add_pod(&mut self, node: &str, name: &str) -> Result<Arc<PodNet>, Error> {
        if self.pods.contains_key(name) {
            return Err(Error::Exists { kind: "pod", name: name.to_owned() });
        }
        let unknown = || Error::Unknown { kind: "node", name: node.to_owned() };
        let node = self.nodes.get(node).ok_or_else(unknown)?.clone();
        let host = self.free_host(&node)?;
        let room = Room::create(self.instance.name())?;
        self.instance.record(&pod_part(name), room.netns().id(), room.path())?;
        let ips = link::pod_ips(node.index, host, &self.options);
        let (name, of) = (name.to_owned(), node.name.clone());
        let pod = Arc::new(PodNet { name, node: of, host, ips, room });
        link::set_up_pod(&node, &pod, &self.options)?;
        self.next_host.insert(node.name.clone(), host.checked_add(1).unwrap_or(FIRST_HOST));
        self.pods.insert(pod.name.clone(), pod.clone());
        Ok(pod)
    }

    /// Ends every process in the pod's namespace and removes it; no error if there is none.
    ///
    /// Other holders of the [`PodNet`] keep the namespace itself alive, without a cable.
    pub fn remove_pod(&mut self, name: &str) {
        let Some(pod) = self.pods.remove(name) else {
            return;
        };
        kill_inside(&[pod.room.netns().id()]);
        if let Some(node) = self.nodes.get(&pod.node) {
            link::unplug(node, &pod);
        }
        self.instance.forget(&pod_part(name));
    }

    /// The next address on `node` that is free, used addresses last.
    fn free_host(&self, node: &NodeNet) -> Result<u8, Error> {
        let taken: Vec<u8> =
            self.pods.values().filter(|pod| pod.node == node.name).map(|pod| pod.host).collect();
        let next = self.next_host.get(&node.name).copied().unwrap_or(FIRST_HOST);
        (next..=LAST_HOST)
            .chain(FIRST_HOST..next)
            .find(|host| !taken.contains(host))
            .ok_or_else(|| Error::Full { what: format!("node {}", node.name), limit: MAX_PODS })
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let rooms = self.pods.values().map(|pod| &pod.room);
        let rooms = rooms.chain(self.nodes.values().map(|node| &node.room)).chain([&*self.fabric]);
        kill_inside(&rooms.map(|room| room.netns().id()).collect::<Vec<_>>());
    }
}

/// The host part of a node's first pod.
const FIRST_HOST: u8 = 2;
/// The host part of a node's last pod.
const LAST_HOST: u8 = 251;

/// Loads a transaction of nftables rules in a room.
pub(crate) fn load_rules(room: &Room, script: String) -> Result<(), Error> {
    link::feed(room, ("nft", "nftables"), &["-f", "-"], script)
}

/// Gives a node further addresses of its own, on its loopback interface.
pub(crate) fn add_addresses(node: &NodeNet, ips: &[IpAddr]) -> Result<(), Error> {
    link::add_addresses(node, ips)
}

/// Whether the machine allows what a sandbox needs: the `Ok` of tests that run only where it does.
///
/// # Errors
/// What is missing and how to get it.
pub fn supported() -> Result<(), Error> {
    let probe = std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET));
    match probe.join() {
        Ok(Ok(())) => {}
        Ok(Err(errno)) => return Err(Error::namespaces(errno.into())),
        Err(_) => return Err(Error::namespaces(io::Error::other("thread panicked"))),
    }
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("setpriv", "util-linux")] {
        if find_program(program.as_ref()).is_none() {
            return Err(Error::Program { program, package });
        }
    }
    Ok(())
}

/// Whether the kernel knows IPv6 at all; whether it is switched off elsewhere does not matter.
pub(crate) fn kernel_has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn node_part(name: &str) -> String {
    format!("node-{name}")
}

fn pod_part(name: &str) -> String {
    format!("pod-{}", name.replace('/', "."))
}

/// A name that no other sandbox of this machine has.
fn unique_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("p{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
