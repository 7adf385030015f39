//! What can go wrong with a TLS connection, told apart.

use std::io;

use ambit_model::{Identity, Str};
use rustls::{AlertDescription, CertificateError};

use crate::verify::WrongName;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server is somebody else than the route leads to.
    #[error("peer is {got:?}, expected one of {expected:?}")]
    WrongIdentity {
        /// Who would have been right.
        expected: Vec<Identity>,
        /// The first identities that the peer's certificate names; empty if it names none.
        got: Vec<Identity>,
    },
    /// The client is of another trust domain, or names no workload identity at all.
    #[error("peer is {got:?}, expected trust domain {expected:?}")]
    WrongTrustDomain {
        /// The server's own trust domain.
        expected: Str,
        /// The first identities that the peer's certificate names; empty if it names none.
        got: Vec<Identity>,
    },
    /// The peer's certificate does not lead to our roots, or is not meant for this use.
    #[error("peer's certificate is not trusted")]
    Untrusted(#[source] rustls::Error),
    /// The peer's certificate has expired or does not count yet; check clocks and renewal on its node.
    #[error("peer's certificate is not valid at this time")]
    Expired(#[source] rustls::Error),
    /// The peer's certificate is on a revocation list.
    #[error("peer's certificate is revoked")]
    Revoked(#[source] rustls::Error),
    /// A revocation list in our file claims to be by the issuer of the peer's certificate and is not signed by it.
    #[error(
        "revocation list for the peer's issuer is not signed by it; check the file of CRL_PATH"
    )]
    RevocationList(#[source] rustls::Error),
    /// The peer showed no certificate.
    #[error("peer showed no certificate")]
    NoCertificate,
    /// The peer refused us, and says why.
    #[error("peer refused the handshake with alert {0:?}")]
    Refused(AlertDescription),
    /// Anything else that rustls objects to.
    #[error("TLS handshake failed")]
    Handshake(#[source] rustls::Error),
    /// The connection below broke or ended.
    #[error("connection lost during the TLS handshake")]
    Transport(#[source] io::Error),
}

// === impl TlsError ===

impl TlsError {
    /// A short fixed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::WrongIdentity { .. } => "wrong_identity",
            Self::WrongTrustDomain { .. } => "wrong_trust_domain",
            Self::Untrusted(_) => "untrusted",
            Self::Expired(_) => "expired",
            Self::Revoked(_) => "revoked",
            Self::RevocationList(_) => "revocation_list",
            Self::NoCertificate => "no_certificate",
            Self::Refused(AlertDescription::CertificateRevoked) => "revoked_by_peer",
            Self::Refused(_) => "refused_by_peer",
            Self::Handshake(_) => "handshake",
            Self::Transport(_) => "transport",
        }
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::from(error),
            Err(error) => Self::Transport(error),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use CertificateError as C;
        match &error {
            rustls::Error::AlertReceived(alert) => Self::Refused(*alert),
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertRevocationList(_) => Self::RevocationList(error),
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                C::Expired | C::ExpiredContext { .. } => Self::Expired(error),
                C::NotValidYet | C::NotValidYetContext { .. } => Self::Expired(error),
                C::Revoked => Self::Revoked(error),
                C::Other(other) => match other.0.downcast_ref::<WrongName>() {
                    Some(wrong) => Self::from(wrong.clone()),
                    None => Self::Untrusted(error),
                },
                _ => Self::Untrusted(error),
            },
            _ => Self::Handshake(error),
        }
    }
}

impl From<WrongName> for TlsError {
    fn from(wrong: WrongName) -> Self {
        match wrong {
            WrongName::TrustDomain { expected, got } => Self::WrongTrustDomain { expected, got },
            WrongName::Identity { expected, got } => {
                Self::WrongIdentity { expected: expected.to_vec(), got }
            }
        }
    }
}
