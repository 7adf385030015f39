//! `bench l7`: what a request through gateway and waypoint costs, beside other proxies with the same routes, tries, limits
//! of access and number of threads.
//!
//! ```text
//!  scenario, peer (data) ─▶ testbed (a sandbox with every proxy in it) ─▶ measure (load, usage) ─▶ results ─▶ report
//! ```

mod measure;
mod peer;
mod report;
mod scenario;
mod server;
mod testbed;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::ensure;
use serde::Serialize;

use crate::about::About;
use crate::options::{Common, chosen};
use crate::results::Measured;
use crate::tools::{self, H2LOAD, HAPROXY, NGINX, WRK, is_program};
use measure::{Plan, measure};
use peer::{Kind, Peer};
use scenario::SCENARIOS;
use testbed::{Testbed, Update};

/// Changes of a route that are timed.
const UPDATES: u32 = 20;

/// What the user can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Envoy to compare with.
    #[arg(long, env = "PEER_ENVOY", value_name = "FILE")]
    peer_envoy: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Everything that a run found out; the JSON file's content.
#[derive(Clone, Debug, Serialize)]
struct Results {
    #[serde(flatten)]
    about: About,
    /// Name and version.
    peers: Vec<(&'static str, String)>,
    updates: Vec<Updates>,
    #[serde(flatten)]
    measured: Measured,
}

/// How long changes of a route take to be in force.
#[derive(Clone, Debug, Serialize)]
struct Updates {
    /// How many routes the gateway has.
    routes: u32,
    took: Vec<Update>,
}

/// Where the programs of others are that every run needs.
#[derive(Clone, Debug)]
struct Tools {
    wrk: PathBuf,
    h2load: PathBuf,
    nginx: PathBuf,
}

/// Measures and prints. The status says whether every run succeeded.
///
/// # Errors
/// Nothing can be measured; the message says what to do.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let common = &options.common;
    let plan = Plan {
        scenarios: chosen(SCENARIOS, &common.scenarios, "scenario", |scenario| scenario.id)?,
        rounds: common.rounds.unwrap_or(3),
        seconds: common.seconds.unwrap_or(2),
    };
    let [wrk, h2load, nginx, haproxy] = tools::locate([WRK, H2LOAD, NGINX, HAPROXY])?;
    let tools = Tools { wrk, h2load, nginx };
    let peers = peers(&options, &tools, haproxy)?;
    let echo = beside("echo")?;
    common.prepare()?;
    let about = About::read(plan.rounds, plan.seconds);

    let testbed = Testbed::build(&peers, &plan.scenarios, (&tools, &echo)).await?;
    eprintln!("everything is up after {:.1} s", started.elapsed().as_secs_f64());
    let measured = measure(&testbed, &peers, &plan, &tools).await;
    let updates = updates(&testbed, &peers, &plan).await?;
    drop(testbed);

    let about = about.finished(started);
    let peers = peers.iter().map(|peer| (peer.name, version(peer))).collect();
    let results = Results { about, peers, updates, measured };
    println!("{}", report::render(&results, &plan.scenarios));
    common.write(&results)?;
    let failed = !results.measured.failures.is_empty();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How fast changes of routes are in force at Ambit's gateways.
async fn updates(testbed: &Testbed, peers: &[Peer], plan: &Plan) -> anyhow::Result<Vec<Updates>> {
    let mut updates = Vec::new();
    if peers.iter().any(|peer| matches!(peer.kind, Kind::Ambit)) {
        for routes in testbed::routes(&plan.scenarios) {
            let took = testbed.updates(routes, UPDATES).await?;
            updates.push(Updates { routes, took });
        }
    }
    Ok(updates)
}

/// Who is to be measured.
fn peers(options: &Options, tools: &Tools, haproxy: PathBuf) -> anyhow::Result<Vec<Peer>> {
    let mut all = vec![Peer::bare(), Peer::ambit()];
    // A variable that is set to nothing is as good as none.
    if let Some(envoy) =
        options.peer_envoy.clone().filter(|program| !program.as_os_str().is_empty())
    {
        ensure!(is_program(&envoy), "PEER_ENVOY={} is no program", envoy.display());
        all.push(Peer::envoy(envoy.canonicalize()?));
    }
    all.extend([Peer::nginx(tools.nginx.clone()), Peer::haproxy(haproxy)]);
    chosen(&all, &options.common.peers, "peer", |peer| peer.name)
}

/// A program of ours.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(
        is_program(&program),
        "{} is no program: build it with `cargo build --release`",
        program.display()
    );
    Ok(program)
}

/// What a peer says of its version, on its first line that does.
fn version(peer: &Peer) -> String {
    let said = |program: &Path, option: &str| {
        let output = Command::new(program).arg(option).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find(|line| line.contains("version")).map(|line| line.trim().to_owned())
    };
    match &peer.kind {
        Kind::Bare => "straight to a server".to_owned(),
        Kind::Ambit => format!("version {}", env!("CARGO_PKG_VERSION")),
        Kind::Other { program, .. } => {
            let option = if peer.name == "envoy" { "--version" } else { "-v" };
            said(program, option).unwrap_or_else(|| program.display().to_string())
        }
    }
}
