//! New connections through proxies that differ in one thing: what that thing costs.

use super::{Bench, inside};
use crate::figure::{Figure, Unit, counted};
use crate::measure;
use crate::peer::Peer;
use crate::results::median;
use crate::scenario::{Load, Placement};
use crate::testbed::{Layout, Testbed};

/// The most policies that are looked at.
const POLICIES: u32 = 1_000;

/// With the access log as it is by default, and without; and what metrics cost, which cannot be turned off.
///
/// # Errors
/// A proxy does not start, or does not carry connections.
pub(super) async fn telemetry(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let quiet = bench.proxied().into_iter().map(|peer| peer.with("RUST_LOG", "info,access=off"));
    let usual = ("access log on".to_owned(), bench.proxied(), Layout::default());
    let quiet = ("access log off".to_owned(), quiet.collect(), Layout::default());
    let mut figures = connections(bench, vec![usual, quiet]).await?;
    figures.push(inside::metrics());
    Ok(figures)
}

/// With none, one and very many policies that match nobody.
///
/// # Errors
/// A proxy does not start, or does not carry connections.
pub(super) async fn policies(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let counts = [0, 1, bench.part_of(POLICIES)];
    let variants = counts.map(|policies| {
        let layout = Layout { policies, ..Layout::default() };
        (counted(policies, "policy", "policies"), bench.proxied(), layout)
    });
    let mut figures = connections(bench, variants.into()).await?;
    figures.extend(counts.into_iter().skip(1).flat_map(inside::policies));
    Ok(figures)
}

/// CPU of a new connection with each variant, all of them taking turns.
async fn connections(
    bench: &Bench,
    variants: Vec<(String, Vec<Peer>, Layout)>,
) -> anyhow::Result<Vec<Figure>> {
    let mut testbeds = Vec::new();
    for (title, peers, layout) in variants {
        let testbed = Testbed::build(&peers, layout, &bench.tools).await?;
        testbed.check_paths().await?;
        let costs: Vec<(&'static str, Vec<f64>)> =
            peers.iter().map(|peer| (peer.name, Vec::new())).collect();
        testbeds.push((title, testbed, costs));
    }
    let load = Load::Requests { connections: 8, keep_alive: false };
    for _ in 0..bench.rounds {
        for (_, testbed, costs) in &mut testbeds {
            for (stage, (_, costs)) in testbed.stages.iter_mut().zip(costs) {
                let what = (load, Placement::CrossNode);
                let (outcome, used) =
                    measure::run(stage, what, bench.seconds, &bench.tools).await?;
                costs.extend(used.cpu().map(|cpu| cpu / outcome.work));
            }
        }
    }
    let figure = |(title, _, costs): (String, Testbed, Vec<(&'static str, Vec<f64>)>)| {
        let values = costs.iter().map(|(peer, costs)| (*peer, median(costs)));
        Figure::new(format!("new connection, {title}: CPU"), Unit::Seconds, values, None)
    };
    Ok(testbeds.into_iter().map(figure).collect())
}
