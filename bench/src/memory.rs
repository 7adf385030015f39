//! How much memory the proxies hold: after the start, with open connections, after the load.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::idle::{Connections, Request};
use crate::scenario::Placement;
use crate::testbed::Stage;
use crate::usage;

/// When memory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Moment {
    /// Ready, and never used.
    Idle,
    /// So many connections open from one node to the other, none of them in use.
    Connections(usize),
    /// After everything else, with no connection open.
    AfterLoad,
}

/// Resident memory of a peer's proxies.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemorySample {
    pub(crate) peer: &'static str,
    pub(crate) moment: Moment,
    /// Of each proxy, the one on the client's node first.
    pub(crate) resident_bytes: Vec<u64>,
}

// === impl MemorySample ===

impl MemorySample {
    /// The mean of the proxies, bytes.
    pub(crate) fn mean(&self) -> Option<f64> {
        mean(&self.resident_bytes)
    }
}

/// The mean of some numbers of bytes; none where there are none.
pub(crate) fn mean(bytes: &[u64]) -> Option<f64> {
    (!bytes.is_empty()).then(|| bytes.iter().sum::<u64>() as f64 / bytes.len() as f64)
}

/// How often memory is looked at while it settles.
const INTERVAL: Duration = Duration::from_millis(250);
/// For how long it must not have shrunk.
const CALM: Duration = Duration::from_secs(4);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the processes give no more memory back: allocators let go of it some seconds later.
///
/// # Errors
/// One has ended.
pub(crate) async fn settle(pids: &[u32]) -> anyhow::Result<()> {
    let held = || pids.iter().map(|pid| usage::resident(*pid)).sum::<anyhow::Result<u64>>();
    let began = Instant::now();
    let (mut lowest, mut since) = (held()?, began);
    while since.elapsed() < CALM && began.elapsed() < PATIENCE {
        tokio::time::sleep(INTERVAL).await;
        let now = held()?;
        if now < lowest - lowest / 200 {
            (lowest, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Looks at the proxies' memory as it is.
///
/// # Errors
/// A proxy has ended.
pub(crate) fn resident(stage: &mut Stage, moment: Moment) -> anyhow::Result<MemorySample> {
    stage.ensure_running()?;
    let resident = stage.pids().into_iter().map(usage::resident);
    let resident_bytes = resident.collect::<anyhow::Result<_>>()?;
    Ok(MemorySample { peer: stage.peer.name, moment, resident_bytes })
}

/// Looks at it when it has settled.
///
/// # Errors
/// A proxy has ended.
pub(crate) async fn settled(stage: &mut Stage, moment: Moment) -> anyhow::Result<MemorySample> {
    stage.ensure_running()?;
    settle(&stage.pids()).await?;
    resident(stage, moment)
}

/// Looks at it with `count` open connections.
///
/// # Errors
/// A connection cannot be opened, or a proxy has ended.
pub(crate) async fn with_connections(
    stage: &mut Stage,
    count: usize,
) -> anyhow::Result<MemorySample> {
    let server = stage.server(Placement::CrossNode).ip();
    let _open = Connections::open(stage.client.room(), server, count, Request::Small).await?;
    settled(stage, Moment::Connections(count)).await
}
