//! `bench full`: what takes long or needs many connections. Every experiment sets up what it needs, and one that fails
//! does not stop the others.

mod compare;
mod held;
mod idle;
mod inside;
mod latency;
mod link;
mod readers;
mod stalled;
mod workers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use crate::about::About;
use crate::crowd;
use crate::figure::{Figure, SUBJECT};
use crate::load::Tools;
use crate::options::{Common, chosen};
use crate::peer::{Peer, PeerName, Programs};
use crate::report;
use crate::scenario::{CONNECTIONS_MEMORY, WORKLOADS_MEMORY};
use crate::svg::{self, Curve};
use crate::tunnel::draw;

/// What the user can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    common: Common,
    /// This part of the usual numbers of connections, policies and workloads.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    part: f64,
    /// Draw the figures into this directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// What experiments share.
struct Bench {
    peers: Vec<Peer>,
    tools: Tools,
    rounds: u32,
    seconds: u32,
    part: f64,
}

/// What an experiment found out.
#[derive(Debug, Default)]
struct Found {
    figures: Vec<Figure>,
    pictures: Vec<Picture>,
    /// What else is to be said.
    notes: Vec<String>,
}

/// Latencies of one load.
#[derive(Clone, Debug, Serialize)]
struct Picture {
    title: String,
    curves: Vec<Curve>,
}

#[derive(Clone, Copy, Debug)]
enum Experiment {
    Latency,
    Idle,
    Held,
    Telemetry,
    Policies,
    State,
    Start,
    Workers,
    Stalled,
    Readers,
    Link,
}

/// Everything that a run found out; the JSON file's content.
#[derive(Debug, Serialize)]
struct Results {
    #[serde(flatten)]
    about: About,
    peers: Vec<PeerName>,
    figures: Vec<Figure>,
    latencies: Vec<Picture>,
    notes: Vec<String>,
    failures: Vec<String>,
}

/// Measures and prints. The status says whether every experiment succeeded.
///
/// # Errors
/// Nothing can be measured; the message says what to do.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let Options { programs, common, part, plots } = options;
    let wanted = &common.scenarios;
    let experiments = chosen(Experiment::ALL, wanted, "scenario", |experiment| experiment.id())?;
    let bench = Bench {
        peers: programs.peers(&common.peers)?,
        tools: Tools::find()?,
        rounds: common.rounds.unwrap_or(3),
        seconds: common.seconds.unwrap_or(4),
        part,
    };
    common.prepare()?;
    let about = About::read(bench.rounds, bench.seconds);
    let (mut all, mut failures) = (Found::default(), Vec::new());
    for experiment in experiments {
        let began = Instant::now();
        match experiment.run(&bench).await {
            Ok(found) => all.add(found),
            Err(error) => failures.push(format!("{} failed: {error:#}", experiment.id())),
        }
        eprintln!("{} ({:.0} s)", experiment.id(), began.elapsed().as_secs_f64());
    }
    let about = about.finished(started);
    let peers = bench.peers.iter().map(PeerName::from).collect();
    let Found { figures, pictures: latencies, notes } = all;
    let results = Results { about, peers, figures, latencies, notes, failures };
    println!("{}", results.report());
    common.write(&results)?;
    if let Some(dir) = plots {
        results.draw(&dir)?;
    }
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// === impl Results ===

impl Results {
    fn report(&self) -> String {
        let notes: Vec<_> = self.notes.iter().chain(&self.failures).cloned().collect();
        report::render(&self.about, &self.peers, &self.figures, &notes)
    }

    fn draw(&self, dir: &Path) -> anyhow::Result<()> {
        draw(dir, "full.svg", &svg::bars(&self.figures))?;
        for (picture, number) in self.latencies.iter().zip(1..) {
            let name = format!("latency-{number}.svg");
            draw(dir, &name, &svg::curves(&picture.title, &picture.curves))?;
        }
        Ok(())
    }
}

// === impl Bench ===

impl Bench {
    /// This run's part of a usual number, at least one.
    fn part_of(&self, usual: u32) -> u32 {
        (f64::from(usual) * self.part).ceil().max(1.0) as u32
    }

    /// The peers that have a proxy.
    fn proxied(&self) -> Vec<Peer> {
        self.peers.iter().filter(|peer| peer.ztunnel.is_some()).cloned().collect()
    }

    /// Ambit alone, if it takes part.
    fn ambit(&self) -> Vec<Peer> {
        self.peers.iter().filter(|peer| peer.name == SUBJECT).cloned().collect()
    }
}

// === impl Found ===

impl Found {
    fn add(&mut self, more: Self) {
        self.figures.extend(more.figures);
        self.pictures.extend(more.pictures);
        self.notes.extend(more.notes);
    }
}

impl From<Vec<Figure>> for Found {
    fn from(figures: Vec<Figure>) -> Self {
        Self { figures, ..Self::default() }
    }
}

// === impl Experiment ===

impl Experiment {
    const ALL: &[Self] = &[
        Self::Latency,
        Self::Idle,
        Self::Held,
        Self::Telemetry,
        Self::Policies,
        Self::State,
        Self::Start,
        Self::Workers,
        Self::Stalled,
        Self::Readers,
        Self::Link,
    ];

    fn id(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Idle => "idle",
            Self::Held => "held",
            Self::Telemetry => "telemetry",
            Self::Policies => "policies",
            Self::State => "state",
            Self::Start => "start",
            Self::Workers => "workers",
            Self::Stalled => "stalled",
            Self::Readers => "readers",
            Self::Link => "link",
        }
    }

    async fn run(self, bench: &Bench) -> anyhow::Result<Found> {
        let workloads = || bench.part_of(WORKLOADS_MEMORY.0);
        Ok(match self {
            Self::Latency => latency::run(bench).await?,
            Self::Idle => {
                idle::run(bench, bench.part_of(CONNECTIONS_MEMORY.0 as u32)).await?.into()
            }
            Self::Held => held::run(bench).await?.into(),
            Self::Telemetry => compare::telemetry(bench).await?.into(),
            Self::Policies => compare::policies(bench).await?.into(),
            Self::State => inside::state(workloads()).into(),
            Self::Start => crowd::figures(&bench.peers, workloads()).await?.into(),
            Self::Workers => workers::run(bench).await?.into(),
            Self::Stalled => stalled::run(bench).await?,
            Self::Readers => readers::run(bench).await?,
            Self::Link => link::run(bench).await?.into(),
        })
    }
}
