//! Why a resource is refused.

use ambit_tls::FrontError;

/// What is wrong with a resource.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("not a valid message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the resource's name is not that of its content")]
    Name,
    #[error("needs {0:?}, which this version does not have; update the waypoint")]
    Feature(String),
    #[error("regular expression {0:?}: {1}")]
    Regex(String, #[source] Box<regex::Error>),
    #[error("{0:?} is no header name")]
    HeaderName(String),
    #[error("the value of header {0} has characters that no header may have")]
    HeaderValue(String),
    #[error("{0} is no HTTP status")]
    Status(u32),
    #[error("{0:?} is no service")]
    Service(String),
    #[error("{0} is no port")]
    Port(u32),
    #[error("{0:?} is no address range")]
    Network(String),
    #[error("rule {0} of the table does not exist")]
    Action(u32),
    #[error("{0}")]
    Policy(String),
    #[error("TLS: {0}")]
    Tls(#[from] FrontError),
    #[error("{0} is missing")]
    Missing(&'static str),
}
