//! PEM in, DER out, and back: the only file that knows the PEM parser.
//!
//! Input comes from files, certificate authorities and API objects, so its size is bounded and every refusal says what
//! was found instead.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pemfile::Item;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// The most PEM text that is parsed at once, in bytes. A thousand certificates fit.
pub const MAX_PEM_BYTES: usize = 1 << 20;

/// The most text of revocation lists that is parsed at once, in bytes.
pub(crate) const MAX_CRL_PEM_BYTES: usize = 16 << 20;

const LINE: usize = 64;

/// Why PEM text was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// No PEM block of a known kind.
    #[error("no PEM block found; expected -----BEGIN {expected}-----")]
    Empty {
        /// The label that was looked for.
        expected: &'static str,
    },
    /// More text than is ever needed.
    #[error("{bytes} bytes of PEM are more than the limit of {limit}")]
    TooLarge {
        /// The size of the text.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A block of another kind.
    #[error("a block holds {found} where {expected} belongs")]
    Unexpected {
        /// The label that was looked for.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// More than one block where one belongs.
    #[error("{found} blocks where exactly one {expected} belongs")]
    Several {
        /// The label that was looked for.
        expected: &'static str,
        /// How many there were.
        found: usize,
    },
    /// Broken framing or base64.
    #[error("malformed PEM")]
    Malformed(#[source] std::io::Error),
}

/// All certificates of `pem`, in order; at least one.
///
/// # Errors
/// Text that is empty, too large, malformed or holds anything but certificates.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    blocks(pem, "CERTIFICATE", MAX_PEM_BYTES, |item| match item {
        Item::X509Certificate(der) => Ok(der),
        other => Err(other),
    })
}

/// All revocation lists of `pem`, in order; at least one.
///
/// # Errors
/// Text that is empty, too large, malformed or holds anything but revocation lists.
pub(crate) fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    blocks(pem, "X509 CRL", MAX_CRL_PEM_BYTES, |item| match item {
        Item::Crl(der) => Ok(der),
        other => Err(other),
    })
}

/// The one private key of `pem`: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// Text that is empty, too large, malformed, or holds anything but exactly one key.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    const EXPECTED: &str = "PRIVATE KEY";
    let keys = blocks(pem, EXPECTED, MAX_PEM_BYTES, |item| match item {
        Item::Pkcs8Key(der) => Ok(PrivateKeyDer::Pkcs8(der)),
        Item::Pkcs1Key(der) => Ok(PrivateKeyDer::Pkcs1(der)),
        Item::Sec1Key(der) => Ok(PrivateKeyDer::Sec1(der)),
        other => Err(other),
    })?;
    one(keys, EXPECTED)
}

/// The one certificate signing request of `pem`, as DER; `limit` bounds the text, in bytes.
///
/// # Errors
/// Text that is empty, too large, malformed, or holds anything but exactly one request.
pub fn signing_request(pem: &[u8], limit: usize) -> Result<Vec<u8>, PemError> {
    const EXPECTED: &str = "CERTIFICATE REQUEST";
    let requests = blocks(pem, EXPECTED, limit, |item| match item {
        Item::Csr(der) => Ok(der.as_ref().to_vec()),
        other => Err(other),
    })?;
    one(requests, EXPECTED)
}

/// One PEM block with a final newline.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 64);
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

/// Certificates one after the other as PEM.
pub fn encode_certificates(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| encode("CERTIFICATE", der)).collect()
}

fn blocks<T>(
    pem: &[u8],
    expected: &'static str,
    limit: usize,
    pick: impl Fn(Item) -> Result<T, Item>,
) -> Result<Vec<T>, PemError> {
    if pem.len() > limit {
        return Err(PemError::TooLarge { bytes: pem.len(), limit });
    }
    let mut found = Vec::new();
    for item in rustls_pemfile::read_all(&mut &*pem) {
        let item = item.map_err(PemError::Malformed)?;
        let picked =
            pick(item).map_err(|other| PemError::Unexpected { expected, found: kind(&other) })?;
        found.push(picked);
    }
    if found.is_empty() {
        return Err(PemError::Empty { expected });
    }
    Ok(found)
}

fn one<T>(mut found: Vec<T>, expected: &'static str) -> Result<T, PemError> {
    let count = found.len();
    match (found.pop(), count) {
        (Some(only), 1) => Ok(only),
        (None, _) => Err(PemError::Empty { expected }),
        (Some(_), found) => Err(PemError::Several { expected, found }),
    }
}

fn kind(item: &Item) -> &'static str {
    match item {
        Item::X509Certificate(_) => "a certificate",
        Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_) => "a private key",
        Item::Crl(_) => "a revocation list",
        Item::Csr(_) => "a signing request",
        Item::SubjectPublicKeyInfo(_) => "a public key",
        _ => "something else",
    }
}
