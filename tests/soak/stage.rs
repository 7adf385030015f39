//! Two nodes with the whole mesh, a server, and clients near and far.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_net::NetNs;
use ambit_sandbox::{Binaries, Component, Options, Sandbox, Settings, Source};
use ambit_tests::binary;
use tempfile::TempDir;

use crate::figures::metric;

/// How long anything may take to come up.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the server takes bytes.
const TCP: u16 = 9000;

/// Settings of the tunnels.
const ENV: [(&str, &str); 6] = [
    // Certificates of everybody are new every few seconds.
    ("SECRET_TTL", "12s"),
    // Tunnels that nobody uses soon go, and so does what was open to a pod that has gone without a word.
    ("POOL_UNUSED_RELEASE_TIMEOUT", "3s"),
    ("KEEPALIVE_TIME", "10s"),
    ("KEEPALIVE_INTERVAL", "5s"),
    ("KEEPALIVE_RETRIES", "2"),
    // Failures only: the last words of a program are kept, and thousands of connections go well.
    ("RUST_LOG", "info,access=warn"),
];

/// The namespace of everything, and the server's service.
const COMMON: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: soak, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: soak}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
";

/// The running mesh.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    /// For what clients say.
    pub(crate) dir: TempDir,
}

/// A pod with an identity of its own.
fn pod(name: &str, node: &str, container: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: soak}}\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: soak, labels: {{app: {name}}}}}\n\
         spec: {{serviceAccountName: {name}, nodeName: {node}, terminationGracePeriodSeconds: 1, \
         containers: [{{name: c, {container}}}]}}\n"
    )
}

/// A pod that does nothing by itself.
fn client(name: &str, node: &str) -> String {
    pod(name, node, "command: [sleep, infinity]")
}

/// A pod that serves bytes and HTTP, and is ready once it does.
pub(crate) fn server(name: &str, node: &str) -> String {
    let container = format!(
        "command: [{}, serve, --http, \"8080\", --tcp-banner, \"{TCP}\"], \
         readinessProbe: {{httpGet: {{port: 8080, path: /}}, periodSeconds: 1}}",
        binary("echo").display()
    );
    pod(name, node, &container)
}

/// Keeps the logs where a wait ends in vain.
pub(crate) struct LogsOfPanics<'s>(pub(crate) &'s Stage);

impl Drop for LogsOfPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.keep_logs();
        }
    }
}

// === impl Stage ===

impl Stage {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let yaml = [
            COMMON.to_owned(),
            server("server", "node-1"),
            client("near", "node-1"),
            client("far", "node-2"),
            client("stranger", "node-2"),
        ]
        .concat();
        let mut settings =
            Settings::from(Binaries::beside_this().expect("this program has a path"));
        settings.ztunnel_env.extend(ENV.map(|(name, value)| (name.into(), value.into())));
        let options = Options::new(Source::Text(yaml)).with_mesh(settings);
        let sandbox = Sandbox::start(options).await.expect("the mesh starts");
        sandbox.ready(LIMIT).await.expect("its pods do");
        Self { sandbox, dir: tempfile::tempdir().expect("a directory") }
    }

    /// A pod's network.
    pub(crate) fn netns(&self, pod: &str) -> NetNs {
        self.sandbox.pod(pod).expect("the pod is there").room().netns().clone()
    }

    /// Where a pod takes bytes.
    pub(crate) fn address(&self, pod: &str) -> SocketAddr {
        SocketAddr::new(self.sandbox.pod(pod).expect("the pod is there").ip(), TCP)
    }

    /// Brings up pods and waits for them.
    pub(crate) async fn add(&self, yaml: &str) {
        self.sandbox.apply(yaml).await.expect("the objects are right");
        self.sandbox.ready(LIMIT).await.expect("the pods start");
    }

    /// Takes a pod with its account away, without waiting for it.
    pub(crate) async fn remove(&self, name: &str) {
        for kind in ["Pod", "ServiceAccount"] {
            self.sandbox.delete(kind, "soak", name).await.expect("it is there");
        }
    }

    /// The programs that are watched, and where each tells of itself.
    pub(crate) fn components() -> Vec<(Component, u16)> {
        let nodes = ["node-1", "node-2"].map(str::to_owned);
        let tunnels = nodes.clone().map(|node| (Component::Ztunnel(node), 15020));
        let agents = nodes.map(|node| (Component::Agent(node), 8000));
        tunnels.into_iter().chain(agents).chain([(Component::Controller, 15014)]).collect()
    }

    /// What a program tells of itself.
    pub(crate) async fn metrics(&self, component: &Component, port: u16) -> String {
        let answer = self.sandbox.get(component, port, "/metrics").await;
        answer.expect("the program runs").1
    }

    /// How many certificates the tunnels have got so far.
    pub(crate) async fn certificates(&self) -> f64 {
        let mut all = 0.0;
        for (component, port) in Self::components() {
            let metrics = self.metrics(&component, port).await;
            all += metric(&metrics, "ambit_certificate_requests_total{result=\"success\"}");
        }
        all
    }

    /// Keeps what every program has said, and says where.
    pub(crate) fn keep_logs(&self) {
        let keep = || -> std::io::Result<std::path::PathBuf> {
            let dir = tempfile::Builder::new().prefix("ambit-soak-").tempdir()?.keep();
            for (component, _) in Self::components() {
                let log = self.sandbox.component_log(&component).unwrap_or_default();
                std::fs::write(dir.join(component.to_string().replace(' ', "-")), log)?;
            }
            Ok(dir)
        };
        match keep() {
            Ok(dir) => println!("soak: what the programs have said is in {}", dir.display()),
            Err(error) => println!("soak: cannot keep what the programs have said: {error}"),
        }
    }

    pub(crate) async fn stop(self) {
        if let Err(error) = self.sandbox.stop(Duration::from_secs(5)).await {
            println!("soak: {error}");
        }
    }
}
