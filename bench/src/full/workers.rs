//! How connections spread over the threads of a proxy, and how many handshakes that takes.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use super::Bench;
use crate::figure::{Bar, Figure, Limit, SUBJECT, Unit, counted};
use crate::load::idle::{Connections, Request};
use crate::measure;
use crate::scenario::{Load, Placement};
use crate::sockets;
use crate::testbed::{Layout, Stage, Testbed};
use crate::usage::thread_times;

/// How many threads.
const WORKERS: [u32; 3] = [1, 2, 8];
/// Connections one after the other between two pods that have nothing else to say.
const CALLS: u32 = 32;
/// The most tunnels that they should make.
const HANDSHAKES: f64 = 2.0;
/// Connections that are busy at the same time.
const BUSY: u32 = 512;
/// The most that a thread may do, in proportion to the mean.
const UNEVEN: f64 = 1.5;

/// Ambit with each number of threads.
///
/// # Errors
/// It does not start, or does not carry the load.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for workers in WORKERS {
        let count = workers.to_string();
        let peers = bench.ambit().into_iter();
        let peers: Vec<_> = peers.map(|peer| peer.with("ZTUNNEL_WORKER_THREADS", &count)).collect();
        let mut testbed = Testbed::build(&peers, Layout::default(), &bench.tools).await?;
        for stage in &mut testbed.stages {
            figures.extend(with(stage, workers, bench).await?);
        }
    }
    Ok(figures)
}

async fn with(stage: &mut Stage, workers: u32, bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let server = stage.server(Placement::CrossNode).clone();
    for _ in 0..CALLS {
        Connections::open(stage.client.room(), server.ip(), 1, Request::Small).await?;
    }
    // A tunnel outlives its streams by minutes.
    let handshakes = sockets::established(server.room(), ambit_redirect::HBONE_PORT)?;
    ensure!(handshakes > 0, "no tunnel arrives in the server's namespace");
    let before = times(stage)?;
    let load = Load::Requests { connections: BUSY, keep_alive: true };
    let what = (load, Placement::CrossNode);
    measure::run(stage, what, bench.seconds, &bench.tools).await?;
    let after = times(stage)?;
    let name = |what: &str| format!("{}: {what}", counted(workers, "worker", "workers"));
    let figure = |title, unit, value, most| {
        let bar = Some(Bar::Value(Limit::AtMost(most)));
        Figure::new(title, unit, [(SUBJECT, Some(value))], bar)
    };
    let handshakes = handshakes as f64;
    let mut figures =
        vec![figure(name("handshakes of an idle pair"), Unit::Count, handshakes, HANDSHAKES)];
    let nodes = ["client's node", "server's node"];
    for ((node, after), before) in nodes.into_iter().zip(&after).zip(&before) {
        let worst = uneven(before, after).context("the threads of the proxy are not found")?;
        let title = name(&format!("busiest : mean, {node}"));
        figures.push(figure(title, Unit::Times, worst, UNEVEN));
    }
    Ok(figures)
}

type Times = BTreeMap<String, f64>;

fn times(stage: &Stage) -> anyhow::Result<Vec<Times>> {
    stage.pids().into_iter().map(|pid| thread_times(pid, "worker-")).collect()
}

/// What the busiest thread did meanwhile, in proportion to the mean.
fn uneven(before: &Times, after: &Times) -> Option<f64> {
    let used = after.iter().map(|(name, time)| time - before.get(name).unwrap_or(&0.0));
    let used: Vec<f64> = used.collect();
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    let busiest = used.into_iter().reduce(f64::max)?;
    (mean > 0.0).then(|| busiest / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_counts_beside_the_mean() {
        let times = |times: [f64; 2]| -> Times {
            [("worker-0".to_owned(), times[0]), ("worker-1".to_owned(), times[1])].into()
        };
        assert_eq!(uneven(&times([1.0, 1.0]), &times([2.0, 4.0])), Some(1.5));
        assert_eq!(uneven(&times([1.0, 1.0]), &times([1.0, 1.0])), None);
        assert_eq!(uneven(&Times::new(), &Times::new()), None);
    }
}
