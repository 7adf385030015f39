//! Programs inside pods.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ambit_sandbox::Room;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::wait::soon;

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A program that runs; it ends with the value.
pub struct Running {
    /// The process.
    pub child: Child,
    /// Its input, if asked for.
    pub stdin: Option<ChildStdin>,
    /// Its output.
    pub stdout: BufReader<ChildStdout>,
}

impl Finished {
    /// The output of a program that must have succeeded.
    ///
    /// # Panics
    /// It has not.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }
}

/// Runs a program in a pod to its end, with `input` on its standard input.
///
/// # Panics
/// It cannot be started, or takes longer than `limit`.
pub async fn run_in(room: &Room, command: &[&str], input: &[u8], limit: Duration) -> Finished {
    let mut running = start_in(room, command);
    let mut stdin = running.stdin.take().expect("it was asked for");
    let mut stderr = running.child.stderr.take().expect("it was asked for");
    let work = async {
        let feed = async {
            // A program may end before it has read everything.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let (mut out, mut err) = (String::new(), String::new());
        let (_, out_read, err_read) = tokio::join!(
            feed,
            running.stdout.read_to_string(&mut out),
            stderr.read_to_string(&mut err)
        );
        out_read.and(err_read).expect("output is text");
        let status = running.child.wait().await.expect("it ends");
        Finished { status, stdout: out, stderr: err }
    };
    timeout(limit, work).await.unwrap_or_else(|_| panic!("{command:?} took longer than {limit:?}"))
}

/// Starts a program in a pod.
///
/// # Panics
/// It cannot be started.
pub fn start_in(room: &Room, command: &[&str]) -> Running {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let mut process = room.command(program);
    process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = room.spawn_async(process).expect("it starts");
    Running {
        stdin: child.stdin.take(),
        stdout: BufReader::new(child.stdout.take().expect("it was asked for")),
        child,
    }
}

impl Running {
    /// The next line of its output; empty at its end.
    ///
    /// # Panics
    /// There is none in time.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.stdout.read_line(&mut line)).await.expect("output is text");
        line.trim_end().to_owned()
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    /// It has no input any more.
    pub async fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was asked for");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
        stdin.flush().await.expect("it reads");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It goes on.
    pub async fn ended(&mut self) -> ExitStatus {
        soon(self.child.wait()).await.expect("it ends")
    }
}
