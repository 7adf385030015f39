//! What is on the wire between the nodes, by tcpdump.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::stage::{Stage, eventually};
use crate::terminal::Style;
use crate::up::one_line;

/// The size of a capture file's header, in bytes: once it is there, packets are captured.
const HEADER: u64 = 24;
/// How a TLS record of application data begins.
const TLS_RECORD: [u8; 3] = [23, 3, 3];

/// A capture that goes on.
pub(super) struct Capture {
    child: Child,
    file: PathBuf,
}

/// What was captured.
pub(super) struct Captured {
    file: PathBuf,
    bytes: Vec<u8>,
}

// === impl Capture ===

impl Capture {
    /// Captures on the bridge between the nodes.
    pub(super) async fn start(stage: &Stage<'_>) -> Result<Self> {
        let fabric = stage.sandbox.fabric();
        let file = stage.sandbox.instance().dir().join("wire.pcap");
        let mut command = fabric.command("tcpdump");
        command.args(["-i", "fabric", "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w"]);
        command.arg(&file).arg("tcp").stdout(Stdio::null()).stderr(Stdio::null());
        stage.terminal.line(Style::Command, "   between the nodes $ tcpdump -i fabric tcp");
        let child = fabric.spawn(command).context("tcpdump cannot be started: install tcpdump")?;
        let capture = Self { child, file };
        eventually("tcpdump captures", async || {
            let size = std::fs::metadata(&capture.file).map_or(0, |file| file.len());
            Ok((size >= HEADER).then_some(()))
        })
        .await?;
        Ok(capture)
    }

    /// Ends the capture and reads it.
    pub(super) async fn stop(mut self) -> Result<Captured> {
        // Packets that are on their way to the file arrive before the end.
        let interrupt = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        ensure!(interrupt?.success(), "tcpdump ended too early");
        eventually("tcpdump ends", async || Ok(self.child.try_wait()?.map(drop))).await?;
        let bytes = std::fs::read(&self.file).context("the capture cannot be read")?;
        Ok(Captured { file: self.file.clone(), bytes })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Captured ===

impl Captured {
    /// Whether some packet holds the text.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// How many TLS records of application data there are, about: by how they begin.
    pub(super) fn tls_records(&self) -> usize {
        self.bytes.windows(TLS_RECORD.len()).filter(|window| **window == TLS_RECORD).count()
    }

    /// Some packets to a port that carry data, as tcpdump prints them.
    pub(super) fn sample(&self, port: u16, count: usize) -> Result<Vec<String>> {
        let output = Command::new("tcpdump")
            .args(["-n", "-t", "-r"])
            .arg(&self.file)
            .arg(format!("dst port {port} and greater 100"))
            .output()
            .map_err(|source| {
                one_line(ambit_sandbox::Error::Start { program: "tcpdump".to_owned(), source })
            })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let short = |line: &str| match (line.split_once(": Flags"), line.rsplit_once("length ")) {
            (Some((ends, _)), Some((_, length))) => format!("{ends}: {length} bytes"),
            _ => line.to_owned(),
        };
        Ok(text.lines().take(count).map(short).collect())
    }
}
