//! Who may be at the other end: a trusted chain, then the right SPIFFE names.

use std::sync::Arc;

use ambit_model::{Identity, Str};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::KeyUsage;

use crate::chain::ChainVerifier;
use crate::x509;

/// The most names of a peer that an error message repeats.
const SHOWN_NAMES: usize = 4;

/// A certificate whose chain is fine and whose names are not.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WrongName {
    #[error(
        "certificate names {got:?}, which is in no workload identity of trust domain {expected:?}"
    )]
    TrustDomain { expected: Str, got: Vec<Identity> },
    #[error("certificate names {got:?}; expected one of {expected:?}")]
    Identity { expected: Arc<[Identity]>, got: Vec<Identity> },
}

/// The server's side: any workload of its own trust domain.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    chain: Arc<ChainVerifier>,
    trust_domain: Str,
}

/// The client's side: exactly one of the identities that the route allows.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    chain: Arc<ChainVerifier>,
    expected: Arc<[Identity]>,
}

// === impl ClientVerifier ===

impl ClientVerifier {
    pub(crate) fn new(chain: Arc<ChainVerifier>, trust_domain: Str) -> Self {
        Self { chain, trust_domain }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: while roots rotate it could talk a client out of its only certificate.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.chain.verify(leaf, intermediates, now, KeyUsage::client_auth())?;
        let got = x509::identities(leaf);
        if got.iter().any(|identity| identity.trust_domain == self.trust_domain) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(wrong(WrongName::TrustDomain { expected: self.trust_domain.clone(), got: shown(got) }))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, self.chain.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, self.chain.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.algorithms().supported_schemes()
    }
}

// === impl ServerVerifier ===

impl ServerVerifier {
    pub(crate) fn new(chain: Arc<ChainVerifier>, expected: &[Identity]) -> Self {
        Self { chain, expected: expected.into() }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dns_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.chain.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
        let got = x509::identities(leaf);
        if got.iter().any(|identity| self.expected.contains(identity)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(wrong(WrongName::Identity { expected: Arc::clone(&self.expected), got: shown(got) }))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, self.chain.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, self.chain.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.algorithms().supported_schemes()
    }
}

fn shown(mut names: Vec<Identity>) -> Vec<Identity> {
    names.truncate(SHOWN_NAMES);
    names
}

fn wrong(name: WrongName) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(name))).into()
}
