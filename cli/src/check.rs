//! `ambit check`: whether the cluster can carry the mesh, and whether the installed mesh is as it should be.

pub(crate) mod actor;
pub(crate) mod after;
mod before;
mod installed;
mod policies;
mod report;
mod rights;
mod stage;
mod verdict;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cluster::Cluster;
use crate::manifests::Settings;
use crate::terminal::Terminal;
use report::Report;

/// What to look at.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: Settings,
    /// Before the installation: try out on every node what the mesh needs, in a namespace that is removed again.
    #[arg(long)]
    pre: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// How long the pods of --pre may take to start, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

/// Looks, and shows what was found.
///
/// # Errors
/// Something is not as it must be, or the cluster cannot be asked.
pub(crate) async fn run(options: Options) -> Result<()> {
    let cluster = Cluster::connect().await?;
    let wait = Duration::from_secs(options.wait);
    let report = match options.pre {
        true => before::look(&cluster, &options.settings, wait).await?,
        false => after::look(&cluster, &options.settings.namespace).await?,
    };
    show(&report, options.json)
}

/// Shows the report.
///
/// # Errors
/// Something in it is bad.
fn show(report: &Report, as_json: bool) -> Result<()> {
    match as_json {
        true => println!("{}", report.json()?),
        false => report.print(Terminal::standard()),
    }
    match report.bad() {
        0 => Ok(()),
        bad => bail!("{bad} of {} checks failed", report.len()),
    }
}
