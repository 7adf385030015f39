//! Runs the system's own programs inside a network namespace, with bounds on time and output.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::Error;

/// How long one program may take. They need milliseconds; a loaded node may need seconds.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How many bytes of a listing are read: some hundred times our own rules, for pods that add their own.
const OUTPUT_LIMIT: usize = 4 << 20;
/// How many characters of a program's complaint are passed on.
const MESSAGE_LIMIT: usize = 400;

/// One of the programs that this crate drives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) alternative: &'static str,
}

/// Proof that the current thread is inside the namespace in question; cannot leave the thread.
pub(crate) struct Netns(PhantomData<*const ()>);

// === impl Netns ===

impl Netns {
    /// Runs `work` on a thread of its own inside `netns`.
    pub(crate) fn enter<T: Send>(
        netns: BorrowedFd<'_>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        Self::on_thread(|| setns(netns, CloneFlags::CLONE_NEWNET), work)
    }

    /// Runs `work` on a thread of its own inside a new namespace, which ends with it.
    pub(crate) fn scratch<T: Send>(
        work: impl FnOnce(&Self) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        Self::on_thread(|| unshare(CloneFlags::CLONE_NEWNET), work)
    }

    fn on_thread<T: Send>(
        enter: impl FnOnce() -> nix::Result<()> + Send,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let inside = || {
            enter().map_err(|errno| match errno {
                nix::Error::EPERM => Error::Privileges,
                errno => Error::Enter(errno.into()),
            })?;
            work(&Self(PhantomData))
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("redirect".to_owned())
                .spawn_scoped(scope, inside)
                .map_err(Error::Enter)?;
            thread.join().unwrap_or_else(|_| Err(Error::Enter(io::Error::other("thread panicked"))))
        })
    }

    /// Runs `program` here, with `input` on its standard input, and returns its standard output.
    pub(crate) fn run(
        &self,
        program: Program,
        args: &[&str],
        input: &str,
    ) -> Result<String, Error> {
        let output = self.run_to_end(program, args, input)?;
        if output.success { Ok(output.stdout) } else { Err(output.refusal(program)) }
    }

    /// Like [`Netns::run`], for a program whose failure may mean that there was nothing to do.
    pub(crate) fn run_to_end(
        &self,
        program: Program,
        args: &[&str],
        input: &str,
    ) -> Result<Output, Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                program: program.name,
                package: program.package,
                alternative: program.alternative,
            },
            _ => Error::Run { program: program.name, source },
        };
        let mut child = Command::new(program.name)
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let streams = feed(&mut child, input).and_then(|()| collect(&mut child));
        if !matches!(streams, Ok(Streams::Complete { .. })) {
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        match streams.map_err(failed)? {
            Streams::Complete { stdout, stderr } => {
                Ok(Output { success: status.success(), stdout, stderr })
            }
            Streams::Late => Err(Error::Timeout { program: program.name, limit: TIME_LIMIT }),
            Streams::Long => Err(Error::TooMuch { program: program.name, limit: OUTPUT_LIMIT }),
        }
    }
}

/// What a program left.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

// === impl Output ===

impl Output {
    /// The failure as an error.
    pub(crate) fn refusal(&self, program: Program) -> Error {
        if self.stderr.contains("Operation not permitted")
            || self.stderr.contains("Permission denied")
        {
            return Error::Privileges;
        }
        let words = self.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        Error::Refused {
            program: program.name,
            message: words.chars().take(MESSAGE_LIMIT).collect(),
        }
    }
}

/// How reading a program's output ended.
enum Streams {
    Complete { stdout: String, stderr: String },
    Late,
    Long,
}

/// Writes `input` and closes the pipe. A program that does not read it all says why by its status.
fn feed(child: &mut Child, input: &str) -> io::Result<()> {
    match child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())) {
        Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reads both output streams to their ends.
fn collect(child: &mut Child) -> io::Result<Streams> {
    let deadline = Instant::now() + TIME_LIMIT;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        let fds = [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)];
        let mut polled: Vec<_> =
            fds.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Ok(Streams::Late),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut ready = ready.into_iter();
        if stdout.is_some() && ready.next().unwrap_or(false) {
            read_some(&mut stdout, &mut out)?;
        }
        if stderr.is_some() && ready.next().unwrap_or(false) {
            read_some(&mut stderr, &mut err)?;
        }
        if out.len() > OUTPUT_LIMIT || err.len() > OUTPUT_LIMIT {
            return Ok(Streams::Long);
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Streams::Complete { stdout: text(out), stderr: text(err) })
}

/// Reads once from a readable stream; forgets the stream at its end.
fn read_some(stream: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 << 10];
    let count = match stream {
        Some(stream) => stream.read(&mut chunk)?,
        None => 0,
    };
    into.extend(chunk.iter().take(count));
    if count == 0 {
        *stream = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn program(name: &'static str) -> Program {
        Program { name, package: "shelf", alternative: ", or do without" }
    }

    #[test]
    fn failures_name_the_next_step() {
        let netns = Netns(PhantomData);
        let missing = netns.run(program("no-such-program"), &[], "").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no-such-program is not installed: install the package shelf, or do without"
        );
        let denied = netns.run(program("sh"), &[], "echo 'Operation not permitted' >&2; exit 1");
        assert_eq!(denied.unwrap_err().reason(), "no_privileges");
        let refused = netns.run(program("sh"), &[], "printf 'line 1:\n bad\n' >&2; exit 3");
        assert_eq!(refused.unwrap_err().to_string(), "sh failed: line 1: bad");
    }

    #[test]
    fn output_is_bounded() {
        let netns = Netns(PhantomData);
        let endless = netns.run(program("yes"), &[], "").unwrap_err();
        assert!(matches!(endless, Error::TooMuch { limit: OUTPUT_LIMIT, .. }), "{endless}");
        let both = netns.run(program("sh"), &[], "seq 9999 >&2; seq 9999; cat").unwrap();
        assert_eq!(both.lines().count(), 9999);
    }
}
