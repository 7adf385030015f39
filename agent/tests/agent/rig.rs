//! An agent as a child process, pods as namespaces, and a ztunnel played by hand.

use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ambit_agent::{ControlClient, ControlError, PodSpec};
use ambit_net::NetNs;
use ambit_zds::{Client, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

/// Whether namespaces can be made; says why not where they cannot, and fails in CI.
pub(crate) fn privileged() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let reason = "needs root to make network namespaces";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot skip in CI: {reason}");
        // Not captured by the test harness, as `eprintln!` would be.
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
    root
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The directories of one agent and its successors.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn run_dir(&self) -> PathBuf {
        self.0.path().join("run")
    }

    fn ztunnel_socket(&self) -> PathBuf {
        self.0.path().join("ztunnel/ztunnel.sock")
    }

    pub(crate) fn command(&self, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit-agent"));
        command
            .env("CNI_AGENT_RUN_DIR", self.run_dir())
            .env("ZTUNNEL_UDS_ADDRESS", self.ztunnel_socket())
            .env("AMBIT_AGENT_PORT", "0")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running agent, killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    run_dir: PathBuf,
    port: u16,
}

impl Agent {
    pub(crate) async fn start(home: &Home, env: &[(&str, &str)]) -> Self {
        Self::begin(home, home.command(env).spawn().unwrap()).await
    }

    /// Starts an agent on the network of another node.
    pub(crate) async fn start_in(home: &Home, env: &[(&str, &str)], node: &NetNs) -> Self {
        Self::begin(home, node.enter(|| home.command(env).spawn().unwrap()).unwrap()).await
    }

    async fn begin(home: &Home, mut child: Child) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in std::io::BufReader::new(stream).lines().map_while(Result::ok) {
                    eprintln!("{line}");
                    log.lock().unwrap().push(line);
                }
            });
        }
        let mut agent = Self { child, log, run_dir: home.run_dir(), port: 0 };
        let line = agent.wait_for_log("listening").await;
        let digits = line.rsplit_once(':').unwrap().1.trim_matches(|c: char| !c.is_ascii_digit());
        agent.port = digits.parse().unwrap();
        agent
    }

    /// Starts an agent that has to end by itself: how, and what it says.
    pub(crate) async fn fail(home: &Home, env: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut command = home.command(env);
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = soon("the agent ends", running).await.unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) async fn wait_for_log(&self, text: &str) -> String {
        let find = || self.log.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
        eventually(text, async || find().is_some()).await;
        find().unwrap()
    }

    pub(crate) async fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let mut status = None;
        eventually("the agent ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        assert!(status.unwrap().success());
    }

    pub(crate) async fn control(&self) -> ControlClient {
        ControlClient::connect(&self.run_dir).await.unwrap()
    }

    pub(crate) async fn raw_control(&self) -> UnixStream {
        UnixStream::connect(self.run_dir.join("control.sock")).await.unwrap()
    }

    pub(crate) fn add(&self, pod: &Pod) -> JoinHandle<Result<(), ControlError>> {
        let (run_dir, spec) = (self.run_dir.clone(), pod.spec.clone());
        tokio::spawn(async move { ControlClient::connect(&run_dir).await?.add(&spec).await })
    }

    pub(crate) fn remove(&self, uid: &str) -> JoinHandle<Result<(), ControlError>> {
        let (run_dir, uid) = (self.run_dir.clone(), uid.to_owned());
        tokio::spawn(async move { ControlClient::connect(&run_dir).await?.remove(&uid).await })
    }

    /// The answer to a GET, with its head, of an agent on the network of another node.
    pub(crate) fn get_in(&self, node: &NetNs, path: &str) -> String {
        let mut stream =
            node.enter(|| std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The answer to a GET, with its head.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A network namespace that plays a pod; gone when dropped, unless somebody else holds it.
pub(crate) struct Pod {
    pub(crate) netns: NetNs,
    pub(crate) spec: PodSpec,
    _resolv_conf: tempfile::NamedTempFile,
}

impl Pod {
    pub(crate) fn new(uid: &str) -> Self {
        let netns = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            NetNs::current().unwrap()
        })
        .join()
        .unwrap();
        let resolv_conf = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            resolv_conf.path(),
            "search shop.svc.cluster.local\nnameserver 10.96.0.10\n",
        )
        .unwrap();
        let fd = std::os::fd::AsFd::as_fd(&netns).as_raw_fd();
        let spec = PodSpec {
            uid: uid.into(),
            name: "cart".into(),
            namespace: "shop".into(),
            service_account: "sa".into(),
            netns: format!("/proc/{}/fd/{fd}", std::process::id()).into(),
            resolv_conf: Some(resolv_conf.path().to_owned()),
            ..PodSpec::default()
        };
        let pod = Self { netns, spec, _resolv_conf: resolv_conf };
        pod.run("ip link set lo up");
        pod
    }

    pub(crate) fn run(&self, command: &str) -> String {
        let mut words = command.split(' ');
        let mut program = Command::new(words.next().unwrap());
        let output = self.netns.enter(|| program.args(words).output()).unwrap().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether new connections are captured.
    pub(crate) fn has_rules(&self) -> bool {
        let rules = self.run("nft list ruleset");
        let routes = self.run("ip rule show pref 32764");
        let nat = rules.contains("istio-ambient-nat");
        nat && rules.contains("15001") && !routes.is_empty()
    }

    /// Whether nothing in it is the agent's any more.
    pub(crate) fn is_clean(&self) -> bool {
        let rules = self.run("nft list ruleset");
        rules.is_empty()
            && self.run("ip rule show pref 32764").is_empty()
            && self.migrate_req() == "0"
    }

    pub(crate) fn migrate_req(&self) -> String {
        self.run("sysctl -n net.ipv4.tcp_migrate_req").trim().to_owned()
    }
}

/// A ztunnel, step by step.
pub(crate) struct Ztunnel {
    pub(crate) client: Client,
}

impl Ztunnel {
    pub(crate) async fn connect(home: &Home) -> Self {
        let mut client = None;
        eventually("the agent's socket", async || {
            client = Client::connect(home.ztunnel_socket()).await.ok();
            client.is_some()
        })
        .await;
        Self { client: client.unwrap() }
    }

    pub(crate) async fn next(&mut self) -> Request {
        soon("a request", self.client.recv()).await.unwrap()
    }

    pub(crate) async fn ack(&mut self) {
        self.client.ack(Ok(())).await.unwrap();
    }

    pub(crate) async fn expect_add(&mut self, expected: &str) {
        let request = self.next().await;
        assert!(matches!(&request, Request::Add { uid, .. } if uid == expected), "{request:?}");
        self.ack().await;
    }

    /// The snapshot has to name these pods, in order.
    pub(crate) async fn expect_snapshot(&mut self, expected: &[&str]) {
        let mut found = Vec::new();
        loop {
            let request = self.next().await;
            self.ack().await;
            match request {
                Request::Add { uid, .. } | Request::Keep { uid } => found.push(uid),
                Request::SnapshotSent => break,
                Request::Del { uid } => panic!("{uid} deleted in the snapshot"),
            }
        }
        assert_eq!(found, expected);
    }

    /// Acks a request if there is one.
    pub(crate) async fn try_ack(&mut self) -> bool {
        let waiting = tokio::time::timeout(Duration::from_millis(50), self.client.recv()).await;
        if waiting.is_ok_and(|request| request.is_ok()) {
            self.ack().await;
        }
        false
    }

    /// Acks whatever comes until `task` has ended.
    pub(crate) async fn ack_until_done<T>(&mut self, task: JoinHandle<T>) -> T {
        eventually("the reply", async || {
            self.try_ack().await;
            task.is_finished()
        })
        .await;
        task.await.unwrap()
    }
}
