//! A mesh with a waypoint, a client and two servers.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ambit_sandbox::{Binaries, Options, PodHandle, Sandbox, Settings, Source};
use ambit_tests::{Finished, Running, Usage, binary, eventually, run_in, start_in};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;

use super::http1::{self, PROBE};

const LIMIT: Duration = Duration::from_secs(60);

/// The pods that serve; the first is on the client's node, the second on the other.
pub(super) const SERVERS: [&str; 2] = ["near", "far"];

const MESH: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: size}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: size, namespace: shop}
data: {deployment: 'spec: {replicas: 1}'}
";

/// The mesh; everything ends with the value.
pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    ports: AtomicU16,
}

/// A service to put in front of servers.
#[derive(Clone, Copy)]
pub(super) struct Service<'a> {
    name: &'a str,
    target: u16,
    servers: &'a [&'a str],
    protocol: &'a str,
    rules: Rules<'a>,
}

/// What an object that is about a service says.
#[derive(Clone, Copy)]
enum Rules<'a> {
    None,
    HttpRoute(&'a str),
    VirtualService(&'a str),
}

// === impl Service ===

impl<'a> Service<'a> {
    /// HTTP on `target` of both servers.
    pub(super) fn http(name: &'a str, target: u16) -> Self {
        Self { name, target, servers: &SERVERS, protocol: "http", rules: Rules::None }
    }

    /// The same of these servers alone.
    pub(super) fn on(self, servers: &'a [&'a str]) -> Self {
        Self { servers, ..self }
    }

    /// Its `appProtocol`; anything unknown is detected.
    pub(super) fn speaks(self, protocol: &'a str) -> Self {
        Self { protocol, ..self }
    }

    /// The rules of its HTTPRoute, in YAML's flow style.
    pub(super) fn rules(self, rules: &'a str) -> Self {
        Self { rules: Rules::HttpRoute(rules), ..self }
    }

    /// The `http` of its VirtualService, in YAML's flow style, without the brackets.
    pub(super) fn http_rules(self, rules: &'a str) -> Self {
        Self { rules: Rules::VirtualService(rules), ..self }
    }

    fn yaml(&self) -> String {
        let Self { name, target, servers, protocol, rules } = self;
        let server = match servers {
            [one] => one,
            _ => "any",
        };
        let mut yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{selector: {{{server}: 'yes'}}, ports: [{{name: p, port: 80, targetPort: {target}, appProtocol: {protocol}}}]}}\n"
        );
        // What waits for the rules asks for something that only they answer.
        match rules {
            Rules::None => {}
            Rules::HttpRoute(rules) => yaml.push_str(&format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                 metadata: {{name: {name}, namespace: shop}}\n\
                 spec:\n  parentRefs: [{{group: '', kind: Service, name: {name}}}]\n  rules:\n  \
                 - {{matches: [{{path: {{type: Exact, value: {PROBE}}}}}], \
                 filters: [{{type: RequestRedirect, requestRedirect: {{path: {{type: ReplaceFullPath, replaceFullPath: /there}}}}}}]}}\n{rules}"
            )),
            Rules::VirtualService(rules) => yaml.push_str(&format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {{name: {name}, namespace: shop}}\n\
                 spec: {{hosts: [{name}], http: [\
                 {{match: [{{uri: {{exact: {PROBE}}}}}], redirect: {{uri: /there, redirectCode: 302}}}}, {rules}]}}\n"
            )),
        }
        yaml
    }
}

// === impl Scene ===

impl Scene {
    /// The one that other tests use as well.
    pub(super) async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Scene>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(scene) = shared.upgrade() {
            return scene;
        }
        let scene = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&scene);
        scene
    }

    /// One of its own.
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with variables for its waypoint.
    pub(super) async fn start_with(variables: &[(&str, &str)]) -> Self {
        let pods = [("client", "node-1"), (SERVERS[0], "node-1"), (SERVERS[1], "node-2")];
        let yaml = MESH.to_owned() + &pods.map(|(name, node)| pod(name, node)).concat();
        let binaries = Binaries::beside_this().expect("this program has a path");
        // It has to have been built as well.
        binary("waypoint");
        let mut settings = Settings::from(binaries);
        let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        settings.waypoint_env.extend(own);
        let options = Options::new(Source::Text(yaml)).with_mesh(settings);
        let sandbox = Sandbox::start(options).await.expect("a sandbox");
        if let Err(error) = sandbox.ready(LIMIT).await {
            panic!("{error}");
        }
        Self { sandbox, ports: AtomicU16::new(10_000) }
    }

    pub(super) fn pod(&self, name: &str) -> PodHandle {
        self.sandbox.pod(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A port that nobody has in any pod.
    pub(super) fn port(&self) -> u16 {
        self.ports.fetch_add(1, Relaxed)
    }

    /// Listens in a pod.
    pub(super) fn listen(&self, pod: &str, port: u16) -> TcpListener {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        let bound = self.pod(pod).room().run(move || std::net::TcpListener::bind(address));
        let listener = bound.expect("the room is there").expect("the port is free");
        listener.set_nonblocking(true).expect("it can be");
        TcpListener::from_std(listener).expect("it is one")
    }

    /// A connection of the client with a service.
    pub(super) async fn connect(&self, service: &str) -> std::io::Result<TcpStream> {
        self.dial("client", self.vip(service)).await
    }

    /// A connection out of a pod.
    pub(super) async fn dial(&self, pod: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = self.pod(pod).room().run(TcpSocket::new_v4).expect("the room is there")?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Where a service is.
    pub(super) fn vip(&self, service: &str) -> SocketAddr {
        let vips = self.sandbox.service("shop", service).unwrap_or_else(|error| panic!("{error}"));
        SocketAddr::new(*vips.iter().find(|ip| ip.is_ipv4()).expect("it has an address"), 80)
    }

    /// The URL of a service.
    pub(super) fn url(&self, service: &str, path: &str) -> String {
        format!("http://{}{path}", self.vip(service))
    }

    /// Makes a service and waits until the waypoint serves it with all of its endpoints.
    pub(super) async fn offer(&self, service: Service<'_>) {
        self.apply(&service.yaml()).await;
        eventually(|| self.knows(service)).await;
        if !matches!(service.rules, Rules::None) {
            eventually(|| async {
                let mut stream = self.connect(service.name).await.map_err(|e| e.to_string())?;
                let asked = http1::ask(&mut stream, PROBE).await;
                match asked.map_err(|e| e.to_string())?.status {
                    302 => Ok(()),
                    status => Err(format!("{status} instead of the route's own answer")),
                }
            })
            .await;
        }
    }

    /// Applies the `trafficPolicy` of a service's DestinationRule, in YAML's flow style, and waits until the
    /// waypoint tells of it.
    pub(super) async fn treat(&self, service: &str, policy: &str, told: impl Fn(&Value) -> bool) {
        self.apply(&format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: {service}, namespace: shop}}\n\
             spec: {{host: {service}, trafficPolicy: {policy}}}\n"
        ))
        .await;
        eventually(|| async {
            let found = self.destination(service).await;
            if told(&found) { Ok(()) } else { Err(format!("{found:#}")) }
        })
        .await;
    }

    /// What the waypoint says of a service's port.
    async fn destination(&self, service: &str) -> Value {
        let named = format!("shop/{service}.shop.svc.cluster.local");
        let mut dump = self.config_dump().await;
        let destinations = dump["destinations"].as_array_mut().map(std::mem::take);
        let mut found = destinations.into_iter().flatten().filter(|d| d["service"] == *named);
        found.next().unwrap_or_default()
    }

    pub(super) async fn apply(&self, yaml: &str) {
        self.sandbox.apply(yaml).await.unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }

    /// Whether the waypoint has the service with its endpoints, and the client's node sends it there.
    async fn knows(&self, service: Service<'_>) -> Result<(), String> {
        let found = self.destination(service.name).await;
        if found["endpoints"].as_array().map_or(0, Vec::len) != service.servers.len() {
            return Err(format!("{}: {found:#}", service.name));
        }
        let node = ambit_sandbox::Component::Ztunnel("node-1".to_owned());
        let tunnel = self.sandbox.get(&node, 15000, "/config_dump").await;
        let tunnel: Value = serde_json::from_str(&tunnel.map_err(|e| e.to_string())?.1)
            .map_err(|e| e.to_string())?;
        let services = tunnel["services"].as_array().cloned().unwrap_or_default();
        match services.iter().find(|s| s["name"] == service.name) {
            Some(found) if !found["waypoint"].is_null() => Ok(()),
            other => Err(format!("the client's node knows {other:?}")),
        }
    }

    /// Runs so many waypoints, and waits until there are no others.
    pub(super) async fn scale(&self, replicas: usize) {
        let size = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: size, namespace: shop}}\n\
             data: {{deployment: 'spec: {{replicas: {replicas}}}'}}\n"
        );
        self.apply(&size).await;
        eventually(|| async {
            let pods = self.sandbox.pods();
            let waypoints = pods.iter().filter(|pod| pod.key().name.starts_with("waypoint"));
            let ready: Vec<bool> = waypoints.map(PodHandle::is_ready).collect();
            if ready == vec![true; replicas] { Ok(()) } else { Err(format!("{ready:?}")) }
        })
        .await;
    }

    /// What the waypoint knows.
    pub(super) async fn config_dump(&self) -> Value {
        let dump = self.sandbox.get_from_pod("waypoint", 15000, "/config_dump").await;
        dump.ok().and_then(|(_, text)| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// What the waypoint counted in series of `name` with all of `labels`.
    pub(super) async fn counted(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let metrics = self.sandbox.get_from_pod("waypoint", 15020, "/metrics").await;
        let metrics = metrics.unwrap_or_else(|error| panic!("{error}")).1;
        let has = |line: &&str| {
            let mut labels = labels.iter();
            labels.all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
        };
        let lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let values = lines.filter(has).filter_map(|line| line.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).map(|value| value as u64).sum()
    }

    /// Runs a program in a pod, which must succeed: its output.
    pub(super) async fn run(&self, pod: &str, command: &[&str]) -> String {
        self.finish(pod, command, b"").await.ok()
    }

    /// Runs a program in a pod to its end.
    pub(super) async fn finish(&self, pod: &str, command: &[&str], input: &[u8]) -> Finished {
        run_in(self.pod(pod).room(), command, input, LIMIT).await
    }

    /// Starts a program in a pod, and waits until it listens.
    pub(super) async fn serve(&self, pod: &str, port: u16, command: &[&str]) -> Running {
        let running = start_in(self.pod(pod).room(), command);
        let wanted = format!(":{port}");
        eventually(|| async {
            let sockets = self.run(pod, &["ss", "-Hltn"]).await;
            let local = sockets.lines().filter_map(|line| line.split_whitespace().nth(3));
            let listens = local.into_iter().any(|address| address.ends_with(&wanted));
            if listens { Ok(()) } else { Err(format!("nothing listens on {port} in {pod}")) }
        })
        .await;
        running
    }

    /// The waypoint's process.
    pub(super) fn waypoint_pid(&self) -> Option<u32> {
        let room = fs::read_link(self.pod("waypoint").room().path()).ok()?;
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let named = fs::read_to_string(entry.path().join("comm")).ok()?;
            let inside = fs::read_link(entry.path().join("ns/net")).ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (named.trim_end() == "waypoint" && inside == room).then_some(pid)
        })
    }

    /// What the waypoint's process has used and holds.
    pub(super) fn usage(&self) -> Usage {
        Usage::of(self.waypoint_pid().expect("the waypoint runs"))
    }
}

fn pod(name: &str, node: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: shop}}\n\
         ---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: shop, labels: {{{name}: 'yes'{}}}}}\n\
         spec: {{serviceAccountName: {name}, nodeName: {node}, containers: [{{name: c, command: [sleep, infinity]}}]}}\n",
        if SERVERS.contains(&name) { ", any: 'yes'" } else { "" }
    )
}
