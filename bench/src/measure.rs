//! Runs every scenario on every stage, the stages taking turns, and looks at what the proxies used meanwhile.

use std::time::Instant;

use anyhow::Context as _;

use crate::load::Tools;
use crate::load::{self, Outcome};
use crate::memory::{self, MemorySample, Moment};
use crate::results::{Failure, Key, Sample};
use crate::scenario::{Placement, Scenario};
use crate::testbed::{Stage, Testbed};
use crate::usage;

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

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) memory: Vec<MemorySample>,
}

/// Carries out the plan. A run that fails is noted and does not stop the others.
///
/// # Errors
/// Traffic does not take the way that is to be measured, or the proxies cannot hold connections open.
pub(crate) async fn measure(
    testbed: &mut Testbed,
    plan: &Plan,
    tools: &Tools,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    memory_before(testbed, plan, &mut measured).await?;
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            for placement in Placement::ALL {
                let started = Instant::now();
                for stage in &mut testbed.stages {
                    let of = Key { scenario: scenario.id, placement, peer: stage.peer.name };
                    match run(stage, (scenario, placement), plan.seconds, tools).await {
                        Ok((outcome, cpu)) => {
                            measured.samples.push(Sample::new(of, round, &outcome, cpu))
                        }
                        Err(error) => {
                            let error = format!("{error:#}");
                            eprintln!("  {} failed: {error}", of.peer);
                            measured.failures.push(Failure { of, round, error });
                        }
                    }
                }
                let (rounds, took) = (plan.rounds, started.elapsed().as_secs_f64());
                eprintln!(
                    "round {round}/{rounds}: {}, {} ({took:.1} s)",
                    scenario.title,
                    placement.title()
                );
            }
        }
    }
    // A proxy that has ended by now is among the failures already.
    let after =
        proxied(testbed).filter_map(|stage| memory::resident(stage, Moment::AfterLoad).ok());
    measured.memory.extend(after);
    Ok(measured)
}

/// Memory while the proxies are fresh, and the proof that they are in the path. Also warms everything up.
async fn memory_before(
    testbed: &mut Testbed,
    plan: &Plan,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    for stage in proxied(testbed) {
        measured.memory.push(memory::resident(stage, Moment::Idle)?);
    }
    for stage in &testbed.stages {
        for placement in Placement::ALL {
            stage.check_path(placement).await?;
        }
    }
    for stage in proxied(testbed).filter(|_| plan.idle_connections > 0) {
        let sample = memory::with_connections(stage, plan.idle_connections).await;
        measured.memory.push(sample.with_context(|| {
            format!("{} connections through {:?}", plan.idle_connections, stage.peer.name)
        })?);
    }
    Ok(())
}

fn proxied(testbed: &mut Testbed) -> impl Iterator<Item = &mut Stage> {
    testbed.stages.iter_mut().filter(|stage| !stage.proxies.is_empty())
}

/// Runs one load once; also returns the CPU time of each proxy, in seconds.
async fn run(
    stage: &mut Stage,
    (scenario, placement): (&Scenario, Placement),
    seconds: u32,
    tools: &Tools,
) -> anyhow::Result<(Outcome, Vec<f64>)> {
    let before = cpu_times(stage)?;
    let server = stage.server(placement).ip();
    let outcome = load::run(scenario.load, tools, (stage.client.room(), server), seconds).await;
    stage.ensure_running()?;
    let after = cpu_times(stage)?;
    stage.proxies.iter().for_each(|proxy| proxy.program.trim_log());
    Ok((outcome?, after.iter().zip(before).map(|(after, before)| after - before).collect()))
}

fn cpu_times(stage: &Stage) -> anyhow::Result<Vec<f64>> {
    let times = stage.proxies.iter().map(|proxy| usage::cpu_time(proxy.program.pid()));
    times.map(|time| Ok(time?.as_secs_f64())).collect()
}
