//! What a process costs, by the kernel's account of it (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::time::Duration;

/// What a process has used and holds.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time so far.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub memory: u64,
    /// The most that was resident since the process began, or since [`Usage::forget_peak`].
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// That of a process.
    ///
    /// # Panics
    /// It has ended.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        // Fields 14 and 15, in hundredths of a second.
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        let cpu = Duration::from_millis(ticks.sum::<u64>() * 10);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.expect("the kernel says")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
        Self {
            cpu,
            memory: field("VmRSS:") << 10,
            peak: field("VmHWM:") << 10,
            descriptors: descriptors.count(),
            threads: field("Threads:"),
        }
    }

    /// Makes the peak of a process what it occupies now.
    ///
    /// # Panics
    /// It has ended.
    pub fn forget_peak(pid: u32) {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process runs");
    }
}
