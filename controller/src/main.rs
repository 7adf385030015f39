//! The controller's entry point.

use std::process::ExitCode;

use ambit_controller::config::Args;
use ambit_controller::{Config, Controller};
use ambit_lifecycle::Shutdown;
use ambit_telemetry::{Chain, Format};
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("controller: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    let format = if args.log_json() { Format::Json } else { Format::Text };
    let (logs, _guard) = ambit_telemetry::init(format, args.log_filter())?;
    let config = Config::try_from(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut shutdown = Shutdown::install()?;
        // A start may wait for a cluster.
        let controller = tokio::select! {
            controller = Controller::start(config) => controller?,
            _ = shutdown.wait() => return Ok(()),
        };
        controller.run(shutdown, logs).await?;
        Ok(())
    })
}
