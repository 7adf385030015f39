//! Latency while requests come at a fixed rate.

use super::{Bench, Found, Picture};
use crate::figure::{Figure, Unit};
use crate::load::open_loop::{self, Latencies, Offer};
use crate::scenario::Placement;
use crate::svg::Curve;
use crate::testbed::{Layout, Testbed};

/// Requests a second.
const RATES: [u32; 2] = [1_000, 5_000];
/// Connections that share them.
const CONNECTIONS: usize = 64;
/// Shares of all requests that are no slower, and what they are called.
const SHARES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "slowest")];

/// Offers requests at each rate, all rounds added up.
///
/// # Errors
/// A proxy does not start, or a connection through it is closed.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Found> {
    let testbed = Testbed::build(&bench.peers, Layout::default(), &bench.tools).await?;
    testbed.check_paths().await?;
    let mut found = Found::default();
    for rate in RATES {
        let offer = Offer { connections: CONNECTIONS, rate, seconds: bench.seconds };
        let mut all: Vec<(&'static str, Latencies)> = Vec::new();
        for _ in 0..bench.rounds {
            for stage in &testbed.stages {
                let server = stage.server(Placement::CrossNode).ip();
                let more = open_loop::run(stage.client.room(), server, offer).await?;
                match all.iter_mut().find(|(peer, _)| *peer == stage.peer.name) {
                    Some((_, latencies)) => latencies.add(&more)?,
                    None => all.push((stage.peer.name, more)),
                }
            }
        }
        let title = format!("{rate} requests a second offered, cross-node");
        found.figures.extend(SHARES.map(|(share, name)| {
            let values = all.iter().map(|(peer, latencies)| (*peer, Some(latencies.at(share))));
            Figure::new(format!("{title}: {name}"), Unit::Seconds, values, None)
        }));
        let unanswered = all.iter().map(|(peer, all)| (*peer, Some(all.unanswered as f64)));
        let name = format!("{title}: not answered");
        found.figures.push(Figure::new(name, Unit::Count, unanswered, None));
        let curves = all.iter().map(|(peer, all)| Curve { peer, points: all.curve() });
        found.pictures.push(Picture { title, curves: curves.collect() });
    }
    Ok(found)
}
