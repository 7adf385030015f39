//! What the steps of the demonstration share: saying, doing and checking things.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ambit_sandbox::{Component, Sandbox};
use anyhow::{Context, Result, anyhow, ensure};
use tokio::io::AsyncBufReadExt;

use crate::terminal::{Style, Terminal};
use crate::up::one_line;

/// The meshed client on the server's node.
pub(super) const NEIGHBOUR: &str = "hello/neighbour";
/// The meshed client on the other node.
pub(super) const VISITOR: &str = "visitors/visitor";
/// The client outside the mesh.
pub(super) const OUTSIDER: &str = "visitors/outsider";
/// The server's HTTP address.
const URL: &str = "http://server.hello";
/// The server's address for plain connections.
const LINES: &str = "telnet://server.hello:9090";
/// How long a change may take to show.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the demonstration takes place.
pub(super) struct Stage<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) terminal: Terminal,
    pub(super) dir: &'a Path,
}

/// What the server says that it saw.
pub(super) struct Seen {
    pub(super) peer: SocketAddr,
}

/// A connection that a pod holds.
pub(super) struct Open {
    child: Child,
    lines: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>,
}

// === impl Stage ===

impl Stage<'_> {
    pub(super) fn title(&self, text: &str) {
        self.terminal.line(Style::Title, text);
    }

    pub(super) fn say(&self, text: &str) {
        self.terminal.line(Style::Plain, text);
    }

    pub(super) fn note(&self, text: &str) {
        self.terminal.line(Style::Faint, &format!("   {text}"));
    }

    /// Says something that has been checked.
    pub(super) fn hold(&self, text: &str) {
        self.terminal.line(Style::Good, &format!("   ✓ {text}"));
    }

    /// Calls the server by curl in a pod, and shows the call and the answer.
    pub(super) async fn call(&self, pod: &str, path: &str, secret: &str) -> Result<Seen> {
        let header = format!("x-secret: {secret}");
        let url = format!("{URL}{path}");
        let mut argv = vec!["curl", "-sS", "--max-time", "10"];
        if !secret.is_empty() {
            argv.extend(["-H", &header]);
        }
        argv.push(&url);
        self.terminal.line(Style::Command, &format!("   {pod} $ {}", argv.join(" ")));
        let output = self.sandbox.exec(pod, &argv).await.map_err(one_line)?;
        ensure!(output.code == 0, "curl in {pod} failed: {}", output.stderr.trim());
        let answer: serde_json::Value = serde_json::from_str(&output.stdout)
            .with_context(|| format!("the server answered {:?}", output.stdout))?;
        let text = |field: &str| answer.get(field).and_then(|value| value.as_str());
        let (name, peer) = (text("name").unwrap_or_default(), text("peer").unwrap_or_default());
        self.say(&format!(
            "   {name} answers: method {}, path {}, peer {peer}",
            text("method").unwrap_or_default(),
            text("path").unwrap_or_default()
        ));
        ensure!(name.starts_with("server"), "somebody else answered: {name:?}");
        Ok(Seen { peer: peer.parse().context("the server told no address")? })
    }

    /// Calls the server by curl in a pod: how it went, `Err` inside if curl failed.
    pub(super) async fn attempt(&self, pod: &str) -> Result<Result<()>> {
        let argv = ["curl", "-sS", "-o", "/dev/null", "--max-time", "5", URL];
        let output = self.sandbox.exec(pod, &argv).await.map_err(one_line)?;
        Ok(if output.code == 0 { Ok(()) } else { Err(anyhow!("{}", output.stderr.trim())) })
    }

    /// Puts a file among the objects and shows it.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let spec = text.lines().skip_while(|line| !line.starts_with("kind"));
        for line in spec.filter(|line| !line.starts_with("apiVersion")) {
            self.note(&format!("  {line}"));
        }
        let new = self.dir.join(format!(".{name}"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, self.dir.join(name))?;
        Ok(())
    }

    /// Opens a connection by curl in a pod, which stays open.
    pub(super) fn open(&self, pod: &str) -> Result<Open> {
        let argv = ["curl", "-sSN", LINES];
        self.terminal.line(Style::Command, &format!("   {pod} $ {}", argv.join(" ")));
        let pipe = |command: &mut std::process::Command| {
            command.stdout(Stdio::piped()).stderr(Stdio::null());
        };
        let mut child = self.sandbox.spawn(pod, &argv, pipe).map_err(one_line)?;
        let stdout = child.stdout.take().context("curl has no output")?;
        let stdout = tokio::process::ChildStdout::from_std(stdout)?;
        Ok(Open { child, lines: tokio::io::BufReader::new(stdout).lines() })
    }

    /// How many connections a node's ztunnel took for its pods whose labels hold all of `words`.
    pub(super) async fn connections(&self, node: &str, words: &[&str]) -> Result<u64> {
        let ztunnel = Component::Ztunnel(node.to_owned());
        let (_, text) = self.sandbox.get(&ztunnel, 15020, "/metrics").await.map_err(one_line)?;
        let counts = text
            .lines()
            .filter(|line| line.starts_with("istio_tcp_connections_opened_total"))
            .filter(|line| line.contains("reporter=\"destination\""))
            .filter(|line| words.iter().all(|word| line.contains(&format!("\"{word}\""))))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(counts.sum())
    }
}

// === impl Open ===

impl Open {
    /// The server's first words.
    pub(super) async fn greeting(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.context("the server did not greet")??.context("the connection ended at once")
    }

    pub(super) fn is_open(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it is closed.
    pub(super) async fn ended(mut self) -> Result<()> {
        eventually("the connection is closed", async || Ok(self.child.try_wait()?.map(drop))).await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something.
pub(super) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
}
