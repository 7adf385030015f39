//! Who signs a process's certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{
    CaClient, CaClientConfig, CaClientError, CertificateSource, Identities, LocalCa, LocalCaError,
    LocalSource, TokenSource,
};
use ambit_tls::{FileWatch, RevocationError, Revocations, RootSource, pem};

use crate::control_plane::Token;
use crate::{ControlPlane, Env};

/// How long one request to the CA may take.
const CA_TIMEOUT: Duration = Duration::from_secs(10);

/// Where certificates come from.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Who signs.
    pub signer: Signer,
    /// Lifetime to ask for (`SECRET_TTL`).
    pub ttl: Duration,
    /// `CRL_PATH`.
    pub crl: Option<PathBuf>,
}

/// Who signs certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A CA in a directory (`LOCAL_CA_DIR`).
    Directory(PathBuf),
    /// Throw-away certificates (`FAKE_CA`).
    Fake,
    /// A CA service.
    Service(ControlPlane),
}

/// On whose behalf certificates are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The pods of a node.
    Node,
    /// The process's own service account.
    Own,
}

/// Why nobody can sign.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSigner {
    /// `LOCAL_CA_DIR` cannot be used.
    #[error("LOCAL_CA_DIR={0}: {1}")]
    Directory(PathBuf, #[source] Box<LocalCaError>),
    /// Throw-away certificates cannot be made.
    #[error("FAKE_CA: {0}")]
    Fake(#[source] Box<LocalCaError>),
    /// The CA service's settings are wrong.
    #[error(transparent)]
    Service(Box<CaClientError>),
    /// The list of revoked certificates cannot be used.
    #[error("CRL_PATH={0}: {1}")]
    Revocations(PathBuf, #[source] Box<RevocationError>),
}

// === impl Certificates ===

impl Certificates {
    /// What the environment says.
    pub fn from_env(env: &mut Env) -> Self {
        let signer = if let Some(dir) = env.text("LOCAL_CA_DIR") {
            Signer::Directory(dir.into())
        } else if env.flag("FAKE_CA", false) {
            Signer::Fake
        } else {
            match ControlPlane::from_env(env, "CA") {
                Some(service) => Signer::Service(service),
                None => {
                    env.mistake(
                        "CA_ADDRESS",
                        "",
                        "an address, or set LOCAL_CA_DIR or FAKE_CA=true",
                    );
                    Signer::Fake
                }
            }
        };
        Self {
            signer,
            ttl: env.duration("SECRET_TTL", Duration::from_secs(24 * 3600)),
            crl: env.text("CRL_PATH").map(PathBuf::from),
        }
    }
}

/// Whoever signs this process's certificates.
///
/// # Errors
/// What is configured cannot be used.
pub fn certificate_source(
    certificates: &Certificates,
    cluster_id: &str,
    requester: Requester,
) -> Result<Arc<dyn CertificateSource>, InvalidSigner> {
    let Certificates { signer, ttl, .. } = certificates;
    let now = SystemTime::now();
    Ok(match signer {
        Signer::Directory(dir) => {
            let ca = LocalCa::open_or_create(dir, now)
                .map_err(|error| InvalidSigner::Directory(dir.clone(), error.into()))?;
            Arc::new(LocalSource::new(Arc::new(ca), *ttl))
        }
        Signer::Fake => Arc::new(
            LocalSource::fake(*ttl, now).map_err(|error| InvalidSigner::Fake(error.into()))?,
        ),
        Signer::Service(service) => Arc::new(
            CaClient::new(CaClientConfig {
                address: service.address.clone(),
                root: RootSource::parse(&service.root),
                alt_hostname: service.alt_hostname.clone(),
                token: match service.token() {
                    None => TokenSource::None,
                    Some(Token::File(path)) => TokenSource::File(path),
                    Some(Token::Literal(token)) => TokenSource::Literal(token),
                },
                cluster_id: cluster_id.to_owned(),
                headers: service.headers.clone(),
                ttl: *ttl,
                impersonate: requester == Requester::Node,
                timeout: CA_TIMEOUT,
            })
            .map_err(|error| InvalidSigner::Service(error.into()))?,
        ),
    })
}

/// Has certificates renewed when the file of roots changes, which the certificate authority's owner rotates by it.
/// Without such a file, or where it cannot be watched, they are renewed at half their life.
pub async fn follow_roots(signer: Signer, identities: Identities) {
    let Signer::Service(service) = signer else { return };
    let RootSource::Path(path) = RootSource::parse(&service.root) else { return };
    let (mut watch, mut content) = match FileWatch::open(&path, pem::MAX_PEM_BYTES) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "changes of the roots will not be noticed");
            return;
        }
    };
    loop {
        match pem::certificates(&content) {
            Ok(roots) => identities.expect_roots(roots),
            Err(error) => tracing::warn!(path = %path.display(), %error, "no roots"),
        }
        content = loop {
            match watch.changed().await {
                Ok(content) => break content,
                Err(error) => tracing::warn!(path = %path.display(), %error, "no roots"),
            }
        };
    }
}

/// The revocation list to follow.
///
/// # Errors
/// It is not there or wrong.
pub fn revocations(certificates: &Certificates) -> Result<Revocations, InvalidSigner> {
    match &certificates.crl {
        None => Ok(Revocations::none()),
        Some(path) => Revocations::follow(path.clone())
            .map_err(|error| InvalidSigner::Revocations(path.clone(), error.into())),
    }
}
