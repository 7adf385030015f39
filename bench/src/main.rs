//! `bench`: what the mesh costs. `bench tunnel`, and shorter `bench quick`, measure the data plane beside the bare
//! network and a peer, with well-known load tools; `bench full` what takes long or needs many connections; `bench l7` the
//! waypoint beside other proxies; `bench control` the control plane.
//!
//! ```text
//!  scenario, peer (data) ─▶ testbed (namespaces, servers, proxies) ─▶ measure (load, usage) ─▶ results ─▶ figures ─▶ report, svg
//! ```
//!
//! A new scenario is a line in [`scenario`], a new proxy one in [`peer`].

mod about;
mod control;
mod crowd;
mod figure;
mod figures;
mod full;
mod l7;
mod load;
mod machine;
mod measure;
mod memory;
mod options;
mod peer;
mod program;
mod report;
mod results;
mod scenario;
mod sockets;
mod svg;
mod testbed;
mod tools;
mod tunnel;
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
    Quick(tunnel::Options),
    /// The same for longer, with memory under load and in a large mesh, in at most fifteen minutes.
    Tunnel(tunnel::Options),
    /// Latency at fixed rates, storms, scale, and one connection beside another.
    Full(full::Options),
    /// Requests through waypoint and gateway, beside Envoy, nginx and HAProxy, in ten minutes.
    L7(l7::Options),
    /// Propagation, memory and CPU of the controller with simulated pods and proxies.
    Control(Box<control::Options>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Quick(options) => until_signal(tunnel::run(options, tunnel::QUICK)).await,
        Command::Tunnel(options) => until_signal(tunnel::run(options, tunnel::WHOLE)).await,
        Command::Full(options) => until_signal(full::run(options)).await,
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
