//! Memory while very many connections are open, and after very many have been.

use std::time::Duration;

use anyhow::ensure;

use super::Bench;
use crate::figure::{Bar, Figure, Limit, Unit};
use crate::load::Tools;
use crate::load::idle::{Connections, Request};
use crate::measure;
use crate::memory;
use crate::scenario::{Load, Placement};
use crate::testbed::{Layout, Stage, Testbed};
use crate::usage;

/// Client pods that share the connections.
const CLIENTS: u32 = 4;
/// Connections that are open at once.
const HELD: u32 = 15_000;
/// Connections that are opened and closed again, a few at a time.
const IN_SEQUENCE: u32 = 100_000;
/// How much of them is opened before they are counted, seconds.
const STRETCH: u32 = 4;
/// When a proxy closes tunnels without streams, which it otherwise keeps for minutes; and until when it surely has.
const RELEASE: (&str, Duration) = ("3s", Duration::from_secs(6));
/// Once it has let go of everything a proxy may hold this much more than before.
const BACK_TO: f64 = 1.1;

/// Bytes, the mean of the nodes.
struct Memory {
    peer: &'static str,
    before: f64,
    held: f64,
    after_held: f64,
    after: f64,
}

/// Opens them through each proxy.
///
/// # Errors
/// A proxy does not start, or does not carry the connections.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let layout = Layout { more_clients: CLIENTS as usize - 1, ..Layout::default() };
    let peers = bench.proxied().into_iter();
    let peers: Vec<_> =
        peers.map(|peer| peer.with("POOL_UNUSED_RELEASE_TIMEOUT", RELEASE.0)).collect();
    let mut testbed = Testbed::build(&peers, layout, &bench.tools).await?;
    testbed.check_paths().await?;
    let (held, in_sequence) = (bench.part_of(HELD), bench.part_of(IN_SEQUENCE));
    let mut all = Vec::new();
    for stage in &mut testbed.stages {
        let before = settled(stage).await?;
        let open = open(stage, held).await?;
        let with = settled(stage).await?;
        drop(open);
        tokio::time::sleep(RELEASE.1).await;
        let after_held = settled(stage).await?;
        sequence(stage, in_sequence, &bench.tools).await?;
        tokio::time::sleep(RELEASE.1).await;
        let after = settled(stage).await?;
        all.push(Memory { peer: stage.peer.name, before, held: with, after_held, after });
    }
    let figure = |title: String, unit, value: &dyn Fn(&Memory) -> f64, bar| {
        let values = all.iter().map(|memory| (memory.peer, Some(value(memory))));
        Figure::new(title, unit, values, bar)
    };
    let back = Some(Bar::Value(Limit::AtMost(BACK_TO)));
    let each = |memory: &Memory| (memory.held - memory.before) / f64::from(held);
    let all_held = format!("{held} connections of {CLIENTS} pods");
    Ok(vec![
        figure("memory before".to_owned(), Unit::Bytes, &|m| m.before, None),
        figure(format!("{all_held}: memory"), Unit::Bytes, &|m| m.held, None),
        figure(format!("{all_held}: memory of each"), Unit::Bytes, &each, None),
        figure(
            format!("{all_held}: after : before"),
            Unit::Times,
            &|m| m.after_held / m.before,
            back,
        ),
        figure(
            format!("{in_sequence} connections in sequence: after : before"),
            Unit::Times,
            &|m| m.after / m.before,
            back,
        ),
    ])
}

async fn open(stage: &Stage, count: u32) -> anyhow::Result<Vec<Connections>> {
    let server = stage.server(Placement::CrossNode).ip();
    let mut open = Vec::new();
    for client in std::iter::once(&stage.client).chain(&stage.more_clients) {
        let share = count.div_ceil(CLIENTS) as usize;
        open.push(Connections::open(client.room(), server, share, Request::Small).await?);
    }
    Ok(open)
}

async fn sequence(stage: &mut Stage, count: u32, tools: &Tools) -> anyhow::Result<()> {
    let load = Load::Requests { connections: 8, keep_alive: false };
    let mut done = 0.0;
    while done < f64::from(count) {
        let what = (load, Placement::CrossNode);
        let (outcome, _) = measure::run(stage, what, STRETCH, tools).await?;
        ensure!(outcome.work > 0.0, "no connection is carried any more");
        done += outcome.work;
    }
    Ok(())
}

async fn settled(stage: &mut Stage) -> anyhow::Result<f64> {
    stage.ensure_running()?;
    let pids = stage.pids();
    memory::settle(&pids).await?;
    let bytes = pids.into_iter().map(usage::resident).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(memory::mean(&bytes).unwrap_or_default())
}
