//! What a connection costs while nothing moves on it.

use std::time::Duration;

use super::Bench;
use crate::figure::{Figure, Unit};
use crate::load::idle::{Connections, Request};
use crate::memory;
use crate::scenario::Placement;
use crate::testbed::{Layout, Testbed};
use crate::usage::Meter;

/// How long nothing happens: CPU time is counted in steps of 10 ms.
const WATCHED: Duration = Duration::from_secs(10);

/// CPU time with open connections, less that without.
///
/// # Errors
/// A proxy does not start, or cannot hold the connections.
pub(super) async fn run(bench: &Bench, count: u32) -> anyhow::Result<Vec<Figure>> {
    let mut testbed = Testbed::build(&bench.proxied(), Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    let mut costs = Vec::new();
    for stage in &mut testbed.stages {
        let without = watched(&stage.pids()).await?;
        let server = stage.server(Placement::CrossNode).ip();
        let client = stage.client.room();
        let open = Connections::open(client, server, count as usize, Request::Small).await?;
        memory::settle(&stage.pids()).await?;
        let with = watched(&stage.pids()).await?;
        drop(open);
        stage.ensure_running()?;
        let each = (with - without).max(0.0) / f64::from(count) / WATCHED.as_secs_f64();
        costs.push((stage.peer.name, Some(without / WATCHED.as_secs_f64()), Some(each)));
    }
    let nothing = costs.iter().map(|(peer, nothing, _)| (*peer, *nothing));
    let each = costs.iter().map(|(peer, _, each)| (*peer, *each));
    let title = format!("{count} idle connections: CPU a second of each");
    Ok(vec![
        Figure::new("no connection: CPU a second", Unit::Seconds, nothing, None),
        Figure::new(title, Unit::Seconds, each, None),
    ])
}

async fn watched(pids: &[u32]) -> anyhow::Result<f64> {
    let meter = Meter::start(pids.to_vec())?;
    tokio::time::sleep(WATCHED).await;
    Ok(meter.stop()?.cpu().unwrap_or_default())
}
