//! `ambit ca rotate`: a new root for the authority that the mesh has made itself, without an outage.
//!
//! The Secret alone says how far a rotation has come, so that the same command takes it up again. `phase` derives
//! that and makes the next content; `behind` says who is not ready for it; this file asks, waits and writes.

mod behind;
mod facts;
mod phase;

use std::time::{Duration, SystemTime};

use ambit_identity::CaFiles;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::terminal::{Style, Terminal};
use behind::Need;
use facts::Facts;
use phase::{Authority, Phase};

/// The certificate authority.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replace the root of the self-made authority without an outage; run it again to take up an interrupted rotation.
    Rotate(Rotation),
}

#[derive(Args, Debug)]
struct Rotation {
    /// The namespace of the mesh's own processes.
    #[arg(long, short, default_value = "istio-system")]
    namespace: String,
    /// Show how far a rotation has come, and change nothing.
    #[arg(long, conflicts_with = "abort")]
    status: bool,
    /// Go back to the old root.
    #[arg(long)]
    abort: bool,
    /// How long to wait for the proxies in each step, in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
}

/// How often everybody is asked.
const LOOK: Duration = Duration::from_secs(1);

/// Does what is asked for.
///
/// # Errors
/// A step is not safe yet, with who is behind; or the cluster refuses something. Running it again goes on.
pub(crate) async fn run(options: Options) -> Result<()> {
    let Command::Rotate(rotation) = options.command;
    let run = Run { cluster: Cluster::connect().await?, terminal: Terminal::standard(), rotation };
    match run.rotation.status {
        true => run.status().await,
        false => run.rotate().await,
    }
}

struct Run {
    cluster: Cluster,
    terminal: Terminal,
    rotation: Rotation,
}

// === impl Run ===

impl Run {
    /// Goes on step by step until the rotation is over.
    async fn rotate(&self) -> Result<()> {
        let (back, mut moved) = (self.rotation.abort, false);
        loop {
            let (secret, authority) =
                facts::authority(&self.cluster, &self.rotation.namespace).await?;
            let (next, done) = match (authority.phase(), back) {
                (Phase::Settled, true) if !moved => {
                    bail!("no rotation is under way, so there is nothing to go back from")
                }
                (Phase::Settled, _) if moved => return self.finished(&authority).await,
                (Phase::Settled, _) => {
                    let made = CaFiles::make(SystemTime::now())?;
                    (
                        authority.announced(made.signer, made.key),
                        "the new root is published beside the old one",
                    )
                }
                (Phase::Announced, false) => {
                    self.wait(
                        &authority,
                        "every proxy trusts the new root",
                        Need::trusts(authority.other_root())?,
                    )
                    .await?;
                    (authority.switched(), "the new root signs")
                }
                (Phase::Announced, true) => {
                    self.wait(
                        &authority,
                        "no certificate comes from the new root",
                        Need::descends(authority.root())?,
                    )
                    .await?;
                    (authority.settled(), "the new root is published no more")
                }
                (Phase::Switched, false) => {
                    self.wait(
                        &authority,
                        "every certificate comes from the new root",
                        Need::descends(authority.root())?,
                    )
                    .await?;
                    (authority.settled(), "the old root is published no more")
                }
                (Phase::Switched, true) => {
                    self.wait(
                        &authority,
                        "every proxy trusts the old root",
                        Need::trusts(authority.other_root())?,
                    )
                    .await?;
                    (authority.switched_back(), "the old root signs again")
                }
            };
            facts::write(&self.cluster, secret, &next).await?;
            self.terminal.line(Style::Good, &format!("✓ {done}"));
            moved = true;
        }
    }

    /// The last word: everybody publishes what is left.
    async fn finished(&self, authority: &Authority) -> Result<()> {
        self.wait(authority, "everybody publishes it", Need::Nothing).await?;
        self.terminal.line(Style::Good, "✓ one root is left, and published everywhere");
        Ok(())
    }

    /// How far it has come, and who is behind.
    async fn status(&self) -> Result<()> {
        let (_, authority) = facts::authority(&self.cluster, &self.rotation.namespace).await?;
        let (text, need) = match authority.phase() {
            Phase::Settled => ("no rotation is under way", Need::descends(authority.root())?),
            Phase::Announced => (
                "both roots are published, the old one signs; next: the new one signs",
                Need::trusts(authority.other_root())?,
            ),
            Phase::Switched => (
                "both roots are published, the new one signs; next: the old one is published no more",
                Need::descends(authority.root())?,
            ),
        };
        self.terminal.line(Style::Title, text);
        let behind = self.behind(&authority, &need).await?;
        if behind.is_empty() {
            self.terminal.line(Style::Good, "✓ everybody is ready for the next step");
        }
        for line in behind {
            self.terminal.line(Style::Plain, &format!("! {line}"));
        }
        Ok(())
    }

    /// Waits until nobody is behind.
    async fn wait(&self, authority: &Authority, what: &str, need: Need) -> Result<()> {
        let limit = Duration::from_secs(self.rotation.wait);
        let deadline = Instant::now() + limit;
        let mut told = None;
        loop {
            let behind = self.behind(authority, &need).await?;
            if behind.is_empty() {
                self.terminal.line(Style::Plain, &format!("✓ {what}"));
                return Ok(());
            }
            if Instant::now() >= deadline {
                let namespace = &self.rotation.namespace;
                bail!(
                    "not within {limit:?}: {what}; behind are {}. Nothing is broken: both roots are trusted. Proxies \
                     that do not renew by themselves do so when they are restarted (kubectl -n {namespace} rollout \
                     restart daemonset/ztunnel) or at the date given; then run this again",
                    behind.join("; ")
                );
            }
            if told != Some(behind.len()) {
                told = Some(behind.len());
                self.terminal.line(
                    Style::Faint,
                    &format!(
                        "  waiting until {what}: {} behind, for example {}",
                        behind.len(),
                        behind.join("; ").chars().take(160).collect::<String>()
                    ),
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn behind(&self, authority: &Authority, need: &Need) -> Result<Vec<String>> {
        let facts = Facts::gather(&self.cluster, &self.rotation.namespace).await?;
        behind::behind(&facts, authority.roots(), need, SystemTime::now())
    }
}
