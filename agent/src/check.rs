//! `ambit-agent check`: whether a node can carry the mesh, one JSON line for each thing looked at.
//!
//! `ambit check --pre` runs it on every node: `node` in a pod with the agent's rights, `listen` and `network` in an
//! ordinary pod. `node` and `network` find out; `verdict` judges, without IO.

mod network;
mod node;
mod verdict;

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ambit_lifecycle::Shutdown;
use ambit_model::Finding;
use anyhow::{Context as _, bail};

use crate::config::Config;

/// An ordinary pod of this node, which runs `check listen`.
#[derive(Debug)]
struct Neighbour {
    uid: String,
    ip: IpAddr,
}

/// Does what `arguments` ask for: nothing or `node`, `wait`, `listen`, or `network`.
///
/// # Errors
/// The arguments are not understood, or the process cannot do its part; what is wrong with the node is no error.
pub async fn check(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["node"] => print(node::look(&Config::from_env(false)?, None, None).await),
        ["node", time, uid, ip] => {
            let neighbour = Neighbour { uid: uid.to_owned(), ip: ip.parse().context("IP")? };
            let seconds = time.parse().context("TIME is no number of seconds")?;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            print(node::look(&Config::from_env(false)?, Some(time), Some(neighbour)).await)
        }
        ["wait"] => {
            Shutdown::install()?.wait().await;
            Ok(())
        }
        ["listen"] => {
            let mut shutdown = Shutdown::install()?;
            tokio::select! {
                _ = shutdown.wait() => Ok(()),
                ended = network::listen() => ended,
            }
        }
        ["network", service, ref peers @ ..] => {
            let peers: Result<Vec<_>, _> =
                peers.iter().map(|peer| network::Peer::parse(peer)).collect();
            print(network::look(service.parse().context("SERVICE is no address")?, peers?).await)
        }
        _ => bail!("check {words:?} is not understood: try --help"),
    }
}

fn print(findings: Vec<Finding>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in findings {
        writeln!(out, "{}", serde_json::to_string(&finding)?)?;
    }
    Ok(())
}
