//! A thread that lives inside namespaces, and the processes it starts there.
//!
//! The thread holds the namespaces: when the sandbox ends, for whatever reason, its threads do, the processes they
//! started are killed by the kernel (parent-death signal), and the namespaces are gone. Nothing is mounted anywhere.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use ambit_net::NetNs;
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::Error;

/// Names the instance in the environment of every process that a sandbox starts.
pub(crate) const MARKER: &str = "AMBIT_SANDBOX";

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
#[derive(Debug)]
pub struct Room {
    netns: NetNs,
    path: PathBuf,
    instance: String,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Room ===

impl Room {
    /// A room in a new, empty network namespace.
    pub(crate) fn create(instance: &str) -> Result<Self, Error> {
        Self::start(instance, || Ok(unshare(CloneFlags::CLONE_NEWNET)?))
    }

    /// A further room in `netns`, in which `furnish` has run first: it may unshare more.
    pub(crate) fn inside(
        instance: &str,
        netns: &NetNs,
        furnish: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<Self, Error> {
        let netns = netns.clone();
        Self::start(instance, move || {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            furnish()
        })
    }

    fn start(
        instance: &str,
        enter: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<Self, Error> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (entered, answer) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("room".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                let here = enter().and_then(|()| NetNs::current());
                let tid = nix::unistd::gettid();
                let inside = here.is_ok();
                let _ = entered.send(here.map(|netns| (netns, tid)));
                if inside {
                    inbox.into_iter().for_each(|job| job());
                }
            })
            .map_err(Error::namespaces)?;
        let stopped = || io::Error::other("thread panicked");
        let (netns, tid) =
            answer.recv().map_err(|_| Error::namespaces(stopped()))?.map_err(Error::namespaces)?;
        let path = format!("/proc/{}/task/{tid}/ns/net", std::process::id()).into();
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { netns, path, instance: instance.to_owned(), jobs, thread })
    }

    /// The network namespace.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// Where other processes find the network namespace while the room exists.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on the room's thread and waits for it: sockets it makes, and processes it starts, are inside.
    ///
    /// # Errors
    /// `work` panicked, now or in an earlier call.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, answer) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the room's thread has ended");
        let job: Job = Box::new(move || drop(done.send(work())));
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())
    }

    /// A command that, started by [`Room::spawn`], dies with the room. It has its own process group, no input, and
    /// an environment that marks it as the sandbox's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_as(program, None, None)
    }

    /// The same, run as another user or group, by number.
    pub(crate) fn command_as(
        &self,
        program: impl AsRef<OsStr>,
        user: Option<i64>,
        group: Option<i64>,
    ) -> Command {
        // The standard library can set a parent-death signal only through unsafe code; setpriv execs the program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.arg(format!("--reuid={user}"));
        }
        if user.is_some() || group.is_some() {
            command.arg(format!("--regid={}", group.or(user).unwrap_or_default()));
            command.arg("--clear-groups");
        }
        command.arg("--").arg(program).process_group(0).stdin(Stdio::null());
        command.env(MARKER, &self.instance);
        command
    }

    /// Like [`Room::command_as`], with nothing but `environment`.
    pub(crate) fn bare_command(
        &self,
        program: impl AsRef<OsStr>,
        (user, group): (Option<i64>, Option<i64>),
        environment: &BTreeMap<String, String>,
    ) -> Command {
        let mut command = self.command_as(program, user, group);
        command.env_clear().envs(environment).env(MARKER, &self.instance);
        command
    }

    /// Starts a process inside.
    ///
    /// # Errors
    /// As [`Command::spawn`]. A program that cannot be found shows only by its exit status, 127.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || command.spawn())?
    }

    /// Starts a process inside whose end can be awaited; kills it when the value is dropped.
    ///
    /// # Errors
    /// As [`Room::spawn`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_async(&self, command: Command) -> io::Result<tokio::process::Child> {
        let runtime = tokio::runtime::Handle::current();
        self.run(move || {
            let _runtime = runtime.enter();
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        })?
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where `program` is, as a shell would find it.
pub(crate) fn find_program(program: &Path) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return executable(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| executable(path))
}
