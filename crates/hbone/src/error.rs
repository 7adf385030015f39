//! What can go wrong on a tunnel.

use http::StatusCode;

/// A failure of an HBONE connection or stream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP/2 handshake or connection failed.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    /// The peer answered the CONNECT with something other than 200.
    #[error("the peer answered {0}")]
    Status(StatusCode),
    /// The peer did not answer the CONNECT in time.
    #[error("the peer does not answer the CONNECT")]
    NoAnswer,
    /// A header value cannot be sent.
    #[error("header cannot be sent: {0}")]
    Header(#[from] http::Error),
    /// The connection is closing and takes no more streams.
    #[error("the connection takes no more streams")]
    Closed,
    /// The peer did not answer a PING in time.
    #[error("the peer does not answer PING")]
    PingTimeout,
    /// The TCP side of a tunnel failed.
    #[error("TCP side: {0}")]
    Tcp(#[source] std::io::Error),
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(h2::Reason),
}

impl Error {
    /// A stable label for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http2(error) => http2_reason(error),
            Self::Status(_) => "status",
            Self::NoAnswer => "no_answer",
            Self::Header(_) => "header",
            Self::Closed => "closed",
            Self::PingTimeout => "ping_timeout",
            Self::Tcp(_) => "tcp",
            Self::Reset(_) => "reset",
        }
    }

    /// Whether the peer has said everything and only wants no more (RFC 9113 8.1).
    pub(crate) fn is_satisfied(&self) -> bool {
        matches!(self, Self::Reset(h2::Reason::NO_ERROR))
    }

    /// Whether the same request may be tried on another connection without being carried out twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Http2(e) => {
                (e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM))
                    || (e.is_go_away() && e.is_remote())
            }
            _ => false,
        }
    }
}

/// Who broke the protocol, and whether it was by asking for too much.
fn http2_reason(error: &h2::Error) -> &'static str {
    match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) if error.is_library() => "flood",
        Some(_) if error.is_library() => "protocol_violation",
        _ if error.is_io() => "transport",
        _ => "h2",
    }
}
