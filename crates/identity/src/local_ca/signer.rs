//! Signs leaves as Istio's certificate authority does.

use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use ambit_tls::pem;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::csr::{self, CsrError};

/// How far a leaf begins before now, for peers whose clocks are late. Istio's certificate authority does the same.
pub(super) const BACKDATE: Duration = Duration::from_secs(120);

/// A signer with its chain and every root that it hands out. Keeps the private key in memory; immutable.
pub struct LocalCa {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// PEM, one certificate each: the signer, if it is not itself a root, and what leads from it to a root.
    pub(super) intermediates: Vec<String>,
    /// PEM of all roots, one after the other.
    pub(super) roots: String,
    /// When the first certificate between a leaf and its root expires.
    pub(super) not_after: SystemTime,
}

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The request is hostile or damaged.
    #[error("signing request")]
    Request(#[from] CsrError),
    /// Nothing can be signed any more.
    #[error("the certificate authority's own certificate has expired; renew it")]
    Expired,
    /// A name cannot be written into a certificate.
    #[error("cannot be certified")]
    Encode(#[from] rcgen::Error),
    /// The lifetime goes beyond what a certificate can say.
    #[error("a lifetime of {0:?} cannot be written into a certificate")]
    Lifetime(Duration),
}

// === impl LocalCa ===

impl LocalCa {
    /// Signs a leaf for `identity`, whatever names the request asks for. The caller has made sure that the requester
    /// may have it. Answers as `CreateCertificate` does: the leaf, intermediates, and last all roots in one string.
    ///
    /// `ttl` counts from `now`, in whole seconds; the leaf begins two minutes earlier and never outlives its issuers.
    ///
    /// # Errors
    /// A request that is hostile or malformed, or a signer that has expired.
    pub fn sign(
        &self,
        csr_pem: &str,
        identity: &Identity,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Vec<String>, SignError> {
        let key = csr::public_key(csr_pem)?;
        let name = SanType::URI(identity.to_string().try_into()?);
        let mut params = self.leaf(vec![name], ttl, now)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let mut chain = vec![self.certify(&params, &key)?];
        chain.extend(self.intermediates.iter().cloned());
        chain.push(self.roots.clone());
        Ok(chain)
    }

    /// A server's certificate for DNS names, with a new key: `(chain, key)` in PEM, for the control plane's own port.
    ///
    /// # Errors
    /// A name that is none, or a signer that has expired.
    pub fn server_certificate(
        &self,
        names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<(String, String), SignError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.leaf(CertificateParams::new(names)?.subject_alt_names, ttl, now)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut chain = self.certify(&params, &key)?;
        for intermediate in &self.intermediates {
            chain.push_str(intermediate);
        }
        Ok((chain, key.serialize_pem()))
    }

    /// Every root that it hands out, in PEM.
    pub fn roots_pem(&self) -> &str {
        &self.roots
    }

    /// When it can sign no more.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    fn leaf(
        &self,
        names: Vec<SanType>,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<CertificateParams, SignError> {
        if now >= self.not_after {
            return Err(SignError::Expired);
        }
        let end = now.checked_add(ttl).and_then(whole_second);
        let end = end.map_or(self.not_after, |end| end.min(self.not_after));
        let start = now.checked_sub(BACKDATE).ok_or(SignError::Lifetime(ttl))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.not_before = OffsetDateTime::from(start);
        params.not_after = OffsetDateTime::from(end);
        params.serial_number = Some(serial());
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn certify(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<String, SignError> {
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(pem::encode("CERTIFICATE", certificate.der()))
    }
}

impl std::fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Random, positive and never zero: two certificates of one key must be told apart by a revocation list.
pub(super) fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Certificates know no fractions; rounded up, or a lifetime of two seconds would often be one.
fn whole_second(at: SystemTime) -> Option<SystemTime> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let fraction = Duration::from_nanos(since.subsec_nanos().into());
    let missing = Duration::from_secs(1).checked_sub(fraction)?;
    if fraction.is_zero() { Some(at) } else { at.checked_add(missing) }
}
