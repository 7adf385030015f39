//! A controller over a directory of its own, and the clients that ask it.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use ambit_controller::config::Args;
use ambit_controller::{Config, Controller};
use ambit_identity::{CaClient, CaClientConfig, TokenSource};
use ambit_lifecycle::{Shutdown, ShutdownTrigger};
use ambit_telemetry::{Format, LogGuard, LogHandle};
use ambit_tls::RootSource;
use ambit_xds::{Change, Client, Event, Held, Metrics, Node, Roots, Token};
use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) const TOKEN_A: &str = "token-of-node-a";

const TOKENS: &str = r#"{"token": "token-of-node-a", "node": "node-a", "serviceAccount": "istio-system/ztunnel"}
{"token": "token-of-node-b", "node": "node-b", "serviceAccount": "istio-system/ztunnel"}
"#;

/// Waits for what has to happen within seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    soon(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Logging can be set up once in a process.
fn logs() -> LogHandle {
    static LOGS: OnceLock<(LogHandle, LogGuard)> = OnceLock::new();
    let logs = LOGS.get_or_init(|| {
        ambit_telemetry::init(Format::Text, "error,kube_client=off").expect("logging")
    });
    logs.0.clone()
}

/// The files of a controller.
pub(crate) struct Files {
    pub(crate) dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir(files.path("objects")).expect("a directory");
        files.replace("tokens", TOKENS);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file as editors do: a new one in place of the old one.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let path = self.path(name);
        let temporary = path.with_extension("tmp");
        write(&temporary, content);
        std::fs::rename(temporary, path).expect("renamed");
    }

    /// The options of a controller over these files, on free ports.
    pub(crate) fn options(&self, more: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut options: Vec<String> = ["controller", "--from-dir", &path("objects")]
            .into_iter()
            .chain(["--node-tokens", &path("tokens"), "--ca-dir", &path("ca")])
            .chain(["--admin-port", "0"])
            .map(str::to_owned)
            .collect();
        let defaults =
            [("--listen", "127.0.0.1:0".to_owned()), ("--root-cert-out", path("root-cert.pem"))];
        for (option, value) in defaults {
            if !more.contains(&option) {
                options.extend([option.to_owned(), value]);
            }
        }
        options.extend(more.iter().map(ToString::to_string));
        options
    }
}

pub(crate) fn write(path: &Path, content: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600).open(path);
    file.expect("a file").write_all(content.as_bytes()).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("mode");
}

/// A controller that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) files: Files,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// Where metrics and readiness are, in a cluster.
    pub(crate) status: Option<SocketAddr>,
    shutdown: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(files: Files, more: &[&str]) -> Self {
        let options = files.options(more);
        Self::start_with(files, options).await
    }

    /// Starts one with exactly these options.
    pub(crate) async fn start_with(files: Files, options: Vec<String>) -> Self {
        let args = Args::try_parse_from(options).expect("options");
        let config = Config::try_from(args).expect("a configuration");
        let shutdown = Shutdown::install().expect("signals");
        let trigger = shutdown.trigger();
        let controller = Controller::start(config).await.expect("a controller");
        let address = controller.address().expect("an address");
        let admin = controller.admin_address().expect("an address");
        let status = controller.status_address().ok();
        let task = tokio::spawn(async move {
            controller.run(shutdown, logs()).await.expect("a good end");
        });
        Self { files, address, admin, status, shutdown: trigger, task }
    }

    /// Ends the controller and hands back its files.
    pub(crate) async fn stop(self) -> Files {
        self.shutdown.shut_down();
        soon(self.task).await.expect("no panic");
        self.files
    }

    /// The body of an admin page.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.get_at(self.admin, path).await
    }

    pub(crate) async fn get_at(&self, address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.expect("the port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.expect("an answer");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    /// The value of a metric, 0 while there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// A proxy of node A.
    pub(crate) fn proxy(&self) -> Proxy {
        self.proxy_with(TOKEN_A, Held::default())
    }

    pub(crate) fn proxy_with(&self, token: &str, held: Held) -> Proxy {
        self.proxy_at(self.address.port(), token, held)
    }

    /// A proxy that knows the controller by another port.
    pub(crate) fn proxy_at(&self, port: u16, token: &str, held: Held) -> Proxy {
        let mut config = ambit_xds::Config::new(
            format!("https://localhost:{port}"),
            Node::ztunnel("1.1.1.1", "zt", "istio-system", "node-a"),
        );
        config.roots = Roots::File(self.files.path("root-cert.pem"));
        config.token = Token::Literal(token.to_owned());
        let (sender, events) = mpsc::unbounded_channel();
        let client = Client::resuming(config, Metrics::default(), held);
        let task = tokio::spawn(async move {
            match client
                .run(move |event: Event<'_>| {
                    drop(sender.send(event.into()));
                    Vec::new()
                })
                .await {}
        });
        Proxy { events, task }
    }

    /// The certificate service, as a proxy with this token sees it.
    pub(crate) fn certificates(&self, token: &str) -> CaClient {
        CaClient::new(CaClientConfig {
            address: format!("https://localhost:{}", self.address.port()),
            root: RootSource::Path(self.files.path("root-cert.pem")),
            token: TokenSource::Literal(token.to_owned()),
            ttl: Duration::from_secs(600),
            ..CaClientConfig::default()
        })
        .expect("a client")
    }
}

/// A port that stays the same while what is behind it changes; a port that was given up may be anybody's at once.
pub(crate) async fn forward(target: watch::Receiver<SocketAddr>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut inbound, _)) = listener.accept().await {
            let target = *target.borrow();
            tokio::spawn(async move {
                if let Ok(mut outbound) = TcpStream::connect(target).await {
                    // Either side may hang up.
                    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                }
            });
        }
    });
    port
}

/// What a proxy is told: changes as `+key` and `-key`, or that a type is complete.
enum Told {
    Changes(Vec<String>),
    Synced,
}

impl From<Event<'_>> for Told {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Batch(mut batch) => {
                let lines = batch.by_ref().map(|change| line(&change)).collect();
                assert_eq!(batch.rejected(), []);
                Self::Changes(lines)
            }
            Event::Synced(_) => Self::Synced,
        }
    }
}

/// A connected proxy.
pub(crate) struct Proxy {
    events: mpsc::UnboundedReceiver<Told>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// The changes of the next response that brings any, as `+key` and `-key`.
    pub(crate) async fn changes(&mut self) -> Vec<String> {
        loop {
            match soon(self.events.recv()).await.expect("a client") {
                Told::Changes(lines) if !lines.is_empty() => return lines,
                Told::Changes(_) | Told::Synced => {}
            }
        }
    }

    /// Everything up to the end of the first synchronisation.
    pub(crate) async fn synced(&mut self) -> Vec<String> {
        let (mut lines, mut types) = (Vec::new(), 0);
        while types < 2 {
            match soon(self.events.recv()).await.expect("a client") {
                Told::Changes(more) => lines.extend(more),
                Told::Synced => types += 1,
            }
        }
        lines
    }
}

fn line(change: &Change) -> String {
    match change {
        Change::Workload(workload) => format!("+{}", workload.uid),
        Change::Service(service) => format!("+{}", service.key()),
        Change::Authorization(policy) => format!("+{}", policy.key()),
        Change::Resource { name, .. } => format!("+{name}"),
        Change::Removed { name, .. } => format!("-{name}"),
    }
}

/// A running pod of its own service account on `node`, in `shop`.
pub(crate) fn pod(name: &str, ip: &str, node: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}, annotations: {{ambient.istio.io/redirection: enabled}}}}
spec: {{nodeName: {node}, serviceAccountName: {name}}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: 'True'}}]}}
"
    )
}

pub(crate) fn service(name: &str, ip: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    )
}

pub(crate) const STRICT: &str = "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";
