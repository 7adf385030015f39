//! The rights to make network namespaces: root's, or those that everybody has in a user namespace of their own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail};

/// Set in the process that was started anew inside a user namespace.
pub(crate) const INSIDE: &str = "AMBIT_USER_NAMESPACE";
/// How a user namespace is entered in which this user is root.
const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--"];

/// Goes on as root; anybody else is started anew, with the same arguments, in a user namespace.
///
/// # Errors
/// The machine does not allow that.
pub(crate) fn obtain() -> Result<()> {
    let inside = std::env::var_os(INSIDE).is_some();
    if inside || nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let allowed = Command::new("unshare")
        .args(UNSHARE)
        .args(["unshare", "--net", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        bail!(
            "no rights to make network namespaces: run as root (sudo), or allow unprivileged user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
        );
    }
    let program = std::env::current_exe()?;
    let arguments = std::env::args_os().skip(1);
    let error =
        Command::new("unshare").args(UNSHARE).arg(program).args(arguments).env(INSIDE, "1").exec();
    Err(anyhow!("cannot start anew in a user namespace: {error}"))
}
