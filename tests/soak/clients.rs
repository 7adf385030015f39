//! Clients of the server, near and far: words, HTTP, many bytes, and connections on which nothing happens.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ambit_net::NetNs;
use ambit_tests::{Traffic, binary, echo_bytes, echoes, open};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Round;
use crate::stage::Stage;

/// The pods that call: on the server's node, and on the other.
const PODS: [&str; 2] = ["near", "far"];
/// Connections of each on which nothing happens.
const IDLE: usize = 100;
/// Bytes of a large transfer, and the pause before the next.
const BULK: usize = 8 << 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Everybody who calls.
pub(crate) struct Clients {
    words: Vec<Traffic>,
    http: Vec<Http>,
    bulk: Vec<JoinHandle<()>>,
    transfers: Arc<Transfers>,
    idle: Vec<BufReader<TcpStream>>,
}

#[derive(Default)]
struct Transfers {
    done: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

/// A program that calls the server over HTTP.
struct Http {
    process: Child,
    counts: PathBuf,
    complaints: PathBuf,
}

// === impl Clients ===

impl Clients {
    pub(crate) async fn start(stage: &Stage) -> Self {
        let to = stage.address("server");
        let transfers = Arc::<Transfers>::default();
        let mut all = Self {
            words: Vec::new(),
            http: Vec::new(),
            bulk: Vec::new(),
            transfers: transfers.clone(),
            idle: Vec::new(),
        };
        for pod in PODS {
            let netns = stage.netns(pod);
            for _ in 0..IDLE {
                all.idle.push(open(&netns, to).await.expect("the server answers"));
            }
            all.words.push(Traffic::start(&netns, to));
            all.bulk.push(tokio::spawn(transfers.clone().run(netns, to)));
            for how in [["--keep", "4"], ["--rate", "20"]] {
                all.http.push(Http::start(stage, pod, how));
            }
        }
        all
    }

    /// In a few words.
    pub(crate) fn so_far(&self) -> String {
        let accounts: Vec<_> = self.words.iter().map(Traffic::so_far).collect();
        let kept: u64 = accounts.iter().map(|account| account.kept).sum();
        let fresh: u64 = accounts.iter().map(|account| account.fresh).sum();
        let failures: usize = accounts.iter().map(|account| account.failures.len()).sum();
        let transfers = self.transfers.done.load(Relaxed);
        format!(
            "{kept} words on kept connections, {fresh} on new ones, {failures} failures, {transfers} transfers of {} MiB",
            BULK >> 20
        )
    }

    /// Ends them, and says what they have seen. Nothing that happens may hurt any of them.
    pub(crate) async fn stop(self) -> Round {
        let mut round = Round { lines: vec![self.so_far()], complaints: Vec::new() };
        for words in self.words {
            round.complaints.extend(words.stop().await.failures);
        }
        for bulk in self.bulk {
            bulk.abort();
        }
        round
            .complaints
            .extend(std::mem::take(&mut *self.transfers.failures.lock().expect("no panic")));
        let (mut answered, mut repeated) = (0, 0);
        for http in self.http {
            let counts = http.stop(&mut round.complaints);
            answered += counts["answered"].as_u64().unwrap_or(0);
            repeated += counts["repeated"].as_u64().unwrap_or(0);
        }
        round.lines.push(format!("{answered} HTTP requests, {repeated} of them twice"));
        let mut alive = 0;
        for mut idle in self.idle {
            match echoes(&mut idle).await {
                Ok(()) => alive += 1,
                Err(error) => round.complaints.push(format!("idle: {error}")),
            }
        }
        round.lines.push(format!("{alive} idle connections"));
        round
    }
}

// === impl Transfers ===

impl Transfers {
    async fn run(self: Arc<Self>, netns: NetNs, to: std::net::SocketAddr) {
        loop {
            let transfer = async { echo_bytes(open(&netns, to).await?, BULK).await };
            match transfer.await {
                Ok(_) => drop(self.done.fetch_add(1, Relaxed)),
                Err(error) => {
                    self.failures.lock().expect("no panic").push(format!("bulk: {error}"))
                }
            }
            sleep(PAUSE).await;
        }
    }
}

// === impl Http ===

impl Http {
    fn start(stage: &Stage, pod: &str, how: [&str; 2]) -> Self {
        let path = |what: &str| stage.dir.path().join(format!("{pod}{}.{what}", how[0]));
        let (counts, complaints) = (path("counts"), path("complaints"));
        let file = |path| fs::File::create(path).expect("a file");
        let (stdout, stderr) = (file(&counts), file(&complaints));
        let echo = binary("echo");
        let echo = echo.to_str().expect("a path of text");
        let argv = [echo, "load", "http://server.soak/", how[0], how[1]];
        let prepare = |command: &mut std::process::Command| {
            command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr)).process_group(0);
        };
        let process = stage.sandbox.spawn(pod, &argv, prepare).expect("it starts");
        Self { process, counts, complaints }
    }

    /// Ends it, and returns its last counts.
    fn stop(mut self, complaints: &mut Vec<String>) -> serde_json::Value {
        let pid = self.process.id().to_string();
        let _ = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
        let said = fs::read_to_string(&self.complaints).expect("it was made");
        complaints.extend(said.lines().map(|line| format!("http: {line}")));
        let counts = fs::read_to_string(&self.counts).expect("it was made");
        let last = counts.lines().last().and_then(|line| serde_json::from_str(line).ok());
        last.unwrap_or_else(|| {
            complaints.push("http: a client counted nothing".into());
            serde_json::Value::Null
        })
    }
}
