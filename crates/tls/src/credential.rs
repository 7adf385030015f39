//! What a workload proves itself with, and the TLS configurations that follow from it.

mod parse;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use ambit_model::Identity;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::chain::ChainVerifier;
use crate::config;
use crate::error::TlsError;
use crate::pem;
use crate::provider::provider;
use crate::revocation::Revocations;
use crate::verify::ServerVerifier;
use crate::x509::{self, CertificateSummary, Validity};

pub use parse::CredentialError;

/// A credential as text, as certificate authorities hand it out and as it is kept between restarts.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialPem {
    /// The leaf, then intermediates, without the root.
    pub chain: String,
    /// The leaf's private key.
    pub key: String,
    /// Every root that peers may descend from.
    pub roots: String,
}

/// A workload's certificate, key and roots, with everything that handshakes need made ready. Immutable.
pub struct Credential {
    identity: Identity,
    validity: Validity,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    pem: CredentialPem,
    verifier: Arc<ChainVerifier>,
    server: Arc<ServerConfig>,
    client: ClientConfig,
}

// === impl Credential ===

impl Credential {
    /// Parses and checks a credential. Nothing is asked of the clock: see [`Credential::is_valid_at`].
    ///
    /// `revocations` is consulted by every handshake made with it.
    ///
    /// # Errors
    /// The part that is wrong, by name. Roots that cannot be used beside usable ones are only logged.
    pub fn from_pem(
        pem: CredentialPem,
        revocations: &Revocations,
    ) -> Result<Self, CredentialError> {
        let chain = pem::certificates(pem.chain.as_bytes()).map_err(CredentialError::Chain)?;
        let validity = parse::chain_validity(&chain)?;
        let identity = parse::leaf_identity(&chain)?;
        let roots = pem::certificates(pem.roots.as_bytes()).map_err(CredentialError::Roots)?;
        let anchors = parse::anchors(&roots)?;
        let provider = provider();
        let certified = Arc::new(parse::certified_key(&chain, &pem.key, &provider)?);
        let verifier = Arc::new(ChainVerifier::new(anchors, revocations.clone()));
        let server = config::server(&identity, &certified, &verifier, &provider)
            .map_err(CredentialError::Config)?;
        let client =
            config::client(&certified, &verifier, provider).map_err(CredentialError::Config)?;
        Ok(Self {
            identity,
            validity,
            chain,
            roots,
            pem,
            verifier,
            server: Arc::new(server),
            client,
        })
    }

    /// Whom it proves.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the leaf counts. Certificate authorities never let it outlive its issuers.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether peers with a right clock accept it at `now`.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.validity.not_before <= now && now <= self.validity.not_after
    }

    /// Checks the credential as a peer with the same roots would, in both roles, at `now`.
    ///
    /// # Errors
    /// What that peer would object to.
    pub fn verify_at(&self, now: SystemTime) -> Result<(), TlsError> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        Ok(self.verifier.verify_both(&self.chain, now)?)
    }

    /// Leaf and intermediates, as presented to peers.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The roots that peers must descend from.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The text that it was made of, private key included.
    pub fn pem(&self) -> &CredentialPem {
        &self.pem
    }

    /// Leaf and intermediates for `config_dump`.
    pub fn cert_chain(&self) -> Vec<CertificateSummary> {
        self.chain.iter().filter_map(|der| x509::summary(der).ok()).collect()
    }

    /// The roots for `config_dump`.
    pub fn root_certs(&self) -> Vec<CertificateSummary> {
        self.roots.iter().filter_map(|der| x509::summary(der).ok()).collect()
    }

    /// The configuration of a server that is this workload; the same one each time.
    ///
    /// TLS 1.3 with a mandatory client certificate, HTTP/2 in ALPN, no resumption (it would outlive revocation).
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("identity", &self.identity)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CredentialPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialPem").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The configuration of a client that is `credential` and accepts exactly the identities of `expected`.
///
/// Cheap: everything but the list of identities is shared. An empty list accepts nobody.
pub fn client_config(credential: &Credential, expected: &[Identity]) -> Arc<ClientConfig> {
    let verifier = ServerVerifier::new(Arc::clone(&credential.verifier), expected);
    let mut config = credential.client.clone();
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    Arc::new(config)
}
