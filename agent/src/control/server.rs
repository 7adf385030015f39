//! The agent's end of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{MAX_LINE, Reply, Request, socket_path};
use crate::pod::{Defaults, Pod, PodSpec};
use crate::runner::Input;
use crate::state::{Addition, Event, Outcome, Removal, RequestId};

/// Pod sources served at a time.
const MAX_CONNECTIONS: usize = 64;
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens for pod sources.
#[derive(Debug)]
pub(crate) struct ControlServer {
    listener: UnixListener,
    requests: Arc<Requests>,
}

/// Passes requests on and waits for their replies.
#[derive(Debug)]
pub(crate) struct Requests {
    inputs: Sender<Input>,
    defaults: Defaults,
    patience: Duration,
    latest: AtomicU64,
}

/// Why a request is not fulfilled.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It could not be done.
    Failed(String),
    /// It takes longer than the asker waits, and is being tried further.
    Pending(String),
}

// === impl ControlServer ===

impl ControlServer {
    /// Listens in the run directory, which has to be locked, for this user alone.
    pub(crate) fn bind(run_dir: &Path, requests: Arc<Requests>) -> io::Result<Self> {
        let listener = bind_private(&socket_path(run_dir))?;
        Ok(Self { listener, requests })
    }

    /// Serves pod sources, forever.
    pub(crate) async fn serve(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // The semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let requests = self.requests.clone();
                    tokio::spawn(async move {
                        if let Err(error) = requests.serve(stream).await {
                            tracing::debug!(%error, "a pod source went away");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a pod source");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Listens at `path` for this user alone, in place of what was there.
pub(crate) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

// === impl Refusal ===

impl Refusal {
    /// What to tell the asker.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Failed(text) | Self::Pending(text) => text,
        }
    }
}

// === impl Requests ===

impl Requests {
    /// Requests go to `inputs`; who asks waits for `patience`.
    pub(crate) fn new(inputs: Sender<Input>, defaults: Defaults, patience: Duration) -> Self {
        Self { inputs, defaults, patience, latest: AtomicU64::new(0) }
    }

    /// Answers one pod source line by line.
    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            (&mut stream).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
            let is_whole = line.ends_with(b"\n");
            let outcome = match line.len() {
                0 => return Ok(()),
                MAX_LINE if !is_whole => Err(format!("the line is longer than {MAX_LINE} bytes")),
                _ => self.answer(&line).await,
            };
            let reply = match outcome {
                Ok(()) => Reply::Ok(true),
                Err(problem) => Reply::Error(problem),
            };
            let mut reply = serde_json::to_vec(&reply)?;
            reply.push(b'\n');
            stream.get_mut().write_all(&reply).await?;
            if !is_whole {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Outcome {
        let request = serde_json::from_slice(line)
            .map_err(|error| format!("not a request: {error}: write one JSON object a line"))?;
        let outcome = match request {
            Request::Add(spec) => self.add(spec, self.patience).await,
            Request::Remove { uid, alive } => self.remove(uid, alive).await,
        };
        outcome.map_err(Refusal::into_text)
    }

    /// Has a pod captured, and returns when ztunnel serves it, or after `patience`.
    pub(crate) async fn add(&self, spec: PodSpec, patience: Duration) -> Result<(), Refusal> {
        let id = self.next_id();
        let event = self.addition(id, spec).await.map_err(Refusal::Failed)?;
        self.ask(id, event, patience).await
    }

    /// Has a pod let go; its rules are taken out if it is `alive`.
    pub(crate) async fn remove(&self, uid: String, alive: bool) -> Result<(), Refusal> {
        let id = self.next_id();
        self.ask(id, Event::Remove(Removal { request: Some(id), uid, alive }), self.patience).await
    }

    /// How long a pod source waits that does not say.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    fn next_id(&self) -> RequestId {
        self.latest.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn ask(
        &self,
        id: RequestId,
        event: Event<ambit_net::NetNs>,
        patience: Duration,
    ) -> Result<(), Refusal> {
        let (sender, mut reply) = oneshot::channel();
        let ending = || Refusal::Failed("ambit-agent is ending".to_owned());
        self.inputs.send(Input::Request(id, event, sender)).await.map_err(|_| ending())?;
        match timeout(patience, &mut reply).await {
            Ok(reply) => reply.map_err(|_| ending())?.map_err(Refusal::Failed),
            Err(_) => {
                let give_up = Input::Event(Event::GiveUp(id));
                self.inputs.send(give_up).await.map_err(|_| ending())?;
                reply.await.map_err(|_| ending())?.map_err(Refusal::Pending)
            }
        }
    }

    async fn addition(
        &self,
        id: RequestId,
        spec: PodSpec,
    ) -> Result<Event<ambit_net::NetNs>, String> {
        let defaults = self.defaults.clone();
        let opened = tokio::task::spawn_blocking(move || Pod::open(spec, &defaults)).await;
        let (pod, netns) = opened
            .map_err(|error| format!("internal error: {error}"))?
            .map_err(|invalid| invalid.to_string())?;
        let pod = Arc::new(pod);
        Ok(Event::Add(Addition { request: Some(id), pod, netns, restored: false }))
    }
}
