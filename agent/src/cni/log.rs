//! The plugin's log: a line for each pod, in a file of the agent's run directory that does not grow without bound.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file's name.
pub(crate) const NAME: &str = "ambit-cni.log";
/// The name of what was put aside.
pub(crate) const OLD_NAME: &str = "ambit-cni.log.1";
/// The size, in bytes, from which it is put aside; the one put aside before is dropped.
const LIMIT: u64 = 1 << 20;

/// Writes `line` with the time in seconds since 1970; to standard error if there is no run directory.
pub(crate) fn write(run_dir: &Path, line: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let line = format!("{now} {line}\n");
    if append(run_dir, &line).is_err() {
        // Standard error is the container runtime's log.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

fn append(run_dir: &Path, line: &str) -> io::Result<()> {
    let path = run_dir.join(NAME);
    if fs::metadata(&path).is_ok_and(|file| file.len() > LIMIT) {
        fs::rename(&path, run_dir.join(OLD_NAME))?;
    }
    OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_aside_when_it_is_large() {
        let dir = tempfile::tempdir().unwrap();
        let size = |name: &str| fs::metadata(dir.path().join(name)).map(|file| file.len()).ok();
        write(dir.path(), "first");
        assert!(size(NAME).is_some_and(|size| size > 6));
        fs::write(dir.path().join(NAME), vec![b'x'; LIMIT as usize + 1]).unwrap();
        write(dir.path(), "second");
        assert_eq!(size(OLD_NAME), Some(LIMIT + 1));
        assert!(size(NAME).is_some_and(|size| size < 100));
    }
}
