//! A pod source's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{MAX_LINE, Reply, Request, socket_path};
use crate::pod::PodSpec;

/// A connection to the agent of this node, for whoever starts pods.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

/// Why the agent did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be reached.
    #[error(
        "cannot reach ambit-agent at {path}: {source}: check that it runs with this run directory"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke; the request may have been carried out.
    #[error("connection to ambit-agent: {0}")]
    Io(#[from] io::Error),
    /// It answered something that makes no sense: agent and caller are of different versions.
    #[error("ambit-agent answered what is no reply: {0}")]
    Reply(#[from] serde_json::Error),
    /// It could not do it, or not yet.
    #[error("{0}")]
    Refused(String),
}

// === impl ControlClient ===

impl ControlClient {
    /// Connects to the agent that uses `run_dir` (its `CNI_AGENT_RUN_DIR`).
    ///
    /// # Errors
    /// [`ControlError::Connect`] if none does, or not yet.
    pub async fn connect(run_dir: &Path) -> Result<Self, ControlError> {
        let path = socket_path(run_dir);
        match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(source) => Err(ControlError::Connect { path, source }),
        }
    }

    /// Has a pod captured, and returns when ztunnel serves it. Adding a pod again is fine.
    ///
    /// # Errors
    /// [`ControlError::Refused`] says why it is not; unless its rules could not be applied, the agent goes on trying
    /// to have it served.
    pub async fn add(&mut self, pod: &PodSpec) -> Result<(), ControlError> {
        self.ask(&Request::Add(pod.clone())).await
    }

    /// Has a pod that goes on without the mesh let go, and returns when its rules are out and ztunnel has let go of
    /// it. One that is not known is gone already.
    ///
    /// # Errors
    /// [`ControlError::Refused`] says why it is still captured.
    pub async fn remove(&mut self, uid: &str) -> Result<(), ControlError> {
        self.ask(&Request::Remove { uid: uid.to_owned(), alive: true }).await
    }

    /// Has a pod that is no more let go. Its rules vanish with its namespace.
    ///
    /// # Errors
    /// [`ControlError::Refused`] if a ztunnel takes too long to let go of it.
    pub async fn remove_dead(&mut self, uid: &str) -> Result<(), ControlError> {
        self.ask(&Request::Remove { uid: uid.to_owned(), alive: false }).await
    }

    async fn ask(&mut self, request: &Request) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await?;
        let mut reply = Vec::new();
        (&mut self.stream).take(MAX_LINE as u64).read_until(b'\n', &mut reply).await?;
        if reply.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&reply)? {
            Reply::Ok(_) => Ok(()),
            Reply::Error(problem) => Err(ControlError::Refused(problem)),
        }
    }
}
