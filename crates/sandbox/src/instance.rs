//! One running sandbox on this machine: its name, its run directory, and the sweeping up after one that crashed.
//!
//! `/run/ambit/<instance>/` belongs to whoever holds the lock on its `lock` file. A directory whose lock is free was
//! left by a crash; `namespaces` in it names what to sweep. Namespaces themselves are held by threads of the sandbox
//! (see [`crate::room`]) and vanish with it; what can stay are files, links in `/run/netns`, and processes that made
//! themselves independent.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ambit_net::NetNsId;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid};

use crate::error::{Error, IoContext};
use crate::room::MARKER;

/// Where run directories are made, where that is allowed.
pub const RUN_ROOT: &str = "/run/ambit";
/// Where `ip netns` looks for namespaces by name.
const NETNS_DIR: &str = "/run/netns";
/// Beside the run directories: a setting of the machine as it was, and where.
const SAVED_SETTING: &str = "setting-before";
/// How long killed processes have to disappear.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A sandbox's name and run directory, held while the value lives and gone afterwards.
#[derive(Debug)]
pub struct Instance {
    name: String,
    dir: PathBuf,
    _lock: Flock<File>,
}

// === impl Instance ===

impl Instance {
    /// Sweeps what crashed instances left, and takes `name`.
    ///
    /// # Errors
    /// The name is taken by a live instance, or is none (1 to 20 lower-case letters, digits, `-`); no permission.
    pub fn take(name: &str) -> Result<Self, Error> {
        let valid = (1..=20).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-');
        if !valid {
            return Err(Error::InstanceName(name.to_owned()));
        }
        let root = run_root();
        sweep_crashed(&root);
        let dir = root.join(name);
        loop {
            match try_lock(&dir) {
                Ok(Some(lock)) => return Ok(Self { name: name.to_owned(), dir, _lock: lock }),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Error::InstanceTaken(name.to_owned()));
                }
                Err(error) => return Err(error).doing("create", &dir),
            }
        }
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of a namespace of this instance.
    pub(crate) fn netns_name(&self, part: &str) -> String {
        format!("ambit-{}-{part}", self.name)
    }

    /// Writes down a namespace, before anything runs in it, and gives it its name for `ip netns`.
    pub(crate) fn record(&self, part: &str, id: NetNsId, path: &Path) -> Result<(), Error> {
        let list = self.dir.join("namespaces");
        let mut file =
            OpenOptions::new().create(true).append(true).open(&list).doing("open", &list)?;
        writeln!(file, "{} {}", id.dev, id.inode).doing("write", &list)?;
        let link = Path::new(NETNS_DIR).join(self.netns_name(part));
        let _ = fs::remove_file(&link);
        use ErrorKind::{AlreadyExists, PermissionDenied};
        loop {
            let made = fs::create_dir_all(NETNS_DIR).and_then(|()| symlink(path, &link));
            match made {
                Ok(()) => return Ok(()),
                // The last to leave has taken the directory away in between.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Without root the names are only missed by `ip netns`; another user's may be the same.
                Err(error) if matches!(error.kind(), PermissionDenied | AlreadyExists) => {
                    return Ok(());
                }
                Err(error) => return Err(error).doing("create", &link),
            }
        }
    }

    /// Changes a setting of the whole machine until the last instance is gone.
    pub(crate) fn change_setting(&self, path: &Path, value: &str) -> Result<(), Error> {
        let root = self.dir.parent().unwrap_or(&self.dir);
        let saved = root.join(SAVED_SETTING);
        if !saved.exists() {
            let before = fs::read_to_string(path).doing("read", path)?;
            fs::write(&saved, format!("{}\n{before}", path.display())).doing("write", &saved)?;
        }
        fs::write(path, value).doing("write", path)
    }

    /// Takes a namespace's name away.
    pub(crate) fn forget(&self, part: &str) {
        let _ = fs::remove_file(Path::new(NETNS_DIR).join(self.netns_name(part)));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        sweep(&self.name, &self.dir);
    }
}

/// Where run directories are made: in memory, as a rule, and gone with the next boot.
fn run_root() -> PathBuf {
    let uid = nix::unistd::geteuid();
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("ambit"));
    let fallback = || own.unwrap_or_else(|| std::env::temp_dir().join(format!("ambit-{uid}")));
    let shared = PathBuf::from(RUN_ROOT);
    // Root of a user namespace may not write there.
    let writable = fs::create_dir_all(&shared)
        .and_then(|()| nix::unistd::access(&shared, AccessFlags::W_OK).map_err(Into::into));
    if writable.is_ok() { shared } else { fallback() }
}

/// Takes the lock of a run directory; `None` if it was swept away meanwhile, `WouldBlock` if somebody has it.
fn try_lock(dir: &Path) -> io::Result<Option<Flock<File>>> {
    let path = dir.join("lock");
    let open = || OpenOptions::new().create(true).append(true).open(&path);
    let file = match fs::create_dir_all(dir).and_then(|()| open()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| io::Error::from(errno))?;
    // A sweeper may have removed the file between our opening and locking it.
    let ours = lock.metadata()?.ino();
    if !fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
        return Ok(None);
    }
    writeln!(lock, "{}", std::process::id())?;
    Ok(Some(lock))
}

/// Sweeps every instance under `root` that nobody holds.
fn sweep_crashed(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let dir = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(file) = File::open(dir.join("lock")) else {
            continue;
        };
        if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            tracing::info!(instance = name, "sweeping up after a sandbox that crashed");
            sweep(&name, &dir);
        }
    }
}

/// Removes all that an instance can leave: processes, names of namespaces, files.
fn sweep(name: &str, dir: &Path) {
    let namespaces = recorded(&dir.join("namespaces"));
    let marker = format!("{MARKER}={name}");
    // Only a process that carries our mark is ours: a namespace's number may be in use again.
    kill_all(|pid| {
        netns_of(pid).is_some_and(|id| namespaces.contains(&id)) && has_environment(pid, &marker)
    });
    let prefix = format!("ambit-{name}-");
    for entry in fs::read_dir(NETNS_DIR).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        // An instance `a` must not sweep the links of an instance `a-b`.
        if ours && fs::metadata(entry.path()).map_or(true, |at| namespaces.contains(&id_of(&at))) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(NETNS_DIR);
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(dir = %dir.display(), %error, "cannot remove the run directory: remove it by hand");
    }
    if let Some(root) = dir.parent() {
        restore_setting(root);
        let _ = fs::remove_dir(root);
    }
}

/// Puts a setting of the whole machine back when the last instance goes; see [`Instance::change_setting`].
fn restore_setting(root: &Path) {
    let others = fs::read_dir(root).into_iter().flatten().flatten();
    let saved = root.join(SAVED_SETTING);
    if others.into_iter().any(|entry| entry.path().is_dir()) || !saved.exists() {
        return;
    }
    let text = fs::read_to_string(&saved).unwrap_or_default();
    if let Some((path, value)) = text.split_once('\n')
        && let Err(error) = fs::write(path, value)
    {
        tracing::warn!(path, %error, "cannot put a setting back");
    }
    let _ = fs::remove_file(saved);
}

fn recorded(list: &Path) -> HashSet<NetNsId> {
    let text = fs::read_to_string(list).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (dev, inode) = line.split_once(' ')?;
            Some(NetNsId { dev: dev.parse().ok()?, inode: inode.parse().ok()? })
        })
        .collect()
}

/// Kills every process inside `namespaces`, and returns when they are gone or will not go.
pub(crate) fn kill_inside(namespaces: &[NetNsId]) {
    kill_all(|pid| netns_of(pid).is_some_and(|id| namespaces.contains(&id)));
}

fn kill_all(condemned: impl Fn(Pid) -> bool) {
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let found: Vec<Pid> = processes().filter(|pid| condemned(*pid)).collect();
        if found.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in found {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every process but this one.
fn processes() -> impl Iterator<Item = Pid> {
    let own = std::process::id();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(move |pid| *pid != own)
        .filter_map(|pid| Some(Pid::from_raw(i32::try_from(pid).ok()?)))
        // One that has ended and waits for its parent has no namespaces any more, and cannot be killed.
        .filter(|pid| netns_of(*pid).is_some())
}

fn netns_of(pid: Pid) -> Option<NetNsId> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|metadata| id_of(&metadata))
}

fn id_of(metadata: &fs::Metadata) -> NetNsId {
    NetNsId { dev: metadata.dev(), inode: metadata.ino() }
}

fn has_environment(pid: Pid, entry: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_put_back_by_the_last() {
        let root = tempfile::tempdir().unwrap();
        let setting = root.path().join("setting");
        let other = root.path().join("other");
        fs::write(&setting, "after").unwrap();
        fs::create_dir(&other).unwrap();
        let saved = root.path().join(SAVED_SETTING);
        fs::write(&saved, format!("{}\nbefore", setting.display())).unwrap();
        restore_setting(root.path());
        assert_eq!(fs::read_to_string(&setting).unwrap(), "after", "another instance is there");
        fs::remove_dir(other).unwrap();
        restore_setting(root.path());
        assert_eq!(fs::read_to_string(&setting).unwrap(), "before");
        assert!(!saved.exists());
    }
}
