//! Entry point.

use std::process::ExitCode;

use ambit_telemetry::Chain;
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match ambit_cli::run(ambit_cli::Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ambit: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}
