//! The lists themselves: parsing, and whom they speak about.

use std::path::PathBuf;

use rustls_pki_types::CertificateDer;
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::pem::{self, PemError};
use crate::x509;

/// Why a file of revocation lists cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The file cannot be read or watched.
    #[error("revocation lists {path}: cannot be read; check CRL_PATH and the file's mode")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no PEM of revocation lists.
    #[error("revocation lists: not usable PEM")]
    Pem(#[from] PemError),
    /// One list of the file cannot be parsed.
    #[error("revocation lists: list {index} (counted from 0) is malformed: {reason}")]
    Malformed {
        /// Which one.
        index: usize,
        /// What the parser said.
        reason: String,
    },
}

/// The certificates that their issuers have withdrawn. Immutable; a reload makes a new one.
#[derive(Debug, Default)]
pub struct RevocationList {
    lists: Vec<OneList>,
}

#[derive(Debug)]
struct OneList {
    crl: CertRevocationList<'static>,
    /// Which of several keys of the same issuer name signed it, where the list says so.
    authority_key: Option<Vec<u8>>,
}

// === impl RevocationList ===

impl RevocationList {
    /// Parses one or several lists in PEM.
    ///
    /// Signatures are checked during handshakes, where the issuer's key is known. A list past its `nextUpdate` still
    /// counts, since withdrawing a certificate must not lapse because a refresh is late.
    ///
    /// # Errors
    /// Text that is no PEM of lists, or a list that cannot be parsed, by its position.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RevocationError> {
        let mut lists = Vec::new();
        for (index, der) in pem::revocation_lists(pem)?.iter().enumerate() {
            let malformed = |reason: String| RevocationError::Malformed { index, reason };
            let crl =
                OwnedCertRevocationList::from_der(der).map_err(|e| malformed(e.to_string()))?;
            let (_, parsed) =
                CertificateRevocationList::from_der(der).map_err(|e| malformed(e.to_string()))?;
            lists.push(OneList { crl: crl.into(), authority_key: list_authority_key(&parsed) });
        }
        Ok(Self { lists })
    }

    /// Whether one of `chain` (leaf first, as the peer sent it) is withdrawn by its issuer.
    ///
    /// Matches by issuer name, authority key where both sides name one, and serial number. A certificate that no list
    /// speaks about counts as good, as in upstream's proxies.
    pub fn revokes(&self, chain: &[CertificateDer<'_>]) -> bool {
        chain.iter().any(|der| {
            let Ok(certificate) = EndEntityCert::try_from(der) else {
                return false;
            };
            let key = certificate_authority_key(der);
            self.lists.iter().any(|list| {
                speaks_for(
                    &list.crl,
                    list.authority_key.as_deref(),
                    certificate.issuer(),
                    key.as_deref(),
                ) && matches!(list.crl.find_serial(certificate.serial()), Ok(Some(_)))
            })
        })
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The lists that may speak for a certificate of this chain, at most one per issuer in each group, because that
    /// is how many a verification looks at.
    ///
    /// Istio's roots all carry the same name. Without this choice a list of the old root would be checked against
    /// the key of the new one while roots rotate, and refuse everybody.
    pub(crate) fn groups(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Vec<Vec<&CertRevocationList<'static>>> {
        if self.lists.is_empty() {
            return Vec::new();
        }
        let keys: Vec<_> = std::iter::once(leaf)
            .chain(intermediates)
            .filter_map(|der| {
                let issuer = EndEntityCert::try_from(der).ok()?.issuer().to_vec();
                Some((issuer, certificate_authority_key(der)))
            })
            .collect();
        let mut groups: Vec<Vec<&CertRevocationList<'static>>> = Vec::new();
        for OneList { crl, authority_key } in &self.lists {
            let speaks = |(issuer, key): &(Vec<u8>, Option<Vec<u8>>)| {
                speaks_for(crl, authority_key.as_deref(), issuer, key.as_deref())
            };
            if !keys.iter().any(speaks) {
                continue;
            }
            let free = |group: &&mut Vec<&CertRevocationList<'static>>| {
                group.iter().all(|other| other.issuer() != crl.issuer())
            };
            match groups.iter_mut().find(free) {
                Some(group) => group.push(crl),
                None => groups.push(vec![crl]),
            }
        }
        groups
    }
}

/// Whether a list, signed by `signer` where it says so, is by the `issuer` with `key` where its certificate says so.
fn speaks_for(
    crl: &CertRevocationList<'_>,
    signer: Option<&[u8]>,
    issuer: &[u8],
    key: Option<&[u8]>,
) -> bool {
    let same_key = match (signer, key) {
        (Some(signer), Some(key)) => signer == key,
        _ => true,
    };
    same_key && crl.issuer() == issuer
}

fn list_authority_key(list: &CertificateRevocationList<'_>) -> Option<Vec<u8>> {
    list.extensions().iter().find_map(|extension| key_identifier(extension.parsed_extension()))
}

fn certificate_authority_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = x509::parse(certificate).ok()?;
    parsed.extensions().iter().find_map(|extension| key_identifier(extension.parsed_extension()))
}

fn key_identifier(extension: &ParsedExtension<'_>) -> Option<Vec<u8>> {
    match extension {
        ParsedExtension::AuthorityKeyIdentifier(aki) => {
            aki.key_identifier.as_ref().map(|key| key.0.to_vec())
        }
        _ => None,
    }
}
