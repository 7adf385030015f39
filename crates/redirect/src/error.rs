//! What can go wrong between us, the kernel and the programs that talk to it.

use std::io;
use std::time::Duration;

/// Rules could not be applied, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not installed.
    #[error("{program} is not installed: install the package {package}{alternative}")]
    Missing {
        /// The program's name.
        program: &'static str,
        /// The package that brings it on Debian and its relatives.
        package: &'static str,
        /// What else could be done, beginning with ", or"; may be empty.
        alternative: &'static str,
    },
    /// The kernel or a program said "not permitted".
    #[error(
        "no permission to change a network namespace: run as root or with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )]
    Privileges,
    /// The namespace cannot be entered.
    #[error("cannot enter the network namespace")]
    Enter(#[source] io::Error),
    /// A program could not be run or talked to.
    #[error("cannot run {program}")]
    Run {
        /// The program's name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {message}")]
    Refused {
        /// The program's name.
        program: &'static str,
        /// The beginning of what it wrote to its standard error, on one line.
        message: String,
    },
    /// A program did not end.
    #[error("{program} did not end within {} s and was killed", limit.as_secs())]
    Timeout {
        /// The program's name.
        program: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// A program wrote more than anyone needs.
    #[error("{program} listed more than {limit} bytes of rules: clean up the namespace by hand")]
    TooMuch {
        /// The program's name.
        program: &'static str,
        /// How much is read, in bytes.
        limit: usize,
    },
}

impl Error {
    /// A short constant for metric labels and log fields.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing_program",
            Self::Privileges => "no_privileges",
            Self::Enter(_) => "netns",
            Self::Run { .. } => "run",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::TooMuch { .. } => "too_much",
        }
    }
}
