//! A node's proxy: started, told about its pods, ready.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_sandbox::{NodeNet, PodNet, Room};
use ambit_zds::Connection;
use anyhow::{Context as _, bail};

use super::agent::Agent;
use crate::peer::{Certificates, Ztunnel};
use crate::program::Program;

/// Where every ztunnel says whether it is ready (protocol.md 1.1).
const READINESS_PORT: u16 = 15021;
/// How long one may take to become ready.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(20);
/// The name of the agent's socket.
const SOCKET: &str = "zds.sock";

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) program: Program,
    _agent: Connection,
}

/// Where a proxy learns of the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Feed<'a> {
    /// From a state file.
    File(&'a Path),
    /// By delta xDS.
    ControlPlane { url: &'a str, roots: &'a Path },
}

// === impl Proxy ===

impl Proxy {
    /// Starts `ztunnel` on a node for its pods; returns when it is ready. `dir` is the peer's own.
    ///
    /// # Errors
    /// It does not become ready; the message has its last words.
    pub(crate) async fn start(
        ztunnel: &Ztunnel,
        (node, pods): (&NodeNet, &[Arc<PodNet>]),
        feed: Feed<'_>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let own = dir.join(node.name());
        fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
        let agent = Agent::listen(&own.join(SOCKET))?;
        let command = command(ztunnel, node, feed, (dir, &own));
        let name = format!("{} on {}", ztunnel.program.display(), node.name());
        let mut program = Program::start(name, node.room(), command, &own.join("log"))?;
        let ready = async {
            let agent = agent.hand_over(pods).await?;
            until_ready(node.room()).await?;
            anyhow::Ok(agent)
        };
        let ready = tokio::select! {
            ready = ready => ready,
            ended = program.ended() => Err(ended),
        };
        match ready {
            Ok(agent) => Ok(Self { program, _agent: agent }),
            Err(error) => {
                let (name, words) = (program.name(), program.last_words());
                Err(error.context(format!("{name} did not become ready; its last words: {words}")))
            }
        }
    }
}

/// `dir` is shared by the peer's nodes, `own` is this one's.
fn command(
    ztunnel: &Ztunnel,
    node: &NodeNet,
    feed: Feed<'_>,
    (dir, own): (&Path, &Path),
) -> Command {
    let mut command = node.room().command(&ztunnel.program);
    command
        .args(["proxy", "ztunnel"])
        // Relative paths in its configuration lead nowhere.
        .current_dir(own)
        .env("NODE_NAME", node.name())
        .env("INPOD_UDS", own.join(SOCKET))
        .env("ISTIO_META_DNS_CAPTURE", "false")
        .env("RUST_LOG", "info")
        .env("RUST_BACKTRACE", "0");
    match feed {
        Feed::File(path) => command.env("LOCAL_XDS_PATH", path).env("XDS_ADDRESS", ""),
        Feed::ControlPlane { url, roots } => {
            command.env("XDS_ADDRESS", url).env("XDS_ROOT_CA", roots)
        }
    };
    match ztunnel.certificates {
        Certificates::Directory => command.env("LOCAL_CA_DIR", dir.join("ca")),
        Certificates::Fake => command.env("FAKE_CA", "true"),
    };
    command.envs(ztunnel.environment.iter().map(|(name, value)| (name, value)));
    command
}

async fn until_ready(room: &Room) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match room.run(ask).flatten() {
            Ok(status) if status.contains(" 200 ") => return Ok(()),
            answer if Instant::now() > deadline => {
                bail!("port {READINESS_PORT} answers {answer:?} after {} s", LIMIT.as_secs())
            }
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// The status line of the readiness endpoint of the namespace that the thread is in.
fn ask() -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, READINESS_PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
