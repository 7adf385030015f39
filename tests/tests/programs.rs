//! Programs that nobody here wrote, unmodified, through the mesh: each across nodes by HBONE, and on one node by the
//! local path. Every test asserts that its connections took that way and no other.

mod bulk;
mod grpc;
mod half_close;
mod idle;
mod postgres;
mod redis;
mod ssh;
mod web;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ambit_tests::{Mesh, Running, eventually, find};
use tempfile::TempDir;

/// Where the service is that has the server's port 8080 behind its port 80.
const VIP: &str = "10.96.0.1";
/// The interpreter that has Debian's Python packages.
const PYTHON: &str = "/usr/bin/python3";

/// How connections get from the client to the server.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Through HBONE to another node.
    Tunnel,
    /// By the local path to a pod of the same node.
    Local,
}

/// A client, a server, the mesh between them, and a directory for their files.
struct Scene {
    mesh: Mesh,
    way: Way,
    dir: TempDir,
}

/// How many connections have all of some labels.
type Count<'a> = &'a dyn Fn(&[(&str, &str)]) -> u64;

// === impl Way ===

impl Way {
    fn server_node(self) -> &'static str {
        match self {
            Self::Tunnel => "n2",
            Self::Local => "n1",
        }
    }

    fn security(self) -> &'static str {
        match self {
            Self::Tunnel => "mutual_tls",
            Self::Local => "node_local",
        }
    }
}

// === impl Scene ===

impl Scene {
    async fn start(way: Way) -> Self {
        let mesh = Mesh::builder()
            .pod("client", "n1")
            .pod("server", way.server_node())
            .service("web", VIP, (80, 8080), &["server"])
            .start()
            .await;
        let dir = tempfile::tempdir().expect("a directory");
        // Servers give up root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { mesh, way, dir }
    }

    fn client(&self) -> String {
        self.mesh.ip("client")
    }

    fn server(&self) -> String {
        self.mesh.ip("server")
    }

    /// The path of one of the scene's files.
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("paths are text").to_owned()
    }

    /// Writes one of the scene's files: its path.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("it can be written");
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Starts the server and waits until it listens.
    async fn serve(&self, port: u16, command: &[&str]) -> Running {
        let server = self.mesh.start("server", command);
        self.mesh.listening("server", port).await;
        server
    }

    /// Runs a program in the client, which must succeed: its output.
    async fn call(&self, command: &[&str]) -> String {
        self.mesh.run("client", command).await.ok()
    }

    /// Runs a program in the server's pod, which must succeed: its output.
    async fn prepare(&self, command: &[&str]) -> String {
        self.mesh.run("server", command).await.ok()
    }

    /// Asserts that both ends' proxies opened at least `connections`, all of them in the expected way.
    async fn carried(&self, connections: u64) {
        let security = [("connection_security_policy", self.way.security())];
        self.at_both_ends(|opened, _| {
            let (all, right) = (opened(&[]), opened(&security));
            if right >= connections && right == all {
                Ok(())
            } else {
                Err(format!("{right} of {all} opened"))
            }
        })
        .await;
    }

    /// Asserts that both ends' proxies saw all connections end, in whatever way.
    async fn over(&self) {
        self.at_both_ends(|opened, closed| {
            let (all, ended) = (opened(&[]), closed(&[]));
            if ended == all { Ok(()) } else { Err(format!("{ended} of {all} ended")) }
        })
        .await;
    }

    /// Asserts that both ends' proxies saw all connections end, and in order.
    async fn ended(&self) {
        let in_order = [("response_flags", "-")];
        self.at_both_ends(|opened, closed| {
            let (all, ended) = (opened(&[]), closed(&in_order));
            if ended == all { Ok(()) } else { Err(format!("{ended} of {all} ended in order")) }
        })
        .await;
    }

    /// Waits until `check` is content with the connections that each end's proxy opened and closed.
    async fn at_both_ends(&self, check: impl Fn(Count<'_>, Count<'_>) -> Result<(), String>) {
        for (node, reporter) in [("n1", "source"), (self.way.server_node(), "destination")] {
            eventually(|| async {
                let metrics = self.mesh.metrics(node).await;
                let count = |name, labels: &[(&str, &str)]| {
                    total(&metrics, name, &[&[("reporter", reporter)], labels].concat())
                };
                check(&|labels| count("istio_tcp_connections_opened_total", labels), &|labels| {
                    count("istio_tcp_connections_closed_total", labels)
                })
                .map_err(|complaint| format!("{reporter}: {complaint}"))
            })
            .await;
        }
    }
}

/// The sum of a counter's series that have all of `labels`.
fn total(metrics: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "))
        .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
        .map(|(_, value)| value.parse::<u64>().expect("a counter"))
        .sum()
}

/// The path of an installed program.
fn program(name: &str) -> String {
    find(name).expect("it is installed").to_str().expect("paths are text").to_owned()
}
