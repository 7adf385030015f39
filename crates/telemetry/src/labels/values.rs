//! The label values that are one of a few.

/// Which side of a connection reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
    /// The proxy between the two that looks into requests.
    Waypoint,
}

/// How far a proxy looks into the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// Bytes.
    #[default]
    Tcp,
    /// HTTP requests.
    Http,
    /// gRPC calls.
    Grpc,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseFlags {
    /// Well, or not yet.
    #[default]
    None,
    /// Refused or closed by policy.
    Deny,
    /// The upstream could not be reached, or the connection broke.
    Connect,
    /// The TLS handshake failed.
    TlsFailure,
    /// The HTTP/2 handshake failed.
    H2HandshakeFailure,
    /// Port 15008 did not answer in time: most often a NetworkPolicy.
    NetworkPolicy,
    /// No certificate for the identity that was needed.
    IdentityError,
    /// The peer's certificate was revoked.
    CertRevoked,
}

/// What a proxy did to a request, or saw happen to it. The values are those of
/// Envoy's access log, which dashboards know, and `DENY` as node proxies have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequestFlag {
    /// Nothing.
    #[default]
    None,
    /// The client went away.
    DownstreamGone,
    /// The request is not valid HTTP, or not what is taken here.
    Invalid,
    /// Refused by policy.
    Denied,
    /// No rule matches.
    NoRoute,
    /// No endpoint.
    NoHealthyUpstream,
    /// A limit of the destination was reached.
    Overflow,
    /// No connection with the endpoint.
    ConnectFailure,
    /// The endpoint ended the connection before or in the middle of its response.
    UpstreamReset,
    /// The endpoint took too long.
    Timeout,
    /// Tried again, as often as allowed.
    RetriesExhausted,
    /// Held up on purpose.
    FaultDelay,
    /// Answered on purpose.
    FaultAbort,
}

/// What protects a connection between two proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectionSecurity {
    /// Mutual TLS.
    MutualTls,
    /// Both pods are captured by this proxy and the bytes never left its sockets. Ambit only.
    NodeLocal,
    /// Nothing, as far as the proxy knows.
    #[default]
    Unknown,
}

// === impl Reporter, RequestProtocol, ResponseFlags, ConnectionSecurity ===

impl Reporter {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

impl RequestFlag {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::DownstreamGone => "DC",
            Self::Invalid => "DPE",
            Self::Denied => "DENY",
            Self::NoRoute => "NR",
            Self::NoHealthyUpstream => "UH",
            Self::Overflow => "UO",
            Self::ConnectFailure => "UF",
            Self::UpstreamReset => "UC",
            Self::Timeout => "UT",
            Self::RetriesExhausted => "URX",
            Self::FaultDelay => "DI",
            Self::FaultAbort => "FI",
        }
    }
}

impl RequestProtocol {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

impl ResponseFlags {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
        }
    }

    /// Every value, in the order of their index.
    pub(crate) const ALL: [Self; 8] = [
        Self::None,
        Self::Deny,
        Self::Connect,
        Self::TlsFailure,
        Self::H2HandshakeFailure,
        Self::NetworkPolicy,
        Self::IdentityError,
        Self::CertRevoked,
    ];
}

impl ConnectionSecurity {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::NodeLocal => "node_local",
            Self::Unknown => "unknown",
        }
    }
}
