//! Runs every scenario with every peer, the peers taking turns, and looks at what the proxies used meanwhile.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::Tools;
use super::peer::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, Peer};
use super::scenario::{Load, Scenario, Way};
use super::testbed::{Target, Testbed};
use crate::load::{self, Outcome, h2load};
use crate::results::{Key, Measured};
use crate::usage::{Meter, Used};

/// What to do, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: u32,
    /// Duration of each run.
    pub(crate) seconds: u32,
}

/// Carries out the plan.
pub(crate) async fn measure(
    testbed: &Testbed,
    peers: &[Peer],
    plan: &Plan,
    tools: &Tools,
) -> Measured {
    let mut measured = Measured::default();
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            for peer in peers {
                let of = Key { scenario: scenario.id, placement: None, peer: peer.name };
                if let Some(ran) =
                    run(testbed, (peer, scenario), plan.seconds, tools).await.transpose()
                {
                    measured.note(of, round, ran);
                }
            }
            eprintln!("round {round}/{}: {}", plan.rounds, scenario.title);
        }
    }
    measured.sum_up();
    measured
}

/// Runs one load once; `None` where the peer does not do that.
async fn run(
    testbed: &Testbed,
    (peer, scenario): (&Peer, &Scenario),
    seconds: u32,
    tools: &Tools,
) -> anyhow::Result<Option<(Outcome, Used)>> {
    let Some(target) = testbed.target(peer, scenario)? else { return Ok(None) };
    let tunnel = match scenario.way {
        Way::Gateway { .. } => Vec::new(),
        Way::Waypoint => testbed.tunnel()?,
    };
    let (proxy, tunnel) = (Meter::start(target.proxy.clone())?, Meter::start(tunnel)?);
    let outcome = load(&target, scenario.load, seconds, tools).await?;
    let tunnel_cpu_seconds = tunnel.stop()?.cpu();
    Ok(Some((outcome, Used { tunnel_cpu_seconds, ..proxy.stop()? })))
}

async fn load(target: &Target, load: Load, seconds: u32, tools: &Tools) -> anyhow::Result<Outcome> {
    let client = target.client.room();
    let path = format!("{}{}", target.path, load.body().name());
    let url = |port, path: &str| format!("http://{}{path}", SocketAddr::new(target.address, port));
    let http = url(HTTP_PORT, &path);
    match load {
        Load::Saturate { connections, .. } => {
            load::wrk(
                &tools.wrk,
                client,
                &["--connections", &connections.to_string(), &http],
                seconds,
            )
            .await
        }
        Load::Offer { connections, each } => {
            let connections = connections.to_string();
            let options = ["--h1", "--clients", &connections, "--rps", &each.to_string(), &http];
            h2load::run(&tools.h2load, client, &options, seconds).await
        }
        Load::Grpc { connections, calls } => {
            let message = tempfile::NamedTempFile::new()?;
            // A message without fields, behind the five bytes that gRPC puts before each.
            std::fs::write(message.path(), [0; 5])?;
            let (connections, calls) = (connections.to_string(), calls.to_string());
            let body = path_text(message.path())?;
            let url = url(GRPC_PORT, &format!("{GRPC_PREFIX}Check"));
            let headers =
                ["--header", "content-type: application/grpc", "--header", "te: trailers"];
            let mut options = vec!["--clients", &connections, "--max-concurrent-streams", &calls];
            options.extend(headers.into_iter().chain(["--data", body, &url]));
            h2load::run(&tools.h2load, client, &options, seconds).await
        }
    }
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
