//! `bench quick`: the command line, and the run from start to end.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::load::Tools;
use crate::machine::Machine;
use crate::measure::{Plan, measure};
use crate::peer::Peer;
use crate::report;
use crate::results::{PeerName, Results, Summary};
use crate::scenario::{CONGESTION_CONTROL, QUICK};
use crate::testbed::Testbed;
use crate::tools::is_program;

/// What the user can choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// A proxy to compare with: any ztunnel that speaks ZDS and reads LOCAL_XDS_PATH.
    #[arg(long, env = "PEER_ZTUNNEL", value_name = "FILE")]
    peer_ztunnel: Option<PathBuf>,
    /// Ambit's own ztunnel, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    ztunnel: Option<PathBuf>,
    /// Only these, of bare, ambit and peer.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    peers: Vec<String>,
    /// Only these; an unknown name lists them all.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    scenarios: Vec<String>,
    /// How often everything is run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each run takes, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Open connections for the memory figures.
    #[arg(long, default_value_t = 1000, value_name = "COUNT")]
    idle_connections: usize,
    /// Write everything that was measured to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints. The status says whether every run succeeded.
///
/// # Errors
/// Nothing can be measured; the message says what to do.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let plan = Plan {
        scenarios: chosen(QUICK, &options.scenarios, "scenario", |scenario| scenario.id)?,
        rounds: options.rounds,
        seconds: options.seconds,
        idle_connections: options.idle_connections,
    };
    let peers = peers(&options)?;
    let tools = Tools::find()?;
    if let Some(file) = &options.json {
        check_writable(file)?;
    }
    allow_many_files()?;
    let machine = Machine::read();

    let mut testbed = Testbed::build(&peers, &tools).await?;
    eprintln!("everything is up after {:.1} s", started.elapsed().as_secs_f64());
    let measured = measure(&mut testbed, &plan, &tools).await?;
    drop(testbed);

    let peers: Vec<PeerName> = peers.iter().map(PeerName::from).collect();
    let results = Results {
        machine,
        congestion_control: CONGESTION_CONTROL,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        rounds: plan.rounds,
        seconds: plan.seconds,
        summaries: Summary::all(&plan.scenarios, &peers, &measured.samples),
        peers,
        memory: measured.memory,
        failures: measured.failures,
        samples: measured.samples,
        took_seconds: started.elapsed().as_secs_f64(),
    };
    println!("{}", report::render(&results, &plan.scenarios));
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&results)?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is to be measured; the bare network always goes first.
fn peers(options: &Options) -> anyhow::Result<Vec<Peer>> {
    let ours = match &options.ztunnel {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("ztunnel"),
    };
    // A variable that is set to nothing is as good as none.
    let other = options.peer_ztunnel.clone().filter(|program| !program.as_os_str().is_empty());
    let mut all = vec![Peer::bare(), Peer::ambit(ours)];
    all.extend(other.map(Peer::other));
    let mut peers = chosen(&all, &options.peers, "peer", |peer| peer.name)?;
    for ztunnel in peers.iter_mut().filter_map(|peer| peer.ztunnel.as_mut()) {
        let program = &mut ztunnel.program;
        ensure!(
            is_program(program),
            "{} is no program: build it with `cargo build --release -p ambit-ztunnel`, or name one with --ztunnel \
             (Ambit's) or PEER_ZTUNNEL (the peer's)",
            program.display()
        );
        // It is started from another directory.
        *program = program.canonicalize()?;
    }
    Ok(peers)
}

/// Those of `all` that are named; all of them if none is.
pub(crate) fn chosen<T: Clone>(
    all: &[T],
    names: &[String],
    kind: &str,
    name: fn(&T) -> &'static str,
) -> anyhow::Result<Vec<T>> {
    let known: Vec<_> = all.iter().map(name).collect();
    if let Some(unknown) = names.iter().find(|wanted| !known.contains(&wanted.as_str())) {
        bail!("there is no {kind} {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = |item: &&T| names.is_empty() || names.iter().any(|wanted| wanted == name(item));
    Ok(all.iter().filter(wanted).cloned().collect())
}

/// Better now than after three minutes.
pub(crate) fn check_writable(file: &Path) -> anyhow::Result<()> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    open.map(drop).with_context(|| format!("cannot write {}", file.display()))
}

/// Raises the limit of open files as far as it goes, for us and all that we start.
pub(crate) fn allow_many_files() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

// === impl PeerName ===

impl From<&Peer> for PeerName {
    fn from(peer: &Peer) -> Self {
        let program = peer.ztunnel.as_ref().map(|ztunnel| ztunnel.program.display().to_string());
        Self { name: peer.name, program, subject: peer.subject }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_and_wrong_ones_list_the_right_ones() {
        let choose = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(QUICK, &names, "scenario", |scenario| scenario.id)
        };
        assert_eq!(choose(&[]).unwrap().len(), QUICK.len());
        let two = choose(&["new-connections", "throughput"]).unwrap();
        assert_eq!(two.iter().map(|s| s.id).collect::<Vec<_>>(), ["throughput", "new-connections"]);
        let error = choose(&["throughput", "speed"]).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no scenario \"speed\"; there are throughput, "),
            "{error}"
        );
    }
}
