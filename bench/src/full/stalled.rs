//! What streams that nobody reads do to another one between the same two pods.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Bench, Found};
use crate::figure::{Bar, Figure, Limit, Unit};
use crate::load::idle::{Connections, Request};
use crate::load::open_loop::{self, Offer};
use crate::results::median;
use crate::scenario::Placement;
use crate::testbed::{Layout, Stage, Testbed};
use crate::usage;

/// Streams that are not read.
const STALLED: usize = 8;
/// What latency beside them may be, in proportion to latency alone.
const SLOWER: f64 = 1.2;
/// Requests a second on the ninth.
const RATE: u32 = 500;

/// How often the proxies are looked at while the streams fill, and the CPU time between two looks that is none.
const LOOK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_millis(20);
/// How long filling them may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of them in one tunnel: the proxies have one worker each.
///
/// # Errors
/// A proxy does not start, or does not carry the streams.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Found> {
    let peers = bench.peers.iter().cloned();
    let peers: Vec<_> = peers.map(|peer| peer.with("ZTUNNEL_WORKER_THREADS", "1")).collect();
    let testbed = Testbed::build(&peers, Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    let mut all: Vec<(&'static str, Vec<f64>, Vec<f64>)> =
        peers.iter().map(|peer| (peer.name, Vec::new(), Vec::new())).collect();
    let mut notes = Vec::new();
    for _ in 0..bench.rounds {
        for (stage, (_, alone, beside)) in testbed.stages.iter().zip(&mut all) {
            alone.push(p99(stage, bench.seconds).await?);
            let server = stage.server(Placement::CrossNode).ip();
            let client = stage.client.room();
            let _open = Connections::open(client, server, STALLED, Request::Endless).await?;
            let measured = async {
                full(stage).await?;
                p99(stage, bench.seconds).await
            };
            match measured.await {
                Ok(p99) => beside.push(p99),
                // A proxy that lets stalled streams stop all others of their tunnel is no reason to end here.
                Err(error) => notes.push(format!(
                    "{}: beside {STALLED} stalled streams: {error:#}",
                    stage.peer.name
                )),
            }
        }
    }
    let alone = all.iter().map(|(peer, alone, _)| (*peer, median(alone)));
    let beside = all.iter().map(|(peer, _, beside)| (*peer, median(beside)));
    let slower = all.iter().map(|(peer, alone, beside)| (*peer, slower(alone, beside)));
    let title = format!("{RATE} requests a second on one connection");
    let bar = Some(Bar::Value(Limit::AtMost(SLOWER)));
    let figures = vec![
        Figure::new(format!("{title}: p99"), Unit::Seconds, alone, None),
        Figure::new(format!("{title} beside {STALLED} stalled: p99"), Unit::Seconds, beside, None),
        Figure::new(format!("p99 beside {STALLED} stalled : alone"), Unit::Times, slower, bar),
    ];
    Ok(Found { figures, notes, ..Found::default() })
}

/// Waits until the streams hold all that they can, and the proxies have nothing more to do for them.
async fn full(stage: &Stage) -> anyhow::Result<()> {
    let used = || stage.pids().into_iter().map(usage::cpu_time).sum::<anyhow::Result<Duration>>();
    let (began, mut before) = (Instant::now(), used()?);
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let now = used()?;
        if now.saturating_sub(before) < QUIET {
            return Ok(());
        }
        before = now;
    }
    bail!("after {PATIENCE:?} the proxies are still busy with streams that nobody reads")
}

/// The ratio of the medians of two series.
pub(super) fn slower(alone: &[f64], beside: &[f64]) -> Option<f64> {
    Some(median(beside)? / median(alone)?)
}

async fn p99(stage: &Stage, seconds: u32) -> anyhow::Result<f64> {
    let offer = Offer { connections: 1, rate: RATE, seconds };
    let server = stage.server(Placement::CrossNode).ip();
    Ok(open_loop::run(stage.client.room(), server, offer).await?.at(0.99))
}
