//! The programs of others that the benchmark drives.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::bail;

/// A program, and the package that brings it on Debian and its relatives.
#[derive(Clone, Copy, Debug)]
struct Tool {
    name: &'static str,
    package: &'static str,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) iperf3: PathBuf,
    pub(crate) wrk: PathBuf,
    pub(crate) nginx: PathBuf,
}

const IPERF3: Tool = Tool { name: "iperf3", package: "iperf3" };
const WRK: Tool = Tool { name: "wrk", package: "wrk" };
const NGINX: Tool = Tool { name: "nginx", package: "nginx-light" };

/// Where servers are installed; not on everybody's `PATH`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

// === impl Tools ===

impl Tools {
    /// Finds all of them.
    ///
    /// # Errors
    /// Names every one that is missing, and the packages to install.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> =
            std::env::split_paths(&path).chain(SYSTEM_DIRS.map(PathBuf::from)).collect();
        Self::find_in(&dirs)
    }

    fn find_in(dirs: &[PathBuf]) -> anyhow::Result<Self> {
        let found = [IPERF3, WRK, NGINX].map(|tool| (tool, find(tool.name, dirs)));
        if let [(_, Some(iperf3)), (_, Some(wrk)), (_, Some(nginx))] = found {
            return Ok(Self { iperf3, wrk, nginx });
        }
        let missing: Vec<Tool> =
            found.iter().filter(|(_, path)| path.is_none()).map(|(tool, _)| *tool).collect();
        let list = |word: fn(&Tool) -> &'static str| missing.iter().map(word).collect::<Vec<_>>();
        bail!(
            "not installed: {}; install the package(s) {}",
            list(|tool| tool.name).join(", "),
            list(|tool| tool.package).join(" ")
        )
    }
}

fn find(name: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| is_program(path))
}

/// Whether there is something at `path` that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("wrk");
        std::fs::write(&program, "").unwrap();
        let dirs = [dir.path().to_owned()];
        let error = Tools::find_in(&dirs).unwrap_err().to_string();
        assert!(error.contains("wrk"), "a file without the right to run it is no program: {error}");

        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Tools::find_in(&dirs).unwrap_err().to_string();
        assert_eq!(
            error,
            "not installed: iperf3, nginx; install the package(s) iperf3 nginx-light"
        );
    }
}
