//! Under which circumstances a comparison was made: how every report and every file begins.

use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::machine::Machine;
use crate::scenario::CONGESTION_CONTROL;

/// The circumstances.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    pub(crate) machine: Machine,
    pub(crate) congestion_control: &'static str,
    /// The most files that a process may have open.
    pub(crate) open_files: Option<u64>,
    pub(crate) command: String,
    pub(crate) rounds: u32,
    /// Of each run.
    pub(crate) seconds: u32,
    pub(crate) took_seconds: f64,
}

// === impl About ===

impl About {
    /// As it is before the first run.
    pub(crate) fn read(rounds: u32, seconds: u32) -> Self {
        Self {
            machine: Machine::read(),
            congestion_control: CONGESTION_CONTROL,
            open_files: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            rounds,
            seconds,
            took_seconds: 0.0,
        }
    }

    /// The same after the last run.
    pub(crate) fn finished(self, started: Instant) -> Self {
        Self { took_seconds: started.elapsed().as_secs_f64(), ..self }
    }

    /// The first lines of a report.
    pub(crate) fn header(&self) -> String {
        let Self { command, congestion_control, rounds, seconds, took_seconds, .. } = self;
        let (machine, load) = self.machine.described();
        let files = self.open_files.map_or_else(|| "?".to_owned(), |files| files.to_string());
        let mut text = format!(
            "{command}\n{machine}, {congestion_control} in all namespaces, at most {files} open files, {load}\n\
             medians of {rounds} × {seconds} s, peers taking turns; {took_seconds:.0} s in all\n"
        );
        if self.machine.busy() {
            text.push_str("The machine is busy, or was a minute ago: look at the ratios only.\n");
        }
        text
    }
}
