//! What processes use: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

/// What processes have used meanwhile, each of them by itself.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: Vec<f64>,
    /// The most that was resident.
    pub(crate) peak_bytes: Vec<u64>,
    /// CPU time of the node's tunnel, where something else is measured and that is in the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tunnel_cpu_seconds: Option<f64>,
}

/// Looks at processes from now on.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    before: Vec<f64>,
}

// === impl Meter ===

impl Meter {
    /// # Errors
    /// One of the processes has ended.
    pub(crate) fn start(pids: Vec<u32>) -> anyhow::Result<Self> {
        pids.iter().try_for_each(|pid| forget_peak(*pid))?;
        let before = cpu_seconds(&pids)?;
        Ok(Self { pids, before })
    }

    /// What they have used since.
    ///
    /// # Errors
    /// One of the processes has ended.
    pub(crate) fn stop(self) -> anyhow::Result<Used> {
        let after = cpu_seconds(&self.pids)?;
        let cpu_seconds = after.iter().zip(self.before).map(|(after, before)| after - before);
        let peak_bytes = self.pids.iter().map(|pid| peak(*pid)).collect::<anyhow::Result<_>>()?;
        Ok(Used { cpu_seconds: cpu_seconds.collect(), peak_bytes, tunnel_cpu_seconds: None })
    }
}

// === impl Used ===

impl Used {
    /// CPU time of all of them, seconds; none where there are none.
    pub(crate) fn cpu(&self) -> Option<f64> {
        (!self.cpu_seconds.is_empty()).then(|| self.cpu_seconds.iter().sum())
    }

    /// The most memory of all of them added up, bytes; none where there are none.
    pub(crate) fn peak(&self) -> Option<f64> {
        (!self.peak_bytes.is_empty()).then(|| self.peak_bytes.iter().sum::<u64>() as f64)
    }
}

fn cpu_seconds(pids: &[u32]) -> anyhow::Result<Vec<f64>> {
    pids.iter().map(|pid| Ok(cpu_time(*pid)?.as_secs_f64())).collect()
}

/// User and system time of all threads of a process since its start, those that have ended included. The kernel
/// bills network work that it does on a process's behalf to whoever happens to run, mostly to the sender.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    cpu_time_in(&format!("/proc/{pid}/stat"))
}

/// CPU time of those threads of a process whose names begin like that, by their names.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn thread_times(pid: u32, prefix: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let path = format!("/proc/{pid}/task");
    let mut times = BTreeMap::new();
    for thread in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let thread = thread?.path();
        // Threads that end meanwhile are none of ours.
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        if name.starts_with(prefix) {
            let time = cpu_time_in(&thread.join("stat").to_string_lossy())?;
            times.insert(name.trim().to_owned(), time.as_secs_f64());
        }
    }
    Ok(times)
}

fn cpu_time_in(path: &str) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("cannot make sense of {path}: {stat:?}"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let per_second = u32::try_from(per_second).unwrap_or(100).max(1);
    Ok(Duration::from_secs(ticks) / per_second)
}

/// Resident memory of a process, bytes.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmRSS:")
}

/// The most resident memory that a process has had since [`forget_peak`], bytes.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmHWM:")
}

/// Makes [`peak`] count from now on.
///
/// # Errors
/// There is no such process, or it is another user's.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
}

/// `utime` + `stime`: the 14th and 15th field. The second is the program's name, which may contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn status(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    bytes(&status, field).with_context(|| format!("cannot make sense of {path}"))
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "42 (a) R 1 (b) S 1 42 42 0 -1 4194560 900 0 3 0 250 31 7 8 20 0 5 0 99 1 2";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("42 (short) S 1 2 3"), None);
        assert_eq!(ticks("nothing"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let status = "Name:\tz\nVmHWM:\t    9216 kB\nVmRSS:\t    7168 kB\nThreads:\t3\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(7_340_032));
        assert_eq!(bytes(status, "VmHWM:"), Some(9_437_184));
        assert_eq!(bytes("Name:\tkthreadd\n", "VmRSS:"), None);
    }

    #[test]
    fn a_busy_process_uses_time_and_memory() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while cpu_time(pid).unwrap() <= before {
            assert!(std::time::Instant::now() < deadline, "no CPU time was counted");
        }
        assert!(resident(pid).unwrap() > 100_000);
        assert!(cpu_time(u32::MAX).is_err());
        forget_peak(pid).unwrap();
        assert!(peak(pid).unwrap() >= resident(pid).unwrap() / 2);
    }

    #[test]
    fn threads_are_found_by_their_names() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("worker-77".to_owned());
        let thread = thread.spawn(move || wait.recv().unwrap_err()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !thread_times(std::process::id(), "worker-7").unwrap().contains_key("worker-77") {
            assert!(std::time::Instant::now() < deadline, "it has no name");
        }
        drop(done);
        thread.join().unwrap();
    }
}
