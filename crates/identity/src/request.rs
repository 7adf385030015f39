//! A fresh key and the signing request for it.

use ambit_model::Identity;
use ambit_tls::CredentialPem;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

/// An ECDSA P-256 key with its signing request, both PEM: the request has an empty subject and one URI name, the key
/// is PKCS#8, as upstream's proxies send them.
pub(crate) struct SigningRequest {
    pub(crate) csr: String,
    pub(crate) key: String,
}

/// An answer that lacks the roots, so that nobody could be verified with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the answer has {0} parts; expected the leaf, intermediates, and last all roots in one string"
)]
pub struct NoRoots(usize);

// === impl SigningRequest ===

impl SigningRequest {
    pub(crate) fn generate(identity: &Identity) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self { csr, key: key.serialize_pem() })
    }
    /// Takes apart what `CreateCertificate` returns: the leaf, intermediates, and last all roots in one string.
    pub(crate) fn answered(self, mut chain: Vec<String>) -> Result<CredentialPem, NoRoots> {
        let parts = chain.len();
        let Some(roots) = chain.pop().filter(|_| parts > 1) else {
            return Err(NoRoots(parts));
        };
        let mut certificates = String::new();
        for block in &chain {
            certificates.push_str(block.trim_end());
            certificates.push('\n');
        }
        Ok(CredentialPem { chain: certificates, key: self.key, roots })
    }
}
