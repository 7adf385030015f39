//! The programs of others that the benchmark drives.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::ensure;

/// A program, and the package that brings it on Debian and its relatives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    name: &'static str,
    package: &'static str,
}

pub(crate) const IPERF3: Tool = Tool { name: "iperf3", package: "iperf3" };
pub(crate) const WRK: Tool = Tool { name: "wrk", package: "wrk" };
pub(crate) const NGINX: Tool = Tool { name: "nginx", package: "nginx-light" };
pub(crate) const H2LOAD: Tool = Tool { name: "h2load", package: "nghttp2-client" };
pub(crate) const HAPROXY: Tool = Tool { name: "haproxy", package: "haproxy" };

/// Where servers are installed; not on everybody's `PATH`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where the programs are.
///
/// # Errors
/// Names every one that is missing, and the packages to install.
pub(crate) fn locate<const COUNT: usize>(tools: [Tool; COUNT]) -> anyhow::Result<[PathBuf; COUNT]> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> =
        std::env::split_paths(&path).chain(SYSTEM_DIRS.map(PathBuf::from)).collect();
    locate_in(&dirs, tools)
}

fn locate_in<const COUNT: usize>(
    dirs: &[PathBuf],
    tools: [Tool; COUNT],
) -> anyhow::Result<[PathBuf; COUNT]> {
    let found = tools.map(|tool| find(tool.name, dirs));
    let missing: Vec<Tool> = tools
        .into_iter()
        .zip(&found)
        .filter(|(_, path)| path.is_none())
        .map(|(tool, _)| tool)
        .collect();
    let list = |word: fn(&Tool) -> &'static str| missing.iter().map(word).collect::<Vec<_>>();
    ensure!(
        missing.is_empty(),
        "not installed: {}; install the package(s) {}",
        list(|tool| tool.name).join(", "),
        list(|tool| tool.package).join(" ")
    );
    Ok(found.map(Option::unwrap_or_default))
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
        let tools = [IPERF3, WRK, NGINX];
        let error = locate_in(&dirs, tools).unwrap_err().to_string();
        assert!(error.contains("wrk"), "a file without the right to run it is no program: {error}");

        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(locate_in(&dirs, [WRK]).unwrap(), [program]);
        let error = locate_in(&dirs, tools).unwrap_err().to_string();
        assert_eq!(
            error,
            "not installed: iperf3, nginx; install the package(s) iperf3 nginx-light"
        );
    }
}
