//! Runs every scenario with every peer, the peers taking turns, and looks at what the proxies used meanwhile.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::Tools;
use super::peer::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, Peer};
use super::results::{Failure, Key, Sample};
use super::scenario::{Load, Scenario, Way};
use super::testbed::{Target, Testbed};
use crate::load::{self, Outcome, h2load};
use crate::usage;

/// What to do, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: u32,
    /// Duration of each run.
    pub(crate) seconds: u32,
}

/// Carries out the plan. A run that fails is noted and does not stop the others.
pub(crate) async fn measure(
    testbed: &Testbed,
    peers: &[Peer],
    plan: &Plan,
    tools: &Tools,
) -> (Vec<Sample>, Vec<Failure>) {
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            for peer in peers {
                let of = Key { scenario: scenario.id, peer: peer.name };
                match run(testbed, (peer, scenario), plan.seconds, tools).await {
                    Ok(Some(figures)) => samples.push(figures.of(of, round)),
                    Ok(None) => {}
                    Err(error) => {
                        let error = format!("{error:#}");
                        eprintln!("  {} failed: {error}", peer.name);
                        failures.push(Failure { of, round, error });
                    }
                }
            }
            eprintln!("round {round}/{}: {}", plan.rounds, scenario.title);
        }
    }
    (samples, failures)
}

/// What a run came to.
struct Figures {
    outcome: Outcome,
    /// CPU time of the proxy, seconds; none where there is none.
    cpu: Option<f64>,
    /// The same of the node's tunnel, where it is in the path.
    tunnel_cpu: Option<f64>,
    /// The most resident memory of the proxy during the run, bytes.
    memory: Option<u64>,
}

impl Figures {
    fn of(self, of: Key, round: u32) -> Sample {
        let Self { outcome, cpu, tunnel_cpu, memory } = self;
        Sample {
            of,
            round,
            requests: outcome.work,
            seconds: outcome.seconds,
            p50_seconds: outcome.latency.map(|latency| latency.p50),
            p99_seconds: outcome.latency.map(|latency| latency.p99),
            errors: outcome.errors,
            cpu_seconds: cpu,
            tunnel_cpu_seconds: tunnel_cpu,
            memory_bytes: memory,
        }
    }
}

/// Runs one load once; `None` where the peer does not do that.
async fn run(
    testbed: &Testbed,
    (peer, scenario): (&Peer, &Scenario),
    seconds: u32,
    tools: &Tools,
) -> anyhow::Result<Option<Figures>> {
    let Some(target) = testbed.target(peer, scenario)? else { return Ok(None) };
    let tunnel = match scenario.way {
        Way::Gateway { .. } => Vec::new(),
        Way::Waypoint => testbed.tunnel()?,
    };
    target.proxy.iter().try_for_each(|pid| usage::forget_peak(*pid))?;
    let before = (cpu(&target.proxy)?, cpu(&tunnel)?);
    let outcome = load(&target, scenario.load, seconds, tools).await?;
    let after = (cpu(&target.proxy)?, cpu(&tunnel)?);
    let peaks = target.proxy.iter().map(|pid| usage::peak(*pid));
    let memory = peaks.sum::<anyhow::Result<u64>>()?;
    let some = |pids: &[u32], seconds: f64| (!pids.is_empty()).then_some(seconds);
    Ok(Some(Figures {
        outcome,
        cpu: some(&target.proxy, after.0 - before.0),
        tunnel_cpu: some(&tunnel, after.1 - before.1),
        memory: (!target.proxy.is_empty()).then_some(memory),
    }))
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

/// CPU time of processes so far, seconds.
fn cpu(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| Ok(usage::cpu_time(*pid)?.as_secs_f64())).sum()
}
