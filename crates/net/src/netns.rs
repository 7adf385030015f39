//! Network namespaces, held by descriptor.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

/// A network namespace. It exists as long as a handle to it does, even with no process left inside.
///
/// Two handles are equal if they are of the same namespace.
#[derive(Clone, Debug)]
pub struct NetNs {
    fd: Arc<OwnedFd>,
    id: NetNsId,
}

/// What identifies a network namespace on this machine while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    /// The device of the kernel's namespace file system.
    pub dev: u64,
    /// The namespace's inode on it; reused after the namespace is gone.
    pub inode: u64,
}

/// Restores a thread's namespace, also when the work inside it panics.
struct Return {
    to: NetNs,
}

thread_local! {
    /// The namespace that this thread is in, as far as this module put it there.
    static CURRENT: RefCell<Option<NetNs>> = const { RefCell::new(None) };
}

// === impl NetNs ===

impl NetNs {
    /// The namespace at `path`, e.g. `/run/netns/<name>` or `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is no network namespace (`InvalidInput`).
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_fd(File::open(path)?.into())
    }

    /// The namespace behind a descriptor, for instance one that another process sent.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is of anything but a network namespace.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if !is_netns(fd.as_fd()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not of a network namespace",
            ));
        }
        let stat = nix::sys::stat::fstat(&fd)?;
        Ok(Self { fd: Arc::new(fd), id: NetNsId { dev: stat.st_dev, inode: stat.st_ino } })
    }

    /// The namespace that this thread is in.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The namespace's identity.
    pub fn id(&self) -> NetNsId {
        self.id
    }

    /// Runs `f` with this thread inside the namespace and returns to where the thread was. Sockets that `f` creates
    /// belong to the namespace for good. No system call is made if the thread is there already.
    ///
    /// `f` is synchronous on purpose: a task that waits may continue on another thread, in another namespace.
    /// A thread's namespace is read once; nothing but this function may change it afterwards.
    ///
    /// # Errors
    ///
    /// If the thread may not enter (`EPERM`: CAP_SYS_ADMIN is missing); `f` has not run then. If the thread cannot
    /// return, the process is aborted: it must not serve one pod with the rights of another.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        let from = thread_netns()?;
        if from == *self {
            return Ok(f());
        }
        setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
        CURRENT.set(Some(self.clone()));
        let _return = Return { to: from };
        Ok(f())
    }
}

impl PartialEq for NetNs {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for NetNs {}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// === impl Return ===

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(errno) = setns(&self.to.fd, CloneFlags::CLONE_NEWNET) {
            tracing::error!(%errno, "cannot return to the thread's own network namespace, aborting");
            std::process::abort();
        }
        CURRENT.set(Some(self.to.clone()));
    }
}

fn thread_netns() -> io::Result<NetNs> {
    CURRENT.with_borrow_mut(|current| match current {
        Some(netns) => Ok(netns.clone()),
        None => Ok(current.insert(NetNs::current()?).clone()),
    })
}

/// Whether `fd` is of a network namespace: asks the kernel for the namespace's type, which only such files answer.
#[allow(unsafe_code)]
fn is_netns(fd: BorrowedFd<'_>) -> bool {
    let on_nsfs = nix::sys::statfs::fstatfs(fd)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
    if !on_nsfs {
        return false;
    }
    // SAFETY: NS_GET_NSTYPE takes no argument and returns an integer; `fd` is open for the length of the call.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::fresh_netns;

    fn interfaces() -> BTreeSet<String> {
        let listing = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        listing
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect()
    }

    #[test]
    fn work_happens_inside_and_the_thread_comes_back() {
        let Some(netns) = fresh_netns() else { return };
        let home = NetNs::current().unwrap();
        assert_ne!(home, netns);
        let (inside, seen) = netns.enter(|| (NetNs::current().unwrap(), interfaces())).unwrap();
        assert_eq!(inside.id(), netns.id());
        assert_eq!(seen, BTreeSet::from(["lo".to_owned()]));
        assert_eq!(NetNs::current().unwrap(), home);
    }

    #[test]
    fn nested_work_returns_step_by_step() {
        let (Some(outer), Some(inner)) = (fresh_netns(), fresh_netns()) else {
            return;
        };
        let home = NetNs::current().unwrap();
        outer
            .enter(|| {
                inner
                    .enter(|| {
                        assert_eq!(NetNs::current().unwrap(), inner);
                        inner.enter(|| assert_eq!(NetNs::current().unwrap(), inner)).unwrap();
                        home.enter(|| assert_eq!(NetNs::current().unwrap(), home)).unwrap();
                        assert_eq!(NetNs::current().unwrap(), inner);
                    })
                    .unwrap();
                assert_eq!(NetNs::current().unwrap(), outer);
            })
            .unwrap();
        assert_eq!(NetNs::current().unwrap(), home);
    }

    #[test]
    fn a_panic_inside_still_returns() {
        let Some(netns) = fresh_netns() else { return };
        let home = NetNs::current().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            netns.enter(|| std::panic::resume_unwind(Box::new("inside")))
        }));
        assert!(result.is_err());
        assert_eq!(NetNs::current().unwrap(), home);
        assert!(netns.enter(|| ()).is_ok());
    }

    #[test]
    fn the_own_namespace_needs_no_rights() {
        let home = NetNs::current().unwrap();
        assert_eq!(home.enter(|| 7).unwrap(), 7);
    }

    #[test]
    fn other_descriptors_are_refused() {
        for path in ["/proc/self/ns/mnt", "/proc/self/status", "/dev/null", "/"] {
            let error = NetNs::open(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert_eq!(NetNs::open("/nonexistent").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
