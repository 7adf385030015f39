//! TLS of a gateway's listeners: ordinary certificates with DNS names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::origination::roots;
use crate::pem::{self, PemError};
use crate::provider::outside;

/// What applications may speak inside, in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// A PEM that is none.
    #[error("{what}: {source}")]
    Pem {
        /// Of what.
        what: &'static str,
        /// What is wrong with it.
        source: PemError,
    },
    /// A certificate, a key, or the two together, that cannot be used.
    #[error("{what}: {source}")]
    Unusable {
        /// What cannot be used.
        what: &'static str,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Authorities that no verifier can be made of.
    #[error("authorities: {0}")]
    Authorities(String),
    /// Nothing to show.
    #[error("a listener that ends TLS needs a certificate")]
    NoCertificate,
}

/// A certificate with its intermediates and its key, both PEM.
#[derive(Clone, Copy, Debug)]
pub struct FrontCertificate<'a> {
    /// Leaf first.
    pub chain: &'a [u8],
    /// The leaf's.
    pub key: &'a [u8],
}

/// Whose certificates are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientAuthorities<'a> {
    /// PEM; empty for nobody's.
    pub pem: &'a [u8],
    /// Whether clients without a valid one are served as well.
    pub optional: bool,
}

/// Chooses the certificate by the name that the client asks for; the first where none fits.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let leaf = key.end_entity_cert().ok();
            let leaf = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
            name.as_ref()
                .zip(leaf)
                .is_some_and(|(name, leaf)| verify_server_name(&leaf, name).is_ok())
        };
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}

/// Asks for a certificate and serves whoever has none, or one that does not count.
#[derive(Debug)]
struct Optional(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Optional {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The configuration of a listener that ends TLS (1.2 and 1.3).
///
/// # Errors
/// See [`FrontError`].
pub fn front_config(
    certificates: &[FrontCertificate<'_>],
    clients: ClientAuthorities<'_>,
) -> Result<Arc<ServerConfig>, FrontError> {
    let keys: Vec<Arc<CertifiedKey>> =
        certificates.iter().map(|certificate| certified(certificate)).collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(FrontError::NoCertificate);
    }
    let builder = ServerConfig::builder_with_provider(outside())
        .with_safe_default_protocol_versions()
        .map_err(|source| FrontError::Unusable { what: "TLS versions", source })?;
    let builder = if clients.pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients.pem)?), outside());
        let verifier = verifier.build().map_err(|e| FrontError::Authorities(e.to_string()))?;
        if clients.optional {
            builder.with_client_cert_verifier(Arc::new(Optional(verifier)))
        } else {
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn certified(certificate: &FrontCertificate<'_>) -> Result<Arc<CertifiedKey>, FrontError> {
    let chain = pem::certificates(certificate.chain)
        .map_err(|source| FrontError::Pem { what: "certificate", source })?;
    let key = pem::private_key(certificate.key)
        .map_err(|source| FrontError::Pem { what: "private key", source })?;
    let provider: Arc<CryptoProvider> = outside();
    CertifiedKey::from_der(chain, key, &provider)
        .map(Arc::new)
        .map_err(|source| FrontError::Unusable { what: "certificate and key", source })
}
