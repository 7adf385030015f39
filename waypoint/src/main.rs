//! The layer 7 proxy's entry point.

use std::process::ExitCode;

use ambit_telemetry::{Chain, Format};
use ambit_waypoint::Config;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waypoint: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "--version") {
        println!("waypoint {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let format = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        _ => Format::Text,
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    let (logs, _guard) = ambit_telemetry::init(format, &filter)?;
    let config = Config::from_env()?;
    if let Err(error) = ambit_net::raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit of open descriptors; connections beyond it will wait");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ambit_waypoint::run(config, logs))
}
