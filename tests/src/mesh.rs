//! The smallest real mesh.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ambit_model::{
    Authorization, LocalState, NamespacedHostname, NetworkAddress, Service, TunnelProtocol,
    Workload,
};
use ambit_redirect::{Backend, Capture};
use ambit_sandbox::{NodeNet, PodNet, Topology, TopologyOptions};
use ambit_zds::{Request, Server, WorkloadInfo};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::watch;

use crate::pod::{Finished, Running, run, start};
use crate::wait::{DEADLINE, eventually};
use crate::{binary, wait};

/// The namespace that everything lives in.
pub const NAMESPACE: &str = "default";

/// A running mesh. Everything ends with the value.
pub struct Mesh {
    topology: Topology,
    state: LocalState,
    proxies: BTreeMap<String, Proxy>,
    environment: Vec<(String, String)>,
    dir: TempDir,
}

/// What a mesh is made of.
#[derive(Default)]
pub struct MeshBuilder {
    pods: Vec<PodSpec>,
    services: Vec<Service>,
    policies: Vec<Authorization>,
    environment: Vec<(String, String)>,
    capture: Option<Capture>,
}

struct PodSpec {
    workload: Workload,
    captured: bool,
}

/// A node's tunnel and what it is told.
struct Proxy {
    process: Child,
    log: PathBuf,
    /// How many snapshots have been acknowledged.
    snapshots: watch::Receiver<usize>,
    agent: tokio::task::JoinHandle<()>,
}

// === impl MeshBuilder ===

impl MeshBuilder {
    /// A captured pod on a node.
    #[must_use]
    pub fn pod(self, name: &str, node: &str) -> Self {
        self.add(name, node, true)
    }

    /// A pod outside the mesh.
    #[must_use]
    pub fn plain_pod(self, name: &str, node: &str) -> Self {
        self.add(name, node, false)
    }

    fn add(mut self, name: &str, node: &str, captured: bool) -> Self {
        let protocol = if captured { TunnelProtocol::Hbone } else { TunnelProtocol::Tcp };
        let workload = Workload {
            uid: format!("Kubernetes//Pod/{NAMESPACE}/{name}").into(),
            name: name.into(),
            namespace: NAMESPACE.into(),
            service_account: name.into(),
            canonical_name: name.into(),
            workload_name: name.into(),
            node: node.into(),
            protocol,
            ..Workload::default()
        };
        self.pods.push(PodSpec { workload, captured });
        self
    }

    /// A service with a virtual address; the pods in `endpoints` serve it on `target`.
    ///
    /// # Panics
    /// One of `endpoints` has not been added before.
    #[must_use]
    pub fn service(mut self, name: &str, vip: &str, ports: (u16, u16), endpoints: &[&str]) -> Self {
        let (port, target) = ports;
        let hostname = format!("{name}.{NAMESPACE}.svc.cluster.local");
        let key = NamespacedHostname::new(NAMESPACE, hostname.as_str());
        self.services.push(Service {
            name: name.into(),
            namespace: NAMESPACE.into(),
            hostname: hostname.into(),
            vips: vec![NetworkAddress::new("", vip.parse().expect("an address"))],
            ports: [(port, target)].into(),
            canonical: true,
            ..Service::default()
        });
        for endpoint in endpoints {
            let pod = self.pods.iter_mut().find(|pod| &*pod.workload.name == *endpoint);
            let workload = &mut pod.expect("the pod is there").workload;
            workload.services.insert(key.clone(), [(port, target)].into());
        }
        self
    }

    /// A policy, in the YAML or JSON of state files.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn policy(mut self, policy: serde_json::Value) -> Self {
        self.policies.push(serde_json::from_value(policy).expect("a policy"));
        self
    }

    /// A variable for every tunnel.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Other rules than the usual ones.
    #[must_use]
    pub fn capture(mut self, capture: Capture) -> Self {
        self.capture = Some(capture);
        self
    }

    /// Changes a pod's workload before the mesh starts.
    ///
    /// # Panics
    /// There is no such pod.
    #[must_use]
    pub fn workload(mut self, name: &str, change: impl FnOnce(&mut Workload)) -> Self {
        let pod = self.pods.iter_mut().find(|pod| &*pod.workload.name == name);
        change(&mut pod.expect("the pod is there").workload);
        self
    }

    /// Brings it up, and waits until every captured pod is served.
    ///
    /// # Panics
    /// Something does not start.
    pub async fn start(self) -> Mesh {
        let mut topology = Topology::new(TopologyOptions::default()).expect("namespaces");
        let capture = self.capture.unwrap_or_default();
        let mut captured: BTreeMap<String, Vec<(Workload, Arc<PodNet>)>> = BTreeMap::new();
        let mut state = LocalState { services: self.services, policies: self.policies, ..LocalState::default() };
        for PodSpec { mut workload, captured: is_captured } in self.pods {
            if topology.node(&workload.node).is_none() {
                topology.add_node(&workload.node).expect("a node");
            }
            let pod = topology.add_pod(&workload.node, &workload.name).expect("a pod");
            workload.workload_ips = pod.ips().to_vec();
            let on_node = captured.entry(workload.node.to_string()).or_default();
            if is_captured {
                ambit_redirect::apply(pod.room().netns(), &capture, Backend::Nftables).expect("rules");
                on_node.push((workload.clone(), pod));
            }
            state.workloads.push(workload);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mut mesh =
            Mesh { topology, state, proxies: BTreeMap::new(), environment: self.environment, dir };
        mesh.write_state();
        for (node, pods) in captured {
            let proxy = mesh.start_proxy(&node, pods);
            mesh.proxies.insert(node, proxy);
        }
        mesh.served().await;
        mesh
    }
}

// === impl Mesh ===

impl Mesh {
    /// An empty mesh to describe.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// A pod's IPv4 address.
    ///
    /// # Panics
    /// There is no such pod.
    pub fn ip(&self, pod: &str) -> String {
        self.pod(pod).ip().to_string()
    }

    /// A pod's namespace.
    ///
    /// # Panics
    /// There is no such pod.
    pub fn pod(&self, name: &str) -> &Arc<PodNet> {
        self.topology.pod(name).unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// The fabric between the nodes.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Runs a program in a pod to its end.
    pub async fn run(&self, pod: &str, command: &[&str]) -> Finished {
        run(self.pod(pod), command, b"", 3 * DEADLINE).await
    }

    /// Runs a program in a pod to its end, with input, for at most `limit`.
    pub async fn run_with(&self, pod: &str, command: &[&str], input: &[u8], limit: Duration) -> Finished {
        run(self.pod(pod), command, input, limit).await
    }

    /// Starts a program in a pod; it ends with the returned value.
    pub fn start(&self, pod: &str, command: &[&str]) -> Running {
        start(self.pod(pod), command, true)
    }

    /// Waits until something listens on a port in a pod.
    pub async fn listening(&self, pod: &str, port: u16) {
        let wanted = format!(":{port}");
        eventually(|| async {
            let sockets = self.run(pod, &["ss", "-Hltn"]).await.ok();
            let listens = sockets
                .lines()
                .filter_map(|line| line.split_whitespace().nth(3))
                .any(|address| address.ends_with(&wanted));
            if listens { Ok(()) } else { Err(format!("nothing listens on {port} in {pod}")) }
        })
        .await;
    }

    /// Changes the state file and waits until every tunnel has taken it.
    ///
    /// # Panics
    /// A tunnel does not take it.
    pub async fn update(&mut self, change: impl FnOnce(&mut LocalState)) {
        change(&mut self.state);
        self.write_state();
        let policies: Vec<String> = self.state.policies.iter().map(|p| p.name.to_string()).collect();
        let uids = self.state.workloads.len();
        for node in self.proxies.keys() {
            eventually(|| async {
                let dump = self.config_dump(node).await;
                let names: Vec<String> = dump["policies"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|policy| policy["name"].as_str().unwrap_or_default().to_owned())
                    .collect();
                let known = dump["workloads"].as_array().map_or(0, Vec::len);
                let mut expected = policies.clone();
                expected.sort();
                if known == uids && expected.iter().all(|name| names.contains(name)) {
                    Ok(())
                } else {
                    Err(format!("{node} knows {known} workloads and policies {names:?}"))
                }
            })
            .await;
        }
    }

    /// What a node's tunnel knows.
    ///
    /// # Panics
    /// It does not say.
    pub async fn config_dump(&self, node: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(node, "http://127.0.0.1:15000/config_dump").await)
            .expect("the dump is JSON")
    }

    /// A node's metrics.
    pub async fn metrics(&self, node: &str) -> String {
        self.get(node, "http://127.0.0.1:15020/metrics").await
    }

    /// What a URL answers, fetched on a node.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn get(&self, node: &str, url: &str) -> String {
        self.on_node(node, &["curl", "-sS", "-m", "10", url]).await.ok()
    }

    /// Runs a program in a node's own namespace.
    ///
    /// # Panics
    /// It cannot be started.
    pub async fn on_node(&self, node: &str, command: &[&str]) -> Finished {
        let room = self.node(node).room();
        let mut process = room.command(command[0]);
        process.args(&command[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = room.spawn_async(process).expect("it starts");
        let output = wait::soon(child.wait_with_output()).await.expect("it ends");
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A node.
    ///
    /// # Panics
    /// There is no such node.
    pub fn node(&self, name: &str) -> &Arc<NodeNet> {
        self.topology.node(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The log of a node's tunnel.
    ///
    /// # Panics
    /// There is none.
    pub fn log(&self, node: &str) -> String {
        fs::read_to_string(&self.proxies[node].log).expect("a log")
    }

    /// The process id of a node's tunnel.
    ///
    /// # Panics
    /// It has ended.
    pub fn pid(&self, node: &str) -> u32 {
        self.proxies[node].process.id().expect("it runs")
    }

    /// The directory of the state file and the CA.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Waits until every captured pod is served.
    pub async fn served(&mut self) {
        for (node, proxy) in &mut self.proxies {
            let served = proxy.snapshots.wait_for(|count| *count > 0);
            if tokio::time::timeout(DEADLINE, served).await.is_err() {
                let log = fs::read_to_string(&proxy.log).unwrap_or_default();
                panic!("the tunnel of {node} does not serve its pods:\n{log}");
            }
        }
    }

    fn write_state(&self) {
        let path = self.dir.path().join("state.yaml");
        let temporary = self.dir.path().join(".state.yaml");
        let text = serde_json::to_vec_pretty(&self.state).expect("it serialises");
        fs::write(&temporary, text).expect("it can be written");
        fs::rename(temporary, path).expect("it can be replaced");
    }

    fn start_proxy(&self, node: &str, pods: Vec<(Workload, Arc<PodNet>)>) -> Proxy {
        let dir = self.dir.path();
        let socket = dir.join(format!("{node}.sock"));
        let server = Server::bind(&socket).expect("a socket");
        let (counter, snapshots) = watch::channel(0);
        let agent = tokio::spawn(serve_agent(server, pods, counter));
        let log = dir.join(format!("{node}.log"));
        let process = self.spawn_ztunnel(node, &log);
        Proxy { process, log, snapshots, agent }
    }

    fn spawn_ztunnel(&self, node: &str, log: &std::path::Path) -> Child {
        let dir = self.dir.path();
        let room = self.node(node).room();
        let file = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = room.command(binary("ztunnel"));
        command
            .env("NODE_NAME", node)
            .env("INPOD_UDS", dir.join(format!("{node}.sock")))
            .env("LOCAL_XDS_PATH", dir.join("state.yaml"))
            .env("LOCAL_CA_DIR", dir.join("ca"))
            .env("XDS_ADDRESS", "")
            .env("RUST_LOG", "info,rbac=debug")
            .envs(self.environment.iter().cloned())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        room.spawn_async(command).expect("ztunnel starts")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for proxy in self.proxies.values() {
            proxy.agent.abort();
        }
        if std::thread::panicking() {
            for (node, proxy) in &self.proxies {
                let log = fs::read_to_string(&proxy.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(25)..].join("\n");
                eprintln!("--- the tunnel of {node} said last:\n{tail}");
            }
        }
    }
}

/// Plays the agent of one node: tells every tunnel that connects which pods there are.
async fn serve_agent(
    mut server: Server,
    pods: Vec<(Workload, Arc<PodNet>)>,
    snapshots: watch::Sender<usize>,
) {
    let mut connections = Vec::new();
    loop {
        let mut connection = server.accept().await.expect("a tunnel connects");
        connection.hello().await.expect("it says hello");
        for (workload, pod) in &pods {
            let info = WorkloadInfo {
                name: workload.name.to_string(),
                namespace: workload.namespace.to_string(),
                service_account: workload.service_account.to_string(),
                dns: None,
            };
            let netns = pod.room().netns();
            let add = Request::Add { uid: workload.uid.to_string(), info, netns };
            connection.request(&add).await.expect("the tunnel takes the pod");
        }
        connection.request(&Request::<std::os::fd::OwnedFd>::SnapshotSent).await.expect("an answer");
        snapshots.send_modify(|count| *count += 1);
        connections.push(connection);
    }
}
