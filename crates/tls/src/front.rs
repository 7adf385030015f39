//! TLS of a gateway's listeners, and of destinations outside the mesh: ordinary certificates with DNS names.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pem::{self, PemError};
use crate::provider::provider;
use crate::x509;

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
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| FrontError::Unusable { what: "TLS versions", source })?;
    let builder = if clients.pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients.pem)?), provider());
        let verifier = if clients.optional { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|e| FrontError::Authorities(e.to_string()))?;
        builder.with_client_cert_verifier(verifier)
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
    let provider: Arc<CryptoProvider> = provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map(Arc::new)
        .map_err(|source| FrontError::Unusable { what: "certificate and key", source })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, FrontError> {
    let certificates =
        pem::certificates(pem).map_err(|source| FrontError::Pem { what: "authorities", source })?;
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(FrontError::Authorities("no certificate that can be used".to_owned()));
    }
    Ok(store)
}

/// Who a destination outside the mesh has to be.
#[derive(Clone, Debug, Default)]
pub struct Expected<'a> {
    /// PEM of the authorities that vouch for it; the system's where absent.
    pub authorities: Option<&'a [u8]>,
    /// Host names and URIs, of which its certificate has to have one; the name that is asked for where there are none.
    pub names: &'a [String],
}

/// Verifies by names of its own instead of the one that is asked for.
#[derive(Debug)]
struct ByNames {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<String>,
}

impl ServerCertVerifier for ByNames {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.names.is_empty() {
            return self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now);
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let has = |name: &String| match ServerName::try_from(name.as_str()) {
            Ok(name) => verify_server_name(&parsed, &name).is_ok(),
            Err(_) => x509::has_uri(leaf, name),
        };
        if self.names.iter().any(has) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The configuration for a destination outside the mesh (TLS 1.2 and 1.3), which offers `alpn`. `identity` is shown
/// where the destination asks for a certificate.
///
/// # Errors
/// See [`FrontError`].
pub fn origination_config(
    expected: &Expected<'_>,
    identity: Option<FrontCertificate<'_>>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, FrontError> {
    let roots = match expected.authorities {
        Some(pem) => roots(pem)?,
        None => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            store
        }
    };
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), provider())
        .build()
        .map_err(|error| FrontError::Authorities(error.to_string()))?;
    let names = expected.names.to_vec();
    let verifier = ByNames { roots, provider: provider(), inner, names };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| FrontError::Unusable { what: "TLS versions", source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = pem::certificates(identity.chain)
                .map_err(|source| FrontError::Pem { what: "certificate", source })?;
            let key = pem::private_key(identity.key)
                .map_err(|source| FrontError::Pem { what: "private key", source })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| FrontError::Unusable { what: "certificate and key", source })?
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}
