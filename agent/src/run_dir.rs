//! The directory that belongs to one agent: its lock, and the records of pods that outlive a restart.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ambit_net::NetNsId;
use serde::{Deserialize, Serialize};

use crate::pod::PodSpec;

/// The file in it that is locked.
pub(crate) const LOCK: &str = "lock";
/// The directory in it with a record for each pod.
pub(crate) const PODS: &str = "pods";

/// A locked run directory.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

/// Why the run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunDirError {
    #[error(
        "another ambit-agent (process {holder}) uses {path}: stop it, or set CNI_AGENT_RUN_DIR to another directory"
    )]
    Locked { path: PathBuf, holder: String },
    #[error(
        "run directory {path}: {source}: set CNI_AGENT_RUN_DIR to a directory that can be written to"
    )]
    Io { path: PathBuf, source: io::Error },
}

/// What the agent remembers of a captured pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The pod.
    pub(crate) pod: PodSpec,
    /// Its namespace, to tell when the path leads to another one.
    pub(crate) netns: (u64, u64),
    /// What `net.ipv4.tcp_migrate_req` was before; absent if the kernel has no such setting.
    pub(crate) migrate_req: Option<String>,
}

// === impl RunDir ===

impl RunDir {
    /// Makes the directory if it is not there, and locks it until this process ends.
    pub(crate) fn open(path: &Path) -> Result<Self, RunDirError> {
        let failed = |source| RunDirError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path.join(PODS)).map_err(failed)?;
        fs::set_permissions(path.join(PODS), Permissions::from_mode(0o700)).map_err(failed)?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let mut lock = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                let holder = holder.trim().chars().take(20).collect();
                return Err(RunDirError::Locked { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Remembers a pod, in place of what was remembered of it.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let path = self.record_path(&record.pod.uid);
        let new = path.with_extension("new"); // `.json` is the extension, whatever dots the UID has.
        fs::write(&new, serde_json::to_vec_pretty(record)?)?;
        fs::rename(&new, &path)
    }

    /// What is remembered of the pod `uid`.
    pub(crate) fn load(&self, uid: &str) -> Option<Record> {
        read_record(&self.record_path(uid)).ok()
    }

    /// Forgets a pod; one that is not known is forgotten already.
    pub(crate) fn forget(&self, uid: &str) -> io::Result<()> {
        match fs::remove_file(self.record_path(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All that is remembered. Files that cannot be read are reported and passed over.
    pub(crate) fn records(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.path.join(PODS))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(record) => records.push(record),
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "cannot read the record of a pod, passing over it");
                }
            }
        }
        Ok(records)
    }

    fn record_path(&self, uid: &str) -> PathBuf {
        // Not `with_extension`, which would cut a UID at its last dot.
        self.path.join(PODS).join(format!("{uid}.json"))
    }
}

impl Record {
    /// Whether the record is of this namespace.
    pub(crate) fn is_of(&self, netns: NetNsId) -> bool {
        self.netns == (netns.dev, netns.inode)
    }
}

fn read_record(path: &Path) -> io::Result<Record> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(uid: &str) -> Record {
        let pod = PodSpec { uid: uid.into(), ..PodSpec::default() };
        Record { pod, netns: (4, 7), migrate_req: Some("0".into()) }
    }

    #[test]
    fn one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let first = RunDir::open(&path).unwrap();
        let error = RunDir::open(&path).unwrap_err().to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(error.contains(&holder) && error.contains(path.to_str().unwrap()), "{error}");
        drop(first);
        RunDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = RunDir::open(&file.path().join("run")).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn pods_are_remembered_until_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(dir.path()).unwrap();
        assert_eq!(run_dir.load("a"), None);
        run_dir.save(&record("a")).unwrap();
        run_dir.save(&record("a.b")).unwrap();
        let changed = Record { migrate_req: None, ..record("a") };
        run_dir.save(&changed).unwrap();
        assert_eq!(run_dir.load("a"), Some(changed.clone()));
        fs::write(dir.path().join("pods/broken.json"), "{").unwrap();
        fs::write(dir.path().join("pods/half.new"), "{}").unwrap();
        let mut records = run_dir.records().unwrap();
        records.sort_by(|a, b| a.pod.uid.cmp(&b.pod.uid));
        assert_eq!(records, [changed, record("a.b")]);
        for _ in 0..2 {
            run_dir.forget("a").unwrap();
        }
        assert_eq!(run_dir.load("a"), None);
        assert_eq!(run_dir.load("a.b"), Some(record("a.b")));
    }
}
