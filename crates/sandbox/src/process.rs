//! Ending processes, in their own way or at once.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

/// Asks a process to end, insists after `grace`, and ends what else is in its process group.
pub(crate) async fn terminate(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    if let Some(pid) = pid(child) {
        let _ = kill(pid, Signal::SIGTERM);
    }
    let status = match timeout(grace, child.wait()).await {
        Ok(status) => status?,
        Err(_) => {
            kill_group(pid(child));
            child.wait().await?
        }
    };
    Ok(status)
}

/// Ends all processes of a group, by its first process.
pub(crate) fn kill_group(leader: Option<Pid>) {
    if let Some(leader) = leader {
        let _ = killpg(leader, Signal::SIGKILL);
    }
}

/// The process's number while it runs.
pub(crate) fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// The exit code as shells tell it.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
