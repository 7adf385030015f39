//! The node tunnel's entry point.

use std::process::ExitCode;

use ambit_telemetry::{Chain, Format};
use ambit_ztunnel::config::Config;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ztunnel: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    // Arguments are upstream's `proxy ztunnel`; they carry nothing that the environment does not.
    if std::env::args().any(|argument| argument == "--version") {
        println!("ztunnel {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let format = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        _ => Format::Text,
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    let (logs, _guard) = ambit_telemetry::init(format, &filter)?;
    let config = Config::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ambit_ztunnel::run(config, logs))
}
