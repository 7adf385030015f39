//! `bench`: what the mesh costs. `bench quick` measures the data plane beside the bare network and a peer, with
//! well-known load tools; `bench l7` the waypoint beside other proxies; `bench control` the control plane.
//!
//! ```text
//!  scenario, peer (data) ─▶ testbed (namespaces, servers, proxies) ─▶ measure (load, usage) ─▶ results ─▶ report
//! ```
//!
//! A new scenario is a line in [`scenario`], a new proxy one in [`peer`].

mod control;
mod l7;
mod load;
mod machine;
mod measure;
mod memory;
mod peer;
mod program;
mod quick;
mod report;
mod results;
mod scenario;
mod sockets;
mod testbed;
mod tools;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Measures the mesh beside the bare network and a peer.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Throughput, small requests, new connections and memory, in at most three minutes.
    Quick(quick::Options),
    /// Requests through waypoint and gateway, beside Envoy, nginx and HAProxy, in ten minutes.
    L7(l7::Options),
    /// Propagation, memory and CPU of the controller with simulated pods and proxies.
    Control(Box<control::Options>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Quick(options) => until_signal(quick::run(options)).await,
        Command::L7(options) => until_signal(l7::run(options)).await,
        Command::Control(options) => until_signal(control::run(*options)).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Drops `work`, and with it all that it started, when the user has had enough.
async fn until_signal(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let received = |number: u8| {
        eprintln!("bench: stopped; everything that it started is being removed");
        Ok(ExitCode::from(128 + number))
    };
    tokio::select! {
        done = work => done,
        () = next(&mut interrupt) => received(2),
        () = next(&mut terminate) => received(15),
    }
}

/// The end of the stream of signals is no signal.
async fn next(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
