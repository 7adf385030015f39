//! Reads signing requests, which anybody may have written.

use ambit_tls::pem::{self, PemError};
use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

/// The longest signing request that is read, in bytes of PEM. One with an RSA key of 8192 bits has 3 KiB.
const MAX_BYTES: usize = 16 * 1024;

const MIN_RSA_BITS: usize = 2048;

/// Why a signing request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// No PEM of exactly one signing request, or too large.
    #[error("not usable PEM")]
    Pem(#[from] PemError),
    /// Not the structure of a signing request.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Signed by another key than the one it is about, or damaged.
    #[error("its signature does not fit its key")]
    Signature,
    /// A kind of key that is not certified.
    #[error("use a P-256, P-384, Ed25519 or RSA (2048 bits or more) key")]
    Key,
}

/// The key to certify. Whatever else the request asks for is ignored, as Istio's certificate authority does.
pub(super) fn public_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    let der = pem::signing_request(csr_pem.as_bytes(), MAX_BYTES)?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|error| CsrError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed(format!("{} bytes follow it", rest.len())));
    }
    let info = &request.certification_request_info.subject_pki;
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < MIN_RSA_BITS => return Err(CsrError::Key),
        Ok(_) => {}
        Err(_) => return Err(CsrError::Key),
    }
    request.verify_signature().map_err(|_| CsrError::Signature)?;
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| CsrError::Key)
}
