//! How much memory the proxies hold: after the start, with open connections, after the load.

use std::time::Duration;

use serde::Serialize;

use crate::load::idle::IdleConnections;
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
        let bytes = self.resident_bytes.iter().map(|bytes| *bytes as f64);
        (!self.resident_bytes.is_empty())
            .then(|| bytes.sum::<f64>() / self.resident_bytes.len() as f64)
    }
}

/// How long buffers that were in use may take to be given back.
const SETTLE: Duration = Duration::from_millis(500);

/// Looks at the proxies' memory as it is.
///
/// # Errors
/// A proxy has ended.
pub(crate) fn resident(stage: &mut Stage, moment: Moment) -> anyhow::Result<MemorySample> {
    stage.ensure_running()?;
    let resident = stage.proxies.iter().map(|proxy| usage::resident(proxy.program.pid()));
    Ok(MemorySample {
        peer: stage.peer.name,
        moment,
        resident_bytes: resident.collect::<anyhow::Result<_>>()?,
    })
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
    let _open = IdleConnections::open(stage.client.room(), server, count).await?;
    tokio::time::sleep(SETTLE).await;
    resident(stage, Moment::Connections(count))
}
