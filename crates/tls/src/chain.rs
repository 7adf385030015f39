//! Whether a certificate leads to a root, for the right purpose, at the right time, and is not revoked.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertRevocationListError, CertificateError, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::provider::provider;
use crate::revocation::Revocations;

/// Checks a chain against one credential's own roots. Shared by all connections of the credential.
pub(crate) struct ChainVerifier {
    roots: RootCertStore,
    revocations: Revocations,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Whether `chain`, leaf first, leads to `root` and counts at `now`.
pub fn descends(
    chain: &[CertificateDer<'_>],
    root: &CertificateDer<'static>,
    now: SystemTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    roots.add(root.clone()).is_ok()
        && ChainVerifier::new(roots, Revocations::none())
            .verify_both(chain, UnixTime::since_unix_epoch(since))
            .is_ok()
}

// === impl ChainVerifier ===

impl ChainVerifier {
    pub(crate) fn new(roots: RootCertStore, revocations: Revocations) -> Self {
        Self { roots, revocations, algorithms: provider().signature_verification_algorithms }
    }

    pub(crate) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    /// Leaf first; for the uses of both sides of a mesh connection.
    pub(crate) fn verify_both(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
        self.verify(leaf, intermediates, now, KeyUsage::client_auth())
    }

    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let end_entity = EndEntityCert::try_from(leaf).map_err(rejection)?;
        let list = self.revocations.current();
        let groups = list.groups(leaf, intermediates);
        let check = |options| {
            let (algorithms, roots) = (self.algorithms.all, &self.roots.roots);
            let path = end_entity.verify_for_usage(
                algorithms,
                roots,
                intermediates,
                now,
                usage,
                options,
                None,
            );
            path.map(drop).map_err(rejection)
        };
        if groups.is_empty() {
            return check(None);
        }
        groups.iter().try_for_each(|group| check(revocation_options(group)))
    }
}

impl fmt::Debug for ChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainVerifier").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

fn revocation_options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Allow)
            .build(),
    )
}

/// What rustls turns into the alert for the peer, and `TlsError` into a reason.
fn rejection(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let certificate = match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::InvalidCrlSignatureForPublicKey
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            return CertRevocationListError::BadSignature.into();
        }
        E::IssuerNotCrlSigner => return CertRevocationListError::IssuerInvalidForCrl.into(),
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    certificate.into()
}
