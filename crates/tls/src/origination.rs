//! TLS towards destinations outside the mesh: ordinary certificates with DNS names.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::front::{FrontCertificate, FrontError};
use crate::pem;
use crate::provider::outside;
use crate::x509;

/// Whether certificates can be checked against the authorities in `pem`.
///
/// # Errors
/// There is none that can be used.
pub fn check_authorities(pem: &[u8]) -> Result<(), FrontError> {
    roots(pem).map(drop)
}

pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, FrontError> {
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
    /// Whether it is not verified at all.
    pub anybody: bool,
}

/// Verifies by names of its own instead of the one that is asked for.
#[derive(Debug)]
struct ByNames {
    roots: RootCertStore,
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<String>,
}

/// Verifies as far as is asked for; whoever it is has to have the key of the certificate shown.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Absent where anybody will do.
    expected: Option<ByNames>,
}

// === impl ByNames ===

impl ByNames {
    fn new(expected: &Expected<'_>) -> Result<Self, FrontError> {
        let roots = match expected.authorities {
            Some(pem) => roots(pem)?,
            None => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                store
            }
        };
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), outside())
            .build()
            .map_err(|error| FrontError::Authorities(error.to_string()))?;
        Ok(Self { roots, inner, names: expected.names.to_vec() })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = provider.signature_verification_algorithms.all;
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
}

// === impl Verifier ===

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.expected {
            None => Ok(ServerCertVerified::assertion()),
            Some(expected) if expected.names.is_empty() => {
                expected.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)
            }
            Some(expected) => expected.verify(leaf, intermediates, now, &self.provider),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
    let by_names = (!expected.anybody).then(|| ByNames::new(expected)).transpose()?;
    let verifier = Verifier { provider: outside(), expected: by_names };
    let builder = ClientConfig::builder_with_provider(outside())
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
