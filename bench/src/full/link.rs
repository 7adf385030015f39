//! What a bulk transfer does to small requests between the same two pods on a link of 1 Gb/s.

use anyhow::ensure;

use super::Bench;
use super::stalled::slower;
use crate::figure::{Bar, Figure, Limit, Unit};
use crate::load;
use crate::load::open_loop::{self, Offer};
use crate::results::median;
use crate::scenario::{Load, Placement};
use crate::testbed::{Layout, Stage, Testbed};

/// Small requests a second, and the connections that share them.
const OFFER: (u32, usize) = (200, 4);
/// What their latency beside the transfer may be, in proportion to latency alone.
const SLOWER: f64 = 2.0;
/// The link between the nodes: a token bucket whose queue holds two milliseconds.
const LINK: [&str; 12] = [
    "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "1gbit", "burst", "128kb", "latency",
    "2ms",
];

/// Latency alone and beside the transfer, and how fast that is, in turns.
///
/// # Errors
/// A proxy does not start, or the kernel has no token bucket.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let testbed = Testbed::build(&bench.peers, Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    testbed.stages.iter().try_for_each(slow_down)?;
    let mut all: Vec<(&'static str, [Vec<f64>; 3])> =
        bench.peers.iter().map(|peer| (peer.name, <[Vec<f64>; 3]>::default())).collect();
    for _ in 0..bench.rounds {
        for (stage, (_, [alone, beside, rates])) in testbed.stages.iter().zip(&mut all) {
            alone.push(p99(stage, bench.seconds).await?);
            let server = stage.server(Placement::CrossNode).ip();
            let bulk = (stage.client.room(), server);
            let seconds = bench.seconds + 1;
            let bulk = load::run(Load::Stream { streams: 1 }, &bench.tools, bulk, seconds);
            let (bulk, p99) = tokio::join!(bulk, p99(stage, bench.seconds));
            let bulk = bulk?;
            rates.push(bulk.work / bulk.seconds);
            beside.push(p99?);
        }
    }
    let of = |index: usize| {
        all.iter().map(move |(peer, series)| (*peer, series.get(index).and_then(|s| median(s))))
    };
    let ratio = all.iter().map(|(peer, [alone, beside, _])| (*peer, slower(alone, beside)));
    let bar = Some(Bar::Value(Limit::AtMost(SLOWER)));
    let title = "1 Gb/s link, small requests";
    Ok(vec![
        Figure::new(format!("{title} alone: p99"), Unit::Seconds, of(0), None),
        Figure::new(format!("{title} beside a transfer: p99"), Unit::Seconds, of(1), None),
        Figure::new(format!("{title} beside a transfer : alone"), Unit::Times, ratio, bar),
        Figure::new("the transfer beside them", Unit::BytesPerSecond, of(2), None),
    ])
}

/// Slows the cables of both nodes down.
fn slow_down(stage: &Stage) -> anyhow::Result<()> {
    for node in &stage.nodes {
        let mut command = node.room().command("tc");
        command.args(LINK);
        let output = node.room().run(move || command.output())??;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "tc cannot slow down a cable: {}", words.trim());
    }
    Ok(())
}

async fn p99(stage: &Stage, seconds: u32) -> anyhow::Result<f64> {
    let (rate, connections) = OFFER;
    let offer = Offer { connections, rate, seconds };
    let server = stage.server(Placement::CrossNode).ip();
    Ok(open_loop::run(stage.client.room(), server, offer).await?.at(0.99))
}
