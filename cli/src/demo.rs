//! The walk-through.

use std::path::Path;

use ambit_sandbox::Options;
use anyhow::Result;

use crate::terminal::Terminal;

pub(crate) async fn run(_options: Options, _dir: &Path, _terminal: Terminal) -> Result<()> {
    Ok(())
}
