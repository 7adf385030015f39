//! The CNI plugin's entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    ambit_agent::cni_plugin()
}
