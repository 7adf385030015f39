//! etcd and kube-apiserver on the loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use ambit_identity::{CA_CERT, CA_KEY, CaFiles, LocalCa, ROOT_CERT};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::log;
use crate::control::api::Api;
use crate::control::http2::Server;
use crate::control::ports::free_ports;
use crate::program::{Program, dies_with_us};
use crate::usage;

/// Whoever runs the benchmark may do everything in this cluster, which nobody else can reach.
const ADMIN: &str = "admin-of-the-benchmark";
/// Says how to reach the API server, to others as well.
const KUBECONFIG: &str = "kubeconfig";
/// The process ids.
const PROCESSES: &str = "processes";
/// How long the API server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The running programs.
pub(super) struct Servers {
    pub(super) kubeconfig: PathBuf,
    processes: Vec<u32>,
    /// Those that are ours, the API server first, so that it ends first.
    _programs: Vec<Program>,
}

/// What the programs are told.
struct Settings<'a> {
    dir: &'a Path,
    etcd: String,
    peers: String,
    address: SocketAddr,
}

// === impl Servers ===

impl Servers {
    /// Starts both, with their data in `dir`, and waits for the API server.
    pub(super) async fn start(dir: &Path, kubebox: &Path) -> anyhow::Result<(Self, Api)> {
        let roots = certificates(dir)?;
        let [etcd, peers, port] = free_ports()?;
        let settings = Settings {
            dir,
            etcd: format!("http://127.0.0.1:{etcd}"),
            peers: format!("http://127.0.0.1:{peers}"),
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        };
        let run = |name: &'static str, arguments: Vec<String>| {
            let mut command = dies_with_us(kubebox);
            command.arg(name).args(arguments);
            start(name, command, dir)
        };
        let etcd = run("etcd", settings.etcd())?;
        let mut api_server = run("kube-apiserver", settings.api_server())?;
        let server = Server::new(settings.address, "127.0.0.1", &roots)?;
        let api = ready(&server, &mut api_server).await?;
        let kubeconfig = dir.join(KUBECONFIG);
        fs::write(&kubeconfig, settings.kubeconfig())?;
        let programs = vec![api_server, etcd];
        let processes: Vec<u32> = programs.iter().map(Program::pid).collect();
        fs::write(dir.join(PROCESSES), serde_json::to_vec(&processes)?)?;
        Ok((Self { kubeconfig, processes, _programs: programs }, api))
    }

    /// Finds those that another run holds.
    pub(super) async fn attach(dir: &Path) -> anyhow::Result<(Self, Api)> {
        let kubeconfig = dir.join(KUBECONFIG);
        let config: Value = serde_json::from_slice(&fs::read(&kubeconfig)?)?;
        let address = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str);
        let address = address.and_then(|server| server.strip_prefix("https://")?.parse().ok());
        let address = address.with_context(|| format!("{} has no server", kubeconfig.display()))?;
        let server = Server::new(address, "127.0.0.1", &certificates(dir)?)?;
        let api = Api::connect(server, ADMIN).await?;
        let processes = serde_json::from_slice(&fs::read(dir.join(PROCESSES))?)?;
        Ok((Self { kubeconfig, processes, _programs: Vec::new() }, api))
    }

    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(|pid| Ok(usage::cpu_time(*pid)?.as_secs_f64())).sum()
    }
}

fn start(name: &str, command: Command, dir: &Path) -> anyhow::Result<Program> {
    let log = log(dir, name);
    if log.exists() {
        fs::remove_file(&log)?;
    }
    Program::start_here(name, command, &log)
}

async fn ready(server: &Server, program: &mut Program) -> anyhow::Result<Api> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(api) = Api::connect(server.clone(), ADMIN).await
            && api.get("/readyz").await.is_ok()
        {
            return Ok(api);
        }
        program.ensure_running()?;
        if Instant::now() > deadline {
            bail!("the API server is not ready; its last words: {}", program.last_words());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

// === impl Settings ===

impl Settings<'_> {
    fn etcd(&self) -> Vec<String> {
        let data = self.file("etcd");
        let Self { etcd, peers, .. } = self;
        options(&[
            ("data-dir", &data),
            ("listen-client-urls", etcd),
            ("advertise-client-urls", etcd),
            ("listen-peer-urls", peers),
            ("initial-advertise-peer-urls", peers),
            ("initial-cluster", &format!("default={peers}")),
            // The address of yesterday's run does not matter to a member that is alone.
            ("force-new-cluster", "true"),
            ("unsafe-no-fsync", "true"),
            ("log-level", "error"),
            ("quota-backend-bytes", "8589934592"),
            ("auto-compaction-mode", "periodic"),
            ("auto-compaction-retention", "5m"),
        ])
    }

    fn api_server(&self) -> Vec<String> {
        let key = self.file("service-accounts.key");
        let public = self.file("service-accounts.crt");
        options(&[
            ("etcd-servers", &self.etcd),
            ("bind-address", "127.0.0.1"),
            ("advertise-address", "127.0.0.1"),
            ("secure-port", &self.address.port().to_string()),
            ("endpoint-reconciler-type", "none"),
            ("service-cluster-ip-range", "10.96.0.0/12"),
            ("tls-cert-file", &self.file("server.crt")),
            ("tls-private-key-file", &self.file("server.key")),
            ("service-account-key-file", &public),
            ("service-account-signing-key-file", &key),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            ("token-auth-file", &self.file("tokens.csv")),
            ("authorization-mode", "RBAC"),
        ])
    }

    /// JSON is YAML.
    fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority": self.file(ROOT_CERT),
            }}],
            "users": [{"name": "bench", "user": {"token": ADMIN}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        })
        .to_string()
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

fn options(options: &[(&str, &str)]) -> Vec<String> {
    options.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Makes what is not there yet: the API server's authority and certificate, the key of service accounts' tokens, and
/// the administrator. Returns the roots.
fn certificates(dir: &Path) -> anyhow::Result<String> {
    let now = SystemTime::now();
    if !dir.join("server.crt").exists() {
        let files = CaFiles::make(now)?;
        let accounts = CaFiles::make(now)?;
        fs::write(dir.join("service-accounts.key"), accounts.key)?;
        fs::write(dir.join("service-accounts.crt"), accounts.signer)?;
        fs::write(dir.join("tokens.csv"), format!("{ADMIN},bench,1,system:masters\n"))?;
        let ca = LocalCa::from_files(files.clone(), "the API server's authority", now)?;
        let (chain, key) = ca.server_certificate(&["127.0.0.1".to_owned()], LIFETIME, now)?;
        fs::write(dir.join("server.key"), key)?;
        for (name, text) in [(ROOT_CERT, files.roots), (CA_CERT, files.signer), (CA_KEY, files.key)]
        {
            fs::write(dir.join(name), text)?;
        }
        fs::write(dir.join("server.crt"), chain)?;
    }
    fs::read_to_string(dir.join(ROOT_CERT)).context("cannot read the API server's roots")
}
