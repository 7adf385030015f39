//! What the user can choose in every comparison.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

/// Whom, what, how often, how long, and where to.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// Only these peers; an unknown name lists them all.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) peers: Vec<String>,
    /// Only these; an unknown name lists them all.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) scenarios: Vec<String>,
    /// How often everything is run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// How long each run takes, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: Option<u32>,
    /// Write everything that was measured to this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

// === impl Common ===

impl Common {
    /// Whatever would fail only after minutes fails now.
    ///
    /// # Errors
    /// The file cannot be written, or the limit of open files cannot be raised.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        self.json.as_deref().map_or(Ok(()), check_writable)?;
        allow_many_files()
    }

    /// Writes the file, if one was asked for.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, results: &impl Serialize) -> anyhow::Result<()> {
        let Some(file) = &self.json else { return Ok(()) };
        let json = serde_json::to_vec_pretty(results)?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Those of `all` that are named; all of them if none is.
///
/// # Errors
/// One is unknown; the message lists those that are known.
pub(crate) fn chosen<T: Clone>(
    all: &[T],
    names: &[String],
    kind: &str,
    name: fn(&T) -> &'static str,
) -> anyhow::Result<Vec<T>> {
    let known: Vec<_> = all.iter().map(name).collect();
    if let Some(unknown) = names.iter().find(|wanted| !known.contains(&wanted.as_str())) {
        bail!("there is no {kind} {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = |item: &&T| names.is_empty() || names.iter().any(|wanted| wanted == name(item));
    Ok(all.iter().filter(wanted).cloned().collect())
}

/// Better now than after three minutes.
///
/// # Errors
/// It is not; the message names the file.
pub(crate) fn check_writable(file: &Path) -> anyhow::Result<()> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    open.map(drop).with_context(|| format!("cannot write {}", file.display()))
}

/// Raises the limit of open files as far as it goes, for us and all that we start.
///
/// # Errors
/// The system does not let us.
pub(crate) fn allow_many_files() -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn names_choose_and_wrong_ones_list_the_right_ones() {
        let choose = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(SCENARIOS, &names, "scenario", |scenario| scenario.id)
        };
        assert_eq!(choose(&[]).unwrap().len(), SCENARIOS.len());
        let two = choose(&["new-connections", "throughput"]).unwrap();
        assert_eq!(two.iter().map(|s| s.id).collect::<Vec<_>>(), ["throughput", "new-connections"]);
        let error = choose(&["throughput", "speed"]).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no scenario \"speed\"; there are throughput, "),
            "{error}"
        );
    }
}
