//! What can go wrong between agent and ztunnel.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failed exchange. After anything but [`Error::Rejected`] and [`Error::TooLarge`] the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be reached or made.
    #[error(
        "{path}: {source}: check that the directory is mounted in agent and ztunnel alike and the agent runs"
    )]
    Path {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection broken: {0}")]
    Io(#[from] io::Error),
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side answered no.
    #[error("refused: {0}")]
    Rejected(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// A message does not fit into a packet.
    #[error("a message of {0} bytes does not fit into a packet of {max}", max = crate::MAX_PACKET)]
    TooLarge(usize),
    /// A packet was longer than allowed, or its descriptors could not be received.
    #[error("a packet was cut off: it is too long, or this process has no descriptors left")]
    Truncated,
    /// A packet is no message of the protocol.
    #[error("not a message of the protocol: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A message makes no sense.
    #[error("protocol violated: {0}")]
    Violation(&'static str),
    /// An earlier exchange was not finished, so answers can no longer be told apart.
    #[error("an earlier request on this connection was abandoned")]
    OutOfStep,
}

impl Error {
    /// A short name for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Path { .. } => "socket",
            Self::Io(_) => "io",
            Self::Closed => "closed",
            Self::Rejected(_) => "rejected",
            Self::Deadline(_) => "deadline",
            Self::TooLarge(_) => "too_large",
            Self::Truncated => "truncated",
            Self::Malformed(_) => "malformed",
            Self::Violation(_) => "violation",
            Self::OutOfStep => "out_of_step",
        }
    }

    /// Whether the connection can carry the next request.
    pub fn leaves_connection_usable(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::TooLarge(_))
    }
}
