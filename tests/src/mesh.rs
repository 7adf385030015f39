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
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::watch;

use crate::pod::{Finished, Running, run_in, start_in};
use crate::wait::{DEADLINE, eventually};
use crate::{binary, wait};

/// The namespace that everything lives in.
pub(crate) const NAMESPACE: &str = "default";

/// A running mesh. Everything ends with the value.
pub struct Mesh {
    topology: Topology,
    state: LocalState,
    proxies: BTreeMap<String, Proxy>,
    environment: Vec<(String, String)>,
    wrappers: BTreeMap<String, Vec<String>>,
    dir: TempDir,
}

/// What a mesh is made of.
#[derive(Default)]
pub struct MeshBuilder {
    pods: Vec<PodSpec>,
    services: Vec<Service>,
    policies: Vec<Authorization>,
    environment: Vec<(String, String)>,
    wrappers: BTreeMap<String, Vec<String>>,
    capture: Option<Capture>,
    change: Option<StateChange>,
}

type StateChange = Box<dyn FnOnce(&mut LocalState)>;

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
    /// How often it has been replaced.
    generation: u16,
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
    pub fn policy(mut self, policy: Value) -> Self {
        self.policies.push(serde_json::from_value(policy).expect("a policy"));
        self
    }

    /// A variable for every tunnel.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A program that starts the tunnel of a node, e.g. with other limits; it gets the tunnel's path as its last
    /// argument and has to become it by exec.
    #[must_use]
    pub fn wrap(mut self, node: &str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.wrappers.insert(node.to_owned(), words);
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

    /// Changes the state before the mesh starts, once the pods have their addresses.
    #[must_use]
    pub fn state(mut self, change: impl FnOnce(&mut LocalState) + 'static) -> Self {
        self.change = Some(Box::new(change));
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
        let mut state = LocalState {
            services: self.services,
            policies: self.policies,
            ..LocalState::default()
        };
        for PodSpec { mut workload, captured: is_captured } in self.pods {
            if topology.node(&workload.node).is_none() {
                topology.add_node(&workload.node).expect("a node");
            }
            let pod = topology.add_pod(&workload.node, &workload.name).expect("a pod");
            workload.workload_ips = pod.ips().to_vec();
            let on_node = captured.entry(workload.node.to_string()).or_default();
            if is_captured {
                ambit_redirect::apply(pod.room().netns(), &capture, Backend::Nftables)
                    .expect("rules");
                on_node.push((workload.clone(), pod));
            }
            state.workloads.push(workload);
        }
        if let Some(change) = self.change {
            change(&mut state);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let (environment, wrappers) = (self.environment, self.wrappers);
        let mut mesh =
            Mesh { topology, state, proxies: BTreeMap::new(), environment, wrappers, dir };
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
        run_in(self.pod(pod).room(), command, b"", 3 * DEADLINE).await
    }

    /// Runs a program in a pod to its end, with input, for at most `limit`.
    pub async fn run_with(
        &self,
        pod: &str,
        command: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Finished {
        run_in(self.pod(pod).room(), command, input, limit).await
    }

    /// Starts a program in a pod; it ends with the returned value.
    pub fn start(&self, pod: &str, command: &[&str]) -> Running {
        start_in(self.pod(pod).room(), command)
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
        let expected = serde_json::to_value(&self.state).expect("it serialises");
        for node in self.proxies.keys() {
            eventually(|| async {
                let dump = self.config_dump(node).await;
                match difference(&expected, &dump) {
                    None => Ok(()),
                    Some(what) => Err(format!("{node} has other {what}")),
                }
            })
            .await;
        }
    }

    /// What a node's tunnel knows.
    ///
    /// # Panics
    /// It does not say.
    pub async fn config_dump(&self, node: &str) -> Value {
        serde_json::from_str(
            &self
                .get(node, &format!("http://127.0.0.1:{}/config_dump", self.port(node, 15000)))
                .await,
        )
        .expect("the dump is JSON")
    }

    /// A node's metrics.
    pub async fn metrics(&self, node: &str) -> String {
        self.get(node, &format!("http://127.0.0.1:{}/metrics", self.port(node, 15020))).await
    }

    /// The port on which the node's current tunnel has what the first one had on `first`.
    fn port(&self, node: &str, first: u16) -> u16 {
        first + 100 * self.proxies[node].generation
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

    /// Waits until a node's tunnel has logged a line with `text` in it.
    pub async fn logged(&self, node: &str, text: &str) {
        eventually(|| async {
            if self.log(node).contains(text) { Ok(()) } else { Err(self.log(node)) }
        })
        .await;
    }

    /// The process id of a node's tunnel.
    ///
    /// # Panics
    /// It has ended.
    pub fn pid(&self, node: &str) -> u32 {
        self.proxies[node].process.id().expect("it runs")
    }

    /// Sets a sysctl in a pod.
    ///
    /// # Panics
    /// The kernel does not take it.
    pub async fn sysctl(&self, pod: &str, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = value.to_owned();
        let written = self.pod(pod).room().run(move || fs::write(path, value));
        written.expect("the room is there").expect("the kernel takes it");
    }

    /// Starts a second tunnel on a node, waits until it serves, and ends the first with SIGTERM, as an upgrade does.
    ///
    /// # Panics
    /// One of them does not do its part.
    pub async fn replace_proxy(&mut self, node: &str) {
        let mut first = self.succeed(node).await;
        self.signal(node, &first, "TERM").await;
        let status = wait::soon(first.wait()).await.expect("it ends");
        assert!(status.success(), "the first tunnel of {node} ended with {status}");
    }

    /// Starts a second tunnel on a node, and waits until it serves; returns the first.
    ///
    /// # Panics
    /// It does not.
    pub async fn succeed(&mut self, node: &str) -> Child {
        let log = self.dir.path().join(format!("{node}.log"));
        // Its own servers need other ports beside the first one's; everything else is the same.
        let offset = self.proxies[node].generation + 1;
        let ports = [("ADMIN_PORT", 15000), ("STATS_PORT", 15020), ("READINESS_PORT", 15021)];
        let ports: Vec<(String, String)> = ports
            .iter()
            .map(|(name, port)| ((*name).to_owned(), (port + 100 * offset).to_string()))
            .collect();
        let successor = self.spawn_ztunnel(node, &log, &ports);
        let proxy = self.proxies.get_mut(node).expect("the node has a tunnel");
        let wanted = offset as usize + 1;
        wait::soon(proxy.snapshots.wait_for(|count| *count >= wanted)).await.expect("an agent");
        proxy.generation = offset;
        std::mem::replace(&mut proxy.process, successor)
    }

    /// Sends a signal, by its name, to a process on a node.
    ///
    /// # Panics
    /// It has ended.
    pub async fn signal(&self, node: &str, process: &Child, name: &str) {
        let pid = process.id().expect("it runs").to_string();
        let kill = self.on_node(node, &["kill", &format!("-{name}"), &pid]).await;
        assert!(kill.status.success(), "{kill:?}");
    }

    /// Ends the tunnel of a node by SIGKILL, as a crash does.
    ///
    /// # Panics
    /// It has ended before.
    pub async fn crash(&mut self, node: &str) {
        let proxy = self.proxies.get_mut(node).expect("the node has a tunnel");
        wait::soon(proxy.process.kill()).await.expect("it runs");
    }

    /// Starts the tunnel of a node again after a crash, without waiting for anything.
    pub fn restart(&mut self, node: &str) {
        let log = self.proxies[node].log.clone();
        let process = self.spawn_ztunnel(node, &log, &[]);
        self.proxies.get_mut(node).expect("the node has a tunnel").process = process;
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
        let process = self.spawn_ztunnel(node, &log, &[]);
        Proxy { process, log, snapshots, agent, generation: 0 }
    }

    fn spawn_ztunnel(
        &self,
        node: &str,
        log: &std::path::Path,
        environment: &[(String, String)],
    ) -> Child {
        let dir = self.dir.path();
        let room = self.node(node).room();
        let file = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let wrapper = self.wrappers.get(node).map(Vec::as_slice).unwrap_or_default();
        let words = wrapper.iter().map(PathBuf::from).chain([binary("ztunnel")]);
        let words: Vec<PathBuf> = words.collect();
        let mut command = room.command(&words[0]);
        command.args(&words[1..]);
        command
            .env("NODE_NAME", node)
            .env("INPOD_UDS", dir.join(format!("{node}.sock")))
            .env("LOCAL_XDS_PATH", dir.join("state.yaml"))
            .env("LOCAL_CA_DIR", dir.join("ca"))
            .env("XDS_ADDRESS", "")
            .env("RUST_LOG", "info,rbac=debug")
            .envs(self.environment.iter().cloned())
            .envs(environment.iter().cloned())
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

/// What a dump has that is different from the state file: nothing, when it has been taken.
fn difference(state: &Value, dump: &Value) -> Option<&'static str> {
    let keyed = |list: &Value, keys: [&str; 2], leave_out: &[Value]| -> BTreeMap<String, Value> {
        let key = |item: &Value| keys.map(|key| item[key].as_str().unwrap_or_default()).join("/");
        let items = list.as_array().into_iter().flatten();
        items
            .filter(|item| !leave_out.contains(&key(item).into()))
            .map(|item| (key(item), item.clone()))
            .collect()
    };
    let retained = dump["retainedPolicies"].as_array().cloned().unwrap_or_default();
    let policy = ["namespace", "name"];
    if keyed(&state["policies"], policy, &retained) != keyed(&dump["policies"], policy, &retained) {
        return Some("policies");
    }
    // Dumps list services by name.
    let workloads = |list: &Value| {
        let mut items = keyed(list, ["cluster", "uid"], &[]);
        for item in items.values_mut() {
            item.as_object_mut().expect("an object").remove("services");
        }
        items
    };
    (workloads(&state["workloads"]) != workloads(&dump["workloads"])).then_some("workloads")
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
        connection
            .request(&Request::<std::os::fd::OwnedFd>::SnapshotSent)
            .await
            .expect("an answer");
        snapshots.send_modify(|count| *count += 1);
        connections.push(connection);
    }
}
