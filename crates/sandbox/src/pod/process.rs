//! The processes of a container.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Child;

use super::launch::Launch;
use crate::log::Log;
use crate::process::exit_code;
use crate::room::{Room, find_program};

/// A container's program, and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) launch: Arc<Launch>,
    pub(crate) room: Arc<Room>,
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

// === impl Program ===

impl Program {
    /// Starts the container's main process.
    ///
    /// # Errors
    /// The program cannot be found or run; the text is for the user.
    pub(crate) fn start(&self, log: &Log) -> Result<Child, String> {
        let mut command = self.command(&self.launch.argv)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.room.spawn_async(command).map_err(|error| error.to_string())?;
        log.follow(&mut child);
        Ok(child)
    }

    /// Runs another command in the container to its end.
    pub(crate) async fn exec(&self, argv: &[String]) -> Result<Output, String> {
        let mut command = self.command(argv)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.room.spawn_async(command).map_err(|error| error.to_string())?;
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        Ok(Output {
            code: exit_code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Whether a command in the container succeeds.
    pub(crate) async fn succeeds(&self, argv: &[String]) -> bool {
        let Ok(mut command) = self.command(argv) else { return false };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match self.room.spawn_async(command) {
            Ok(mut child) => child.wait().await.is_ok_and(|status| status.success()),
            Err(_) => false,
        }
    }

    pub(crate) fn command(&self, argv: &[String]) -> Result<std::process::Command, String> {
        let Some((program, args)) = argv.split_first() else {
            return Err("there is no command to run".to_owned());
        };
        let path = self.find(program).ok_or_else(|| {
            format!(
                "there is no program {program:?} on this machine: install it, or give its full path"
            )
        })?;
        let launch = &self.launch;
        let who = (launch.user, launch.group);
        let mut command = self.room.bare_command(path, who, &launch.env);
        command.args(args);
        if let Some(dir) = &launch.dir {
            command.current_dir(dir);
        }
        Ok(command)
    }

    /// Where the program is, as the container's file system has it.
    fn find(&self, program: &str) -> Option<std::path::PathBuf> {
        let program = Path::new(program).to_owned();
        self.room.run(move || find_program(&program)).ok()?
    }
}
