//! The text of a certificate authority: making it, and checking everything that can be wrong with it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use ambit_tls::{Credential, Revocations, Validity, pem, x509};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls_pki_types::CertificateDer;

use super::error::{CA_CERT, CA_KEY, CERT_CHAIN, LocalCaError, ROOT_CERT};
use super::signer::{BACKDATE, LocalCa, serial};
use crate::request::SigningRequest;

const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Where the text comes from, for messages.
pub(super) enum Origin {
    Memory,
    Dir(PathBuf),
}

/// The text of a certificate authority, not yet checked: PEM, as in Istio's `cacerts` Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    /// All roots that are trusted (`root-cert.pem`).
    pub roots: String,
    /// The certificate that signs (`ca-cert.pem`); what leads from it to a root may follow it.
    pub signer: String,
    /// Its private key (`ca-key.pem`).
    pub key: String,
    /// What leads from the signer to a root (`cert-chain.pem`), where that is more than the signer itself.
    pub chain: Option<String>,
}

/// The certificates of one file.
struct Part {
    path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

// === impl Origin ===

impl Origin {
    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Memory => PathBuf::from(name),
            Self::Dir(dir) => dir.join(name),
        }
    }
}

// === impl Files ===

impl Files {
    /// A new self-signed root that is its own signer: ECDSA P-256, 10 years from `now`.
    ///
    /// # Errors
    /// No random numbers, in effect.
    pub fn make(now: SystemTime) -> Result<Self, LocalCaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Ambit");
        // Roots of one name could not be told apart in logs, nor by revocation lists.
        let mark = u32::from_be_bytes(rand::random());
        params.distinguished_name.push(DnType::CommonName, format!("Ambit local CA {mark:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial());
        params.not_before = now.checked_sub(BACKDATE).unwrap_or(now).into();
        params.not_after = now.checked_add(ROOT_LIFETIME).unwrap_or(now).into();
        let root = pem::encode("CERTIFICATE", params.self_signed(&key)?.der());
        Ok(Self { roots: root.clone(), signer: root, key: key.serialize_pem(), chain: None })
    }

    /// Checks everything that can be wrong, at last by signing a leaf and verifying it as a peer would.
    pub(super) fn into_ca(self, origin: &Origin, now: SystemTime) -> Result<LocalCa, LocalCaError> {
        let roots = Part::parse(&self.roots, origin.file(ROOT_CERT))?;
        let signer = Part::parse(&self.signer, origin.file(CA_CERT))?;
        let issuer = issuer(&self.key, &signer, origin)?;
        let mut not_after = signer.valid_at(now, &[])?;
        let mut above = signer.certificates.clone();
        if let Some(text) = &self.chain {
            let chain = Part::parse(text, origin.file(CERT_CHAIN))?;
            not_after = not_after.min(chain.valid_at(now, &roots.certificates)?);
            above.extend(chain.certificates);
        }
        roots.one_valid_at(now)?;
        // The chain file often repeats the signer, and the root.
        let mut intermediates: Vec<CertificateDer<'_>> = Vec::new();
        for certificate in above {
            if !roots.certificates.contains(&certificate) && !intermediates.contains(&certificate) {
                intermediates.push(certificate);
            }
        }
        let intermediates = intermediates.iter().map(|der| pem::encode("CERTIFICATE", der));
        let ca = LocalCa {
            issuer,
            intermediates: intermediates.collect(),
            roots: pem::encode_certificates(&roots.certificates),
            not_after,
        };
        try_out(&ca, origin, now)?;
        Ok(ca)
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

// === impl Part ===

impl Part {
    fn parse(text: &str, path: PathBuf) -> Result<Self, LocalCaError> {
        match pem::certificates(text.as_bytes()) {
            Ok(certificates) => Ok(Self { path, certificates }),
            Err(source) => Err(LocalCaError::Pem { path, source }),
        }
    }

    /// The earliest end among its certificates, all of which must count at `now`, save those of `except`.
    fn valid_at(
        &self,
        now: SystemTime,
        except: &[CertificateDer<'static>],
    ) -> Result<SystemTime, LocalCaError> {
        let mut end = None;
        for (index, certificate) in self.certificates.iter().enumerate() {
            if except.contains(certificate) {
                continue;
            }
            let until = self.one(index, certificate, now)?;
            end = Some(end.map_or(until, |end: SystemTime| end.min(until)));
        }
        Ok(end.unwrap_or_else(|| now.checked_add(ROOT_LIFETIME).unwrap_or(now)))
    }

    /// While roots rotate an old one may have expired; one that counts must be left.
    fn one_valid_at(&self, now: SystemTime) -> Result<(), LocalCaError> {
        let mut expired = None;
        for (index, certificate) in self.certificates.iter().enumerate() {
            match self.one(index, certificate, now) {
                Ok(_) => return Ok(()),
                Err(error) => expired = expired.or(Some(error)),
            }
        }
        expired.map_or(Ok(()), Err)
    }

    fn one(
        &self,
        index: usize,
        certificate: &CertificateDer<'_>,
        now: SystemTime,
    ) -> Result<SystemTime, LocalCaError> {
        let path = || self.path.clone();
        let Validity { not_before, not_after } = x509::validity(certificate)
            .map_err(|source| LocalCaError::Certificate { path: path(), index, source })?;
        if now < not_before || not_after < now {
            return Err(LocalCaError::Expired {
                path: path(),
                index,
                from: not_before.into(),
                until: not_after.into(),
            });
        }
        Ok(not_after)
    }
}

fn issuer(
    key: &str,
    signer: &Part,
    origin: &Origin,
) -> Result<Issuer<'static, KeyPair>, LocalCaError> {
    let path = || origin.file(CA_KEY);
    let der = pem::private_key(key.as_bytes())
        .map_err(|source| LocalCaError::Pem { path: path(), source })?;
    let key =
        KeyPair::try_from(&der).map_err(|source| LocalCaError::Key { path: path(), source })?;
    let mismatch = || LocalCaError::Mismatch { key: path(), certificate: origin.file(CA_CERT) };
    let signer = signer.certificates.first().ok_or_else(mismatch)?;
    let public = x509::public_key(signer).map_err(|source| LocalCaError::Certificate {
        path: origin.file(CA_CERT),
        index: 0,
        source,
    })?;
    if public != key.subject_public_key_info() {
        return Err(mismatch());
    }
    Ok(Issuer::from_ca_cert_der(signer, key)?)
}

/// Signs for a made-up workload and checks the result as a peer would.
fn try_out(ca: &LocalCa, origin: &Origin, now: SystemTime) -> Result<(), LocalCaError> {
    let path = || origin.file(CA_CERT);
    let identity = Identity::new("trial", "trial", "trial");
    let request = SigningRequest::generate(&identity)?;
    let chain = ca
        .sign(&request.csr, &identity, Duration::from_secs(60), now)
        .map_err(|source| LocalCaError::Sign { path: path(), source })?;
    let Ok(pem) = request.answered(chain) else {
        return Ok(()); // Cannot be: a chain of ours always ends with its roots.
    };
    let credential = Credential::from_pem(pem, &Revocations::none())
        .map_err(|source| LocalCaError::Trial { path: path(), source })?;
    credential.verify_at(now).map_err(|source| LocalCaError::Chain { path: path(), source })
}
