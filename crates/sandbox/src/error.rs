//! What can go wrong while a sandbox is built.

use std::io;
use std::path::{Path, PathBuf};

/// A sandbox could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be used.
    #[error("{0:?} is no name for a sandbox: 1 to 20 lower-case letters, digits or '-'")]
    InstanceName(String),
    /// Another sandbox of that name runs.
    #[error("a sandbox named {0:?} is already running: stop it, or choose another name")]
    InstanceTaken(String),
    /// The kernel does not let us make namespaces.
    #[error("cannot make network namespaces{hint}")]
    Namespaces {
        /// The next step, beginning with ": "; empty if there is none to name.
        hint: &'static str,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
    /// A program that the sandbox needs is missing.
    #[error("{program} is not installed: install the package {package}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What brings it, on Debian and its relatives.
        package: &'static str,
    },
    /// A program of the mesh is missing.
    #[error("{path} is not there or cannot be run: build it with `cargo build --release`", path = .0.display())]
    Binary(PathBuf),
    /// A program that sets up the network refused.
    #[error("{program}: {message}")]
    Setup {
        /// The program.
        program: &'static str,
        /// What it said, on one line.
        message: String,
    },
    /// A file could not be worked with.
    #[error("cannot {verb} {path}", path = path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A process could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The process.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process of the mesh ended, or did not become ready in time.
    #[error("{component} {problem}; its last words: {last_words}")]
    Component {
        /// Which: `controller`, `ztunnel on node-1`…
        component: String,
        /// What it did.
        problem: String,
        /// The end of its log, on one line.
        last_words: String,
    },
    /// There is no such thing.
    #[error("there is no {kind} {name:?}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is one already.
    #[error("there is already a {kind} {name:?}")]
    Exists {
        /// What was to be made.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A node's or the machine's range of addresses is used up.
    #[error("{what} has no addresses left: at most {limit} are possible")]
    Full {
        /// Whose.
        what: String,
        /// How many there are.
        limit: usize,
    },
    /// Something did not happen in time.
    #[error("{what} within {seconds} s")]
    Timeout {
        /// What, as in "these pods did not become ready: …".
        what: String,
        /// How long it had.
        seconds: u64,
    },
    /// The sandbox was told to stop.
    #[error("the sandbox is stopping")]
    Stopping,
    /// An object that was given directly could not be used.
    #[error(transparent)]
    Object(#[from] crate::manifest::Invalid),
}

// === impl Error ===

impl Error {
    /// Why a namespace could not be made.
    pub(crate) fn namespaces(source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => ": run as root (sudo)",
            _ => "",
        };
        Self::Namespaces { hint, source }
    }

    /// The error and its causes on one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        line
    }
}

/// Names the file that an IO error is about.
pub(crate) trait IoContext<T> {
    fn doing(self, verb: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, verb: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { verb, path: path.to_owned(), source })
    }
}
