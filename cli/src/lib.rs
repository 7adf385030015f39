//! The `ambit` command.

mod ca;
mod check;
mod cluster;
mod demo;
mod dump;
mod install;
mod manifests;
mod rights;
mod signals;
mod terminal;
mod up;
mod waypoint;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// An ambient service mesh.
#[derive(Debug, Parser)]
#[command(name = "ambit", version)]
pub struct Arguments {
    /// Levels of the sandbox's own log, in the syntax of RUST_LOG.
    #[arg(long, env = "RUST_LOG", default_value = "warn", global = true)]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a mesh on this machine from a directory of Kubernetes YAML, until Ctrl-C.
    Up(up::Options),
    /// Install the mesh on the Kubernetes cluster of KUBECONFIG, or update it.
    Install(install::Options),
    /// Look whether the cluster can carry the mesh (--pre), or whether the installed mesh is as it should be.
    Check(check::Options),
    /// The certificate authority of the mesh.
    Ca(ca::Options),
    /// Waypoints: make, list, explain and remove them.
    Waypoint(waypoint::Options),
    /// Take every pod out of the mesh and remove it from the cluster.
    Uninstall(install::Removal),
}

/// Does what the arguments ask for.
///
/// # Errors
/// What went wrong and the next step.
pub async fn run(arguments: Arguments) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match arguments.command {
        Command::Up(options) => {
            rights::obtain()?;
            up::run(options).await
        }
        Command::Install(options) => install::install(options).await,
        Command::Ca(options) => ca::run(options).await,
        Command::Check(options) => check::run(options).await,
        Command::Waypoint(options) => waypoint::run(options).await,
        Command::Uninstall(removal) => install::uninstall(removal).await,
    }
}
