//! The node agent's word on which pods to capture, followed for as long as the process lives.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use ambit_lifecycle::{Ready, ReadyTask};
use ambit_model::Str;
use ambit_zds::{Client, Request};
use tokio::time::sleep;

use crate::pod::PodInfo;
use crate::pods::Pods;

/// The name of the readiness task that is pending without the agent's snapshot or with pods that do not start.
const READINESS: &str = "workload proxy manager";
/// Reconnecting waits this long at first, and doubles up to the other: a new pod waits for it, and to try a socket of this
/// machine costs nothing. (Istio's waits up to 15 s, protocol.md 5.3.)
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);
/// How often pods that could not be started are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What the agent has told on one connection.
#[derive(Default)]
struct Session {
    /// The pods named so far; `None` once the snapshot is complete.
    snapshot: Option<HashSet<Str>>,
}

/// A message that makes no sense at this point.
#[derive(Debug, thiserror::Error)]
enum ProtocolError {
    #[error("the agent sent a second snapshot on one connection")]
    SecondSnapshot,
    #[error("the agent sent Keep after its snapshot")]
    LateKeep,
}

/// Why a connection to the agent ended.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error(transparent)]
    Zds(#[from] ambit_zds::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Follows the agent on `socket` until the future is dropped; reconnects for ever.
pub(crate) async fn follow(socket: &Path, pods: &mut Pods, ready: &Ready) -> Infallible {
    let mut pending = Some(ready.register(READINESS));
    let mut backoff = FIRST_BACKOFF;
    loop {
        let mut synced = false;
        let ended = connection(socket, pods, ready, (&mut pending, &mut synced)).await;
        pending.get_or_insert_with(|| ready.register(READINESS));
        if synced {
            backoff = FIRST_BACKOFF;
        }
        let error = match ended {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::warn!(socket = %socket.display(), %error, "no node agent, trying again in {backoff:?}");
        sleep(backoff).await;
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// One connection to the agent, from hello to its end.
async fn connection(
    socket: &Path,
    pods: &mut Pods,
    ready: &Ready,
    (pending, synced): (&mut Option<ReadyTask>, &mut bool),
) -> Result<Infallible, AgentError> {
    let mut client = Client::connect(socket).await?;
    let mut session = Session { snapshot: Some(HashSet::new()) };
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            request = client.recv() => {
                let handled = session.handle(request?, pods)?;
                client.ack(handled.as_ref().copied().map_err(String::as_str)).await?;
            }
            _ = retry.tick(), if !pods.all_started() => pods.retry(),
        }
        *synced = session.snapshot.is_none();
        let up = *synced && pods.all_started();
        match (pending.take(), up) {
            (Some(task), true) => task.done(),
            (None, false) => *pending = Some(ready.register(READINESS)),
            (unchanged, _) => *pending = unchanged,
        }
    }
}

// === impl Session ===

impl Session {
    /// Carries out one request; the inner error is what the agent is told.
    fn handle(
        &mut self,
        request: Request,
        pods: &mut Pods,
    ) -> Result<Result<(), String>, ProtocolError> {
        match request {
            Request::Add { uid, info, netns } => {
                let uid = Str::from(uid);
                if let Some(named) = &mut self.snapshot {
                    named.insert(uid.clone());
                }
                let netns = ambit_net::NetNs::from_fd(netns).map_err(|error| error.to_string());
                Ok(netns.and_then(|netns| {
                    pods.add(uid, pod_info(info), netns).map_err(|error| error.to_string())
                }))
            }
            Request::Keep { uid } => match &mut self.snapshot {
                Some(named) => {
                    named.insert(uid.into());
                    Ok(Ok(()))
                }
                None => Err(ProtocolError::LateKeep),
            },
            Request::Del { uid } => {
                pods.remove(&uid);
                Ok(Ok(()))
            }
            Request::SnapshotSent => {
                let named = self.snapshot.take().ok_or(ProtocolError::SecondSnapshot)?;
                pods.retain(&named);
                tracing::info!(pods = named.len(), "the node agent's snapshot is complete");
                Ok(Ok(()))
            }
        }
    }
}

fn pod_info(info: ambit_zds::WorkloadInfo) -> PodInfo {
    PodInfo {
        name: info.name.into(),
        namespace: info.namespace.into(),
        service_account: info.service_account.into(),
        dns: info.dns.unwrap_or_default(),
    }
}
