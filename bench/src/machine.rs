//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// The machine and how busy it was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many cores we may use.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// How many programs wanted to run during the last minute before, on average.
    pub(crate) load: Option<f64>,
}

// === impl Machine ===

impl Machine {
    /// Reads what the kernel tells; what it does not tell is `unknown`.
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: processor(&text("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: known(text("/proc/sys/kernel/osrelease").trim()),
            load: text("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok()),
        }
    }

    /// What it is, and how busy it was, in words.
    pub(crate) fn described(&self) -> (String, String) {
        let Self { cores, processor, kernel, load } = self;
        let load = load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
        (
            format!("{cores} cores ({processor}), Linux {kernel}"),
            format!("load average before the start {load}"),
        )
    }

    /// Whether others use so much of it that absolute figures mean little.
    pub(crate) fn busy(&self) -> bool {
        let cores = u32::try_from(self.cores).unwrap_or(u32::MAX);
        self.load.is_some_and(|load| load > 0.25 * f64::from(cores))
    }
}

fn processor(cpuinfo: &str) -> String {
    // Arm's kernels name no model.
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    known(name.map_or("", |(_, name)| name.trim()))
}

fn known(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_a_name_or_is_unknown() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Some CPU @ 2.00GHz\n";
        assert_eq!(processor(cpuinfo), "Some CPU @ 2.00GHz");
        assert_eq!(processor("BogoMIPS : 48.00\n"), "unknown");
    }

    #[test]
    fn a_machine_is_busy_when_a_quarter_of_it_is_in_use() {
        let machine = |cores, load| Machine { cores, load, ..Machine::read() };
        assert!(machine(2, Some(0.6)).busy());
        assert!(!machine(8, Some(0.6)).busy() && !machine(2, None).busy());
    }
}
