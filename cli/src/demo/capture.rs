//! What is on the wire between the nodes, by tcpdump.
//!
//! tcpdump insists on becoming another user, which is impossible in a user namespace; there a socket of our own
//! captures instead.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::stage::{Stage, eventually};
use crate::rights::INSIDE;
use crate::terminal::Style;

/// The size of a capture file's header, in bytes: once it is there, packets are captured.
const HEADER: u64 = 24;
/// How a TLS record of application data begins.
const TLS_RECORD: [u8; 3] = [23, 3, 3];
/// Packets of every protocol, in network byte order (ETH_P_ALL).
const EVERYTHING: i32 = 0x0300;
/// The most that is captured, in bytes.
const LIMIT: usize = 64 << 20;

/// A capture that goes on.
pub(super) enum Capture {
    Tcpdump(Tcpdump),
    Own(Recorder),
}

/// tcpdump, writing to a file.
pub(super) struct Tcpdump {
    child: Child,
    file: PathBuf,
}

/// A thread that reads packets.
pub(super) struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

/// What was captured.
pub(super) struct Captured {
    bytes: Vec<u8>,
    sample: Vec<String>,
}

// === impl Capture ===

impl Capture {
    /// Captures on the bridge between the nodes.
    pub(super) async fn start(stage: &Stage<'_>) -> Result<Self> {
        if std::env::var_os(INSIDE).is_some() {
            stage.note("between the nodes: a packet socket (tcpdump needs the real root)");
            return Ok(Self::Own(Recorder::start(stage)?));
        }
        stage.terminal.line(Style::Command, "   between the nodes $ tcpdump -i fabric tcp");
        Ok(Self::Tcpdump(Tcpdump::start(stage).await?))
    }

    /// Ends the capture when it holds `last`, which comes after all that is of interest.
    pub(super) async fn stop(self, last: &str) -> Result<Captured> {
        match self {
            Self::Tcpdump(tcpdump) => tcpdump.stop(last).await,
            Self::Own(recorder) => recorder.stop(),
        }
    }
}

// === impl Tcpdump ===

impl Tcpdump {
    async fn start(stage: &Stage<'_>) -> Result<Self> {
        let fabric = stage.sandbox.fabric();
        let file = stage.sandbox.instance().dir().join("wire.pcap");
        let mut command = fabric.command("tcpdump");
        command.args(["-i", "fabric", "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w"]);
        command.arg(&file).arg("tcp").stdout(Stdio::null()).stderr(Stdio::null());
        let child = fabric.spawn(command).context("tcpdump cannot be started")?;
        let mut tcpdump = Self { child, file };
        eventually("tcpdump captures", async || {
            let ended = tcpdump.child.try_wait()?;
            ensure!(ended.is_none(), "tcpdump does not run: install the package tcpdump");
            let size = std::fs::metadata(&tcpdump.file).map_or(0, |file| file.len());
            Ok((size >= HEADER).then_some(()))
        })
        .await?;
        Ok(tcpdump)
    }

    async fn stop(mut self, last: &str) -> Result<Captured> {
        eventually("the last packet is captured", async || {
            Ok(holds(&self.bytes()?, last).then_some(()))
        })
        .await?;
        let interrupt = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        ensure!(interrupt?.success(), "tcpdump ended too early");
        eventually("tcpdump ends", async || Ok(self.child.try_wait()?.map(drop))).await?;
        Ok(Captured { bytes: self.bytes()?, sample: self.sample(15008, 3)? })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.file).context("the capture cannot be read")
    }

    /// Some packets to a port that carry data, as tcpdump prints them.
    fn sample(&self, port: u16, count: usize) -> Result<Vec<String>> {
        let output = Command::new("tcpdump")
            .args(["-n", "-t", "-r"])
            .arg(&self.file)
            .arg(format!("dst port {port} and greater 100"))
            .output()
            .context("tcpdump cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let short = |line: &str| match (line.split_once(": Flags"), line.rsplit_once("length ")) {
            (Some((ends, _)), Some((_, length))) => format!("{ends}: {length} bytes"),
            _ => line.to_owned(),
        };
        Ok(text.lines().take(count).map(short).collect())
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Recorder ===

impl Recorder {
    fn start(stage: &Stage<'_>) -> Result<Self> {
        let open = || {
            let protocol = Some(Protocol::from(EVERYTHING));
            let socket = Socket::new(Domain::PACKET, Type::RAW, protocol)?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            Ok::<_, std::io::Error>(socket)
        };
        let mut socket = stage.sandbox.fabric().run(open)?.context("cannot capture")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let record = move || {
            let (mut bytes, mut packet) = (Vec::new(), vec![0; 64 << 10]);
            loop {
                match socket.read(&mut packet) {
                    Ok(length) => bytes.extend(packet.iter().take(length)),
                    // Nothing more comes once all is said and nothing has come for a while.
                    Err(_) if stopped.load(Ordering::Relaxed) => return bytes,
                    Err(_) => {}
                }
                bytes.truncate(LIMIT);
            }
        };
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(record)?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<Captured> {
        self.stop.store(true, Ordering::Relaxed);
        let bytes = self.thread.join().map_err(|_| anyhow!("the capture failed"))?;
        Ok(Captured { bytes, sample: Vec::new() })
    }
}

// === impl Captured ===

impl Captured {
    /// Whether some packet holds the text.
    pub(super) fn contains(&self, text: &str) -> bool {
        holds(&self.bytes, text)
    }

    /// How many TLS records of application data there are, about: by how they begin.
    pub(super) fn tls_records(&self) -> usize {
        self.bytes.windows(TLS_RECORD.len()).filter(|window| **window == TLS_RECORD).count()
    }

    /// Some packets of the tunnel, to look at.
    pub(super) fn sample(&self) -> &[String] {
        &self.sample
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
