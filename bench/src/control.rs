//! `bench control`: what the control plane costs, with simulated pods and simulated proxies that count and do not
//! decode, so that the figures are the control plane's own.
//!
//! ```text
//!  shape ─▶ objects ─▶ world (API server or files) ─▶ subject (controller) ─▶ fleet (proxies) ─▶ measure ─▶ results ─▶ report
//! ```

mod api;
mod certificates;
mod changes;
mod cluster;
mod directory;
mod figures;
mod fleet;
mod http2;
mod ledger;
mod measure;
mod objects;
mod ports;
mod proxy;
mod report;
mod results;
mod shape;
mod subject;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::machine::Machine;
use crate::options::{allow_many_files, check_writable};
use crate::tools::is_program;
use changes::Load;
use cluster::Cluster;
use directory::Directory;
use measure::{Candidate, Measurement, Plan};
use results::Results;
use shape::Shape;
use world::World;

/// What the user can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The controller, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
    /// A live istiod to measure instead; it has to follow the API server that another run holds (--hold).
    #[arg(long, env = "ISTIOD", value_name = "HOST:PORT", conflicts_with = "files")]
    istiod: Option<String>,
    /// Its process, for its CPU time and memory.
    #[arg(long, env = "ISTIOD_PID", value_name = "PID")]
    istiod_pid: Option<u32>,
    /// Only start and fill the API server, say how to reach it, and wait.
    #[arg(long, conflicts_with = "files")]
    hold: bool,
    /// etcd and kube-apiserver in one program.
    #[arg(long, value_name = "FILE", default_value = "target/cluster/kubebox")]
    kubebox: PathBuf,
    /// Where the API server keeps its objects from run to run.
    #[arg(long, value_name = "DIR", default_value = "target/bench/control")]
    data: PathBuf,
    /// Read the objects from files instead of an API server.
    #[arg(long)]
    files: bool,
    /// 100,000 pods and 200 subscribers.
    #[arg(long, conflicts_with_all = ["pods", "services", "subscribers"])]
    large: bool,
    /// Pods.
    #[arg(long, value_name = "COUNT", default_value_t = Shape::USUAL.pods)]
    pods: u32,
    /// Services.
    #[arg(long, value_name = "COUNT", default_value_t = Shape::USUAL.services)]
    services: u32,
    /// Nodes, each with a proxy that subscribes.
    #[arg(long, value_name = "COUNT", default_value_t = Shape::USUAL.nodes)]
    subscribers: u32,
    /// Starts of the controller, and full syncs of one proxy alone.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// How long memory is left alone before it is looked at, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    settle: u32,
    /// How many changes: one a second, all at once, twenty a second.
    #[arg(long, default_values_t = [60, 200, 400], value_delimiter = ',', value_name = "SLOW,BURST,FAST")]
    changes: Vec<u32>,
    /// How long certificates are asked for, in seconds.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    certificates: u32,
    /// Write everything that was measured to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// Nothing can be measured; the message says what to do.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if let Some(file) = &options.json {
        check_writable(file)?;
    }
    allow_many_files()?;
    let machine = Machine::read();
    let plan = options.plan()?;
    let dir = tempfile::tempdir().context("cannot make a directory for files and logs")?;
    if options.hold {
        let world = options.world(dir.path(), plan.shape).await?;
        eprintln!("the API server is up: {}", world.arguments().join(" "));
        return std::future::pending().await;
    }
    let candidate = options.candidate(dir.path())?;
    let world = options.world(dir.path(), plan.shape).await?;
    let mut measurement = Measurement::new(&plan, &world);
    // What was measured before something failed is worth reading.
    let outcome = measurement.run(&candidate).await;
    let Measurement { figures, phases, .. } = measurement;
    let results = Results {
        machine,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        subject: candidate.name(),
        source: if options.files { "files" } else { "an API server" },
        shape: plan.shape,
        figures,
        phases,
        took_seconds: started.elapsed().as_secs_f64(),
    };
    println!("{}", report::render(&results));
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&results)?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

// === impl Options ===

impl Options {
    fn plan(&self) -> anyhow::Result<Plan> {
        let mut shape = Shape { pods: self.pods, services: self.services, nodes: self.subscribers };
        if self.large {
            shape = Shape::LARGE;
        }
        let &[slow, burst, fast] = self.changes.as_slice() else {
            anyhow::bail!("--changes takes three counts");
        };
        let most = slow.max(burst).max(fast);
        ensure!(shape.nodes > 0, "--subscribers must be at least 1");
        ensure!(
            most <= shape.pods && shape.services <= shape.pods,
            "there must be as many pods as services, and as changes of one kind ({most})"
        );
        let load = |count, interval| Load { count, interval: Duration::from_millis(interval) };
        Ok(Plan {
            shape,
            repeats: self.repeats,
            settle: Duration::from_secs(self.settle.into()),
            loads: [load(slow, 1000), load(burst, 0), load(fast, 50)],
            certificates: Duration::from_secs(self.certificates.into()),
        })
    }

    fn candidate(&self, dir: &Path) -> anyhow::Result<Candidate> {
        if let Some(address) = self.istiod() {
            let address: SocketAddr = address
                .parse()
                .with_context(|| format!("ISTIOD {address:?} is not an address and a port"))?;
            return Ok(Candidate::Live { address, pid: self.istiod_pid });
        }
        let program = match &self.controller {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("controller"),
        };
        ensure!(
            is_program(&program),
            "{} is no program: build it with `cargo build --release -p ambit-controller`, or name one with --controller",
            program.display()
        );
        Ok(Candidate::Program { program, log: dir.join("controller.log") })
    }

    /// The address of a live istiod. A variable that is set to nothing is as good as none.
    fn istiod(&self) -> Option<&str> {
        self.istiod.as_deref().filter(|address| !address.is_empty() && !self.hold)
    }

    async fn world(&self, dir: &Path, shape: Shape) -> anyhow::Result<World> {
        if self.istiod().is_some() {
            return Ok(World::Cluster(Box::new(Cluster::attach(&self.data, shape).await?)));
        }
        if self.files {
            return Ok(World::Directory(Directory::fill(dir, shape)?));
        }
        ensure!(
            is_program(&self.kubebox),
            "{} is no program: run `make cluster cluster-down` once, which builds it, or use --files",
            self.kubebox.display()
        );
        let cluster = Cluster::start(&self.data, &self.kubebox, shape).await?;
        Ok(World::Cluster(Box::new(cluster)))
    }
}

// === impl Candidate ===

impl Candidate {
    fn name(&self) -> String {
        match self {
            Self::Program { program, .. } => program.display().to_string(),
            Self::Live { address, .. } => format!("istiod at {address}"),
        }
    }
}
