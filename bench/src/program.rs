//! Programs of others, in namespaces or beside us: servers that run until they are dropped, and tools that run to
//! their end.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ambit_sandbox::Room;
use anyhow::{Context as _, anyhow, bail};
use tokio::process::Child;

/// How much of a log is worth reading, bytes.
const LAST_WORDS: u64 = 1024;
/// A log above this size is emptied, bytes: proxies write a line for each connection.
const LOG_LIMIT: u64 = 8 << 20;

/// A program that runs until the value is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

// === impl Program ===

impl Program {
    /// Starts `command` in `room`; what it says goes to the file `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        name: impl Into<String>,
        room: &Room,
        command: Command,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn(name.into(), command, log, |command| room.spawn_async(command))
    }

    /// Starts `command` where we are.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_here(
        name: impl Into<String>,
        command: Command,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn(name.into(), command, log, |command| {
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        })
    }

    fn spawn(
        name: String,
        mut command: Command,
        log: &Path,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
    ) -> anyhow::Result<Self> {
        // Appending, so that emptying the file leaves no hole.
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.stderr(file.try_clone()?).stdout(file);
        let child = spawn(command).with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name, child, pid, log: log.to_owned() })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// It has ended; its last words are in the message.
    pub(crate) fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} has ended ({status}); its last words: {}", self.name, self.last_words())
            }
        }
    }

    /// Waits until it ends, which is an error.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("it has ended ({status})"),
            Err(error) => error.into(),
        }
    }

    /// The end of its log, on one line.
    pub(crate) fn last_words(&self) -> String {
        let end = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let start = file.metadata()?.len().saturating_sub(LAST_WORDS);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let words = end().unwrap_or_default();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() { "none".to_owned() } else { words }
    }

    /// Empties a log that has grown large. It lies in memory, where it would take room from what is measured.
    pub(crate) fn trim_log(&self) {
        let large = fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_LIMIT);
        if large && let Ok(log) = OpenOptions::new().write(true).open(&self.log) {
            // Failing to is no reason to give up a measurement.
            let _ = log.set_len(0);
        }
    }
}

/// A command whose process does not outlive this one, not even if this one is killed.
pub(crate) fn dies_with_us(program: impl AsRef<OsStr>) -> Command {
    // The standard library can set a parent-death signal only through unsafe code; setpriv execs the program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0).stdin(Stdio::null());
    command
}

/// Runs a tool in `room` to its end and returns its standard output.
///
/// # Errors
/// It cannot be started, takes longer than `limit`, or fails: the message has its own words.
pub(crate) async fn output(
    name: &str,
    room: &Room,
    mut command: Command,
    limit: Duration,
) -> anyhow::Result<String> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = room.spawn_async(command).with_context(|| format!("cannot start {name}"))?;
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    let output =
        output.with_context(|| format!("{name} did not end within {} s", limit.as_secs()))??;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned() + &stdout;
    let words: Vec<_> = words.split_whitespace().take(40).collect();
    bail!("{name} failed ({}): {}", output.status, words.join(" "))
}
