//! One small server and client for tests, examples and benchmarks: each answer tells what the server saw.

mod call;
mod load;
mod proto;
mod seen;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A server and a client that tell what they saw.
#[derive(Parser)]
#[command(name = "echo", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; prints one line of JSON with the addresses once it listens.
    Serve(serve::Options),
    /// Call a server and print what it answers, one line for each call.
    Call(call::Options),
    /// Call again and again until SIGTERM, and count what becomes of it.
    Load(load::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(options) => serve::run(options).await,
        Command::Call(options) => call::run(options).await,
        Command::Load(options) => load::run(options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
