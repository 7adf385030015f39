//! A container's view of the file system: the machine's own, with a few files and directories of the pod's over it.
//!
//! Where a mount point does not exist on the machine, nothing is created there: the container gets an overlay instead,
//! whose upper layer is memory, and the mount point exists in that.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

/// What one container sees differently from the machine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Furniture {
    pub(crate) hostname: String,
    /// An empty directory of the container's own.
    pub(crate) scratch: PathBuf,
    pub(crate) binds: Vec<Bind>,
}

/// A file or directory in place of another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bind {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

// === impl Furniture ===

impl Furniture {
    /// Moves the current thread into mount and host name namespaces of its own and arranges them.
    pub(crate) fn arrange(self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
        remount("/".as_ref(), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
        nix::unistd::sethostname(&self.hostname)?;
        // Sources are named on the machine, targets in the container: open the former while they mean the same.
        let sources = self.binds.iter().map(|bind| Ok((opened(&bind.source)?, bind)));
        let sources: Vec<(OwnedFd, &Bind)> = sources.collect::<io::Result<_>>()?;
        if self.binds.iter().any(|bind| !bind.target.exists()) {
            overlay(&self.scratch)?;
        }
        for (source, bind) in sources {
            bind.put(&source).map_err(|error| {
                io::Error::new(error.kind(), format!("mount {}: {error}", bind.target.display()))
            })?;
        }
        Ok(())
    }
}

// === impl Bind ===

impl Bind {
    fn put(&self, source: &OwnedFd) -> io::Result<()> {
        let source = PathBuf::from(format!("/proc/thread-self/fd/{}", source.as_raw_fd()));
        if !self.target.exists() {
            if source.is_dir() {
                fs::create_dir_all(&self.target)?;
            } else {
                self.target.parent().map(fs::create_dir_all).transpose()?;
                fs::write(&self.target, "")?;
            }
        }
        bind(&source, &self.target)?;
        if self.read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            remount(&self.target, flags)?;
        }
        Ok(())
    }
}

/// Makes an overlay of the machine's root the root, with every other file system of the machine in its place.
fn overlay(scratch: &Path) -> io::Result<()> {
    mount(Some("tmpfs"), scratch, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))?;
    for point in mount_points()? {
        if point.starts_with(scratch) {
            continue;
        }
        let inside = root.join(point.strip_prefix("/").unwrap_or(&point));
        bind(&point, &inside)?;
    }
    nix::unistd::chroot(&root)?;
    std::env::set_current_dir("/")
}

/// The file systems mounted below the root, without those below another.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let info = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let mut points: Vec<PathBuf> = Vec::new();
    for path in info.lines().filter_map(|line| line.split(' ').nth(4)) {
        let path = PathBuf::from(path.replace("\\040", " "));
        let below = points.iter().any(|known| path.starts_with(known));
        if path != Path::new("/") && !below && path.exists() {
            points.push(path);
        }
    }
    Ok(points)
}

fn opened(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|errno| {
        io::Error::new(io::Error::from(errno).kind(), format!("open {}: {errno}", path.display()))
    })
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(source), target, None::<&str>, flags, None::<&str>)?)
}

fn remount(path: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?)
}
