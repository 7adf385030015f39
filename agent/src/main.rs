//! The agent's entry point.

use std::process::ExitCode;

use ambit_agent::{Config, USAGE};
use ambit_telemetry::{Chain, Format};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ambit-agent: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("check", rest)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(ambit_agent::check(rest));
    }
    let (mut uninstall, mut kubernetes) = (false, false);
    for argument in &arguments {
        match argument.as_str() {
            "--version" => {
                println!("ambit-agent {}", env!("CARGO_PKG_VERSION"));
                return Ok(());
            }
            "--help" => {
                print!("{USAGE}");
                return Ok(());
            }
            "uninstall" => uninstall = true,
            "--kubernetes" => kubernetes = true,
            other => anyhow::bail!("argument {other:?} is not understood: try --help"),
        }
    }
    let format = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        _ => Format::Text,
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    let (_logs, _guard) = ambit_telemetry::init(format, &filter)?;
    let config = Config::from_env(kubernetes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match uninstall {
        true => runtime.block_on(ambit_agent::uninstall(config)),
        false => runtime.block_on(ambit_agent::run(config)),
    }
}
