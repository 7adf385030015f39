//! How much memory is held for clients that ask for much and do not read it.

use std::time::{Duration, Instant};

use super::Bench;
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
/// Here no more readers come, for the sake of the machine.
const TOO_MUCH: u64 = 2_000_000_000;
/// Memory has stopped growing when it has not for so long.
const CALM: Duration = Duration::from_secs(2);

struct Held {
    peer: &'static str,
    readers: usize,
    /// The most that the proxy of a node held with no and with all readers, bytes.
    before: u64,
    most: u64,
}

/// Lets readers come until there are enough, or too much memory is held.
///
/// # Errors
/// A proxy does not start, or ends.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let testbed = Testbed::build(&bench.proxied(), Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    let readers = bench.part_of(READERS);
    let mut all = Vec::new();
    for mut stage in testbed.stages {
        all.push(hold(&mut stage, readers as usize).await?);
    }
    let figure = |title: String, unit, value: &dyn Fn(&Held) -> f64, bar| {
        let values = all.iter().map(|held| (held.peer, Some(value(held))));
        Figure::new(title, unit, values, bar)
    };
    let at_least = Some(Bar::Value(Limit::AtLeast(f64::from(readers))));
    let each = |held: &Held| (held.most - held.before.min(held.most)) as f64 / held.readers as f64;
    Ok(vec![
        figure(
            format!("clients that do not read, within {}", Unit::Bytes.text(TOO_MUCH as f64)),
            Unit::Count,
            &|held| held.readers as f64,
            at_least,
        ),
        figure(
            "memory with them, the larger of the nodes".to_owned(),
            Unit::Bytes,
            &|held| held.most as f64,
            Some(Bar::Value(Limit::AtMost(BOUND))),
        ),
        figure("memory for each of them".to_owned(), Unit::Bytes, &each, None),
    ])
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
    Ok(Held { peer: stage.peer.name, readers: (open.len() * BATCH).min(readers), before, most })
}

fn largest(stage: &Stage) -> anyhow::Result<u64> {
    let all = stage.pids().into_iter().map(usage::resident).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(all.into_iter().max().unwrap_or_default())
}
