//! The rustls configurations of mesh connections.

use std::sync::Arc;

use ambit_model::Identity;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};

use crate::chain::ChainVerifier;
use crate::provider::{ALPN_H2, VERSIONS};
use crate::verify::{ClientVerifier, ServerVerifier};

/// TLS 1.3, a mandatory client certificate of the same trust domain, HTTP/2, and nothing to resume with.
pub(crate) fn server(
    identity: &Identity,
    certified: &Arc<CertifiedKey>,
    verifier: &Arc<ChainVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let clients = ClientVerifier::new(Arc::clone(verifier), identity.trust_domain.clone());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// TLS 1.3, our certificate, HTTP/2, no SNI, nothing to resume with. Accepts nobody until it is told whom.
pub(crate) fn client(
    certified: &Arc<CertifiedKey>,
    verifier: &Arc<ChainVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, rustls::Error> {
    let nobody = ServerVerifier::new(Arc::clone(verifier), &[]);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nobody))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}
