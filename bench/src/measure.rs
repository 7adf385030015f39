//! Runs every scenario on every stage, the stages taking turns, and looks at what the proxies used meanwhile.

use std::time::Instant;

use anyhow::Context as _;

use crate::load::Tools;
use crate::load::{self, Outcome};
use crate::memory::{self, MemorySample, Moment};
use crate::results::{Key, Measured};
use crate::scenario::{Load, Placement, Scenario};
use crate::testbed::{Stage, Testbed};
use crate::usage::{Meter, Used};

/// What to do, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: u32,
    /// Duration of each run.
    pub(crate) seconds: u32,
    /// Open connections for the memory figure; none if 0.
    pub(crate) idle_connections: usize,
}

/// Carries out the plan.
///
/// # Errors
/// Traffic does not take the way that is to be measured, or the proxies cannot hold connections open.
pub(crate) async fn measure(
    testbed: &mut Testbed,
    plan: &Plan,
    tools: &Tools,
) -> anyhow::Result<(Measured, Vec<MemorySample>)> {
    let mut memory = memory_before(testbed, plan).await?;
    let mut measured = Measured::default();
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            for placement in Placement::ALL {
                let started = Instant::now();
                for stage in &mut testbed.stages {
                    let placed = Some(placement);
                    let of =
                        Key { scenario: scenario.id, placement: placed, peer: stage.peer.name };
                    let what = (scenario.load, placement);
                    measured.note(of, round, run(stage, what, plan.seconds, tools).await);
                }
                let (rounds, took) = (plan.rounds, started.elapsed().as_secs_f64());
                let (title, place) = (scenario.title, placement.title());
                eprintln!("round {round}/{rounds}: {title}, {place} ({took:.1} s)");
            }
        }
    }
    measured.sum_up();
    for stage in proxied(testbed) {
        // A proxy that has ended by now is among the failures already.
        memory.extend(memory::settled(stage, Moment::AfterLoad).await.ok());
    }
    Ok((measured, memory))
}

/// Memory while the proxies are fresh, and the proof that they are in the path. Also warms everything up.
async fn memory_before(testbed: &mut Testbed, plan: &Plan) -> anyhow::Result<Vec<MemorySample>> {
    let mut samples = Vec::new();
    for stage in proxied(testbed) {
        samples.push(memory::resident(stage, Moment::Idle)?);
    }
    testbed.check_paths().await?;
    for stage in proxied(testbed).filter(|_| plan.idle_connections > 0) {
        let sample = memory::with_connections(stage, plan.idle_connections).await;
        samples.push(sample.with_context(|| {
            format!("{} connections through {:?}", plan.idle_connections, stage.peer.name)
        })?);
    }
    Ok(samples)
}

fn proxied(testbed: &mut Testbed) -> impl Iterator<Item = &mut Stage> {
    testbed.stages.iter_mut().filter(|stage| !stage.proxies.is_empty())
}

/// Runs one load once.
///
/// # Errors
/// It fails, or a proxy has ended.
pub(crate) async fn run(
    stage: &mut Stage,
    (load, placement): (Load, Placement),
    seconds: u32,
    tools: &Tools,
) -> anyhow::Result<(Outcome, Used)> {
    let meter = Meter::start(stage.pids())?;
    let server = stage.server(placement).ip();
    let outcome = load::run(load, tools, (stage.client.room(), server), seconds).await;
    stage.ensure_running()?;
    let used = meter.stop()?;
    stage.proxies.iter().for_each(|proxy| proxy.program.trim_log());
    Ok((outcome?, used))
}
