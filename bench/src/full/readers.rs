//! How much memory is held for clients that ask for much and do not read it.

use std::time::{Duration, Instant};

use super::{Bench, Found};
use crate::figure::{Bar, Figure, Limit, Unit};
use crate::load::idle::{Connections, Request};
use crate::scenario::Placement;
use crate::testbed::{Layout, Stage, Testbed};
use crate::usage;

/// Clients that do not read.
const READERS: u32 = 5_000;
/// How many come before memory is looked at.
const BATCH: usize = 100;
/// What the proxy of a node may hold for all of them, bytes.
const BOUND: f64 = 1e9;
/// Here the experiment ends, for the sake of the machine.
const TOO_MUCH: u64 = 2_000_000_000;
/// Memory has stopped growing when it has not for so long.
const CALM: Duration = Duration::from_secs(2);

struct Held {
    peer: &'static str,
    /// The most that the proxy of a node held without and with the readers, bytes.
    before: u64,
    most: u64,
}

/// Lets readers come until there are enough, or too much memory is held.
///
/// # Errors
/// A proxy does not start, or ends.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Found> {
    let testbed = Testbed::build(&bench.proxied(), Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    let readers = bench.part_of(READERS);
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for mut stage in testbed.stages {
        let held = hold(&mut stage, readers as usize).await?;
        if held.most >= TOO_MUCH {
            let limit = Unit::Bytes.text(TOO_MUCH as f64);
            notes.push(format!(
                "{}: memory for clients that do not read still grew when it was {limit}",
                held.peer
            ));
        }
        all.push(held);
    }
    let most = all.iter().map(|held| (held.peer, Some(held.most as f64)));
    let each = all.iter().map(|held| {
        (held.peer, Some(held.most.saturating_sub(held.before) as f64 / f64::from(readers)))
    });
    let title = format!("{readers} clients that do not read: memory");
    let bar = Some(Bar::Value(Limit::AtMost(BOUND)));
    let figures = vec![
        Figure::new(format!("{title}, the larger of the nodes"), Unit::Bytes, most, bar),
        Figure::new(format!("{title} for each"), Unit::Bytes, each, None),
    ];
    Ok(Found { figures, notes, ..Found::default() })
}

async fn hold(stage: &mut Stage, readers: usize) -> anyhow::Result<Held> {
    let before = largest(stage)?;
    let server = stage.server(Placement::CrossNode).ip();
    let (mut open, mut most) = (Vec::new(), before);
    while open.len() * BATCH < readers && most < TOO_MUCH {
        let client = stage.client.room();
        open.push(Connections::open(client, server, BATCH, Request::Endless).await?);
        most = most.max(largest(stage)?);
    }
    let mut grown = Instant::now();
    while grown.elapsed() < CALM && most < TOO_MUCH {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = largest(stage)?;
        if now > most {
            (most, grown) = (now, Instant::now());
        }
    }
    stage.ensure_running()?;
    Ok(Held { peer: stage.peer.name, before, most })
}

fn largest(stage: &Stage) -> anyhow::Result<u64> {
    let all = stage.pids().into_iter().map(usage::resident).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(all.into_iter().max().unwrap_or_default())
}
