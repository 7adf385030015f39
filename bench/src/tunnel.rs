//! `bench tunnel` and, in less time, `bench quick`: the command line, and the run from start to end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::about::About;
use crate::crowd;
use crate::figure::Figure;
use crate::figures;
use crate::load::Tools;
use crate::measure::{Plan, measure};
use crate::memory::MemorySample;
use crate::options::{Common, chosen};
use crate::peer::{PeerName, Programs};
use crate::report;
use crate::results::Measured;
use crate::scenario::{CONNECTIONS_MEMORY, SCENARIOS, WORKLOADS_MEMORY};
use crate::svg;
use crate::testbed::{Layout, Testbed};

/// What the user can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    common: Common,
    /// Open connections for the memory figure.
    #[arg(long, value_name = "COUNT")]
    idle_connections: Option<usize>,
    /// Workloads in the mesh for the memory figure.
    #[arg(long, value_name = "COUNT")]
    workloads: Option<u32>,
    /// Draw the figures into this directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// How much is done where the user does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    rounds: u32,
    seconds: u32,
    idle_connections: usize,
    workloads: u32,
}

/// In at most three minutes.
pub(crate) const QUICK: Depth =
    Depth { rounds: 3, seconds: 2, idle_connections: 1000, workloads: 0 };
/// In at most fifteen.
pub(crate) const WHOLE: Depth = Depth {
    rounds: 5,
    seconds: 4,
    idle_connections: CONNECTIONS_MEMORY.0,
    workloads: WORKLOADS_MEMORY.0,
};

/// Everything that a run found out; the JSON file's content.
#[derive(Debug, Serialize)]
struct Results {
    #[serde(flatten)]
    about: About,
    peers: Vec<PeerName>,
    figures: Vec<Figure>,
    memory: Vec<MemorySample>,
    #[serde(flatten)]
    measured: Measured,
}

/// Measures and prints. The status says whether every run succeeded.
///
/// # Errors
/// Nothing can be measured; the message says what to do.
pub(crate) async fn run(options: Options, depth: Depth) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let Options { programs, common, idle_connections, workloads, plots } = options;
    let plan = Plan {
        scenarios: chosen(SCENARIOS, &common.scenarios, "scenario", |scenario| scenario.id)?,
        rounds: common.rounds.unwrap_or(depth.rounds),
        seconds: common.seconds.unwrap_or(depth.seconds),
        idle_connections: idle_connections.unwrap_or(depth.idle_connections),
    };
    let peers = programs.peers(&common.peers)?;
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let tools = Tools::find()?;
    common.prepare()?;
    let about = About::read(plan.rounds, plan.seconds);

    let mut testbed = Testbed::build(&peers, Layout::default(), &tools).await?;
    eprintln!("everything is up after {:.1} s", started.elapsed().as_secs_f64());
    let (measured, memory) = measure(&mut testbed, &plan, &tools).await?;
    drop(testbed);
    let mut figures = figures::of_loads(&plan.scenarios, &measured, &names);
    figures.extend(figures::of_memory(&memory, &measured, &names));
    let workloads = workloads.unwrap_or(depth.workloads);
    if workloads > 0 {
        figures.extend(crowd::figures(&peers, workloads).await?);
    }

    let about = about.finished(started);
    let peers = peers.iter().map(PeerName::from).collect();
    let results = Results { about, peers, figures, memory, measured };
    println!("{}", results.report());
    common.write(&results)?;
    if let Some(dir) = plots {
        draw(&dir, "tunnel.svg", &svg::bars(&results.figures))?;
    }
    let failed = !results.measured.failures.is_empty();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes a picture.
///
/// # Errors
/// It cannot be written.
pub(crate) fn draw(dir: &Path, name: &str, picture: &str) -> anyhow::Result<()> {
    let write = || {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(name), picture)
    };
    write().with_context(|| format!("cannot write {name} in {}", dir.display()))
}

impl Results {
    fn report(&self) -> String {
        let mut notes = vec![
            "CPU is that of all proxies, for each byte or request; memory is the mean of the nodes."
                .to_owned(),
        ];
        notes.extend(self.measured.spread(self.about.rounds));
        notes.extend(self.measured.complaints());
        report::render(&self.about, &self.peers, &self.figures, &notes)
    }
}
