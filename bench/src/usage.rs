//! What processes use: CPU time and memory, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{SysconfVar, sysconf};

/// User and system time of all threads of a process since its start, those that have ended included. The kernel
/// bills network work that it does on a process's behalf to whoever happens to run, mostly to the sender.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
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
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    bytes(&status, "VmRSS:").with_context(|| format!("cannot make sense of {path}"))
}

/// The most resident memory that a process has had since [`forget_peak`], bytes.
///
/// # Errors
/// There is no such process any more.
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    bytes(&status, "VmHWM:").with_context(|| format!("cannot make sense of {path}"))
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
}
