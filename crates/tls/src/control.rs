//! TLS of the control plane: ordinary server certificates with DNS names, HTTP/2, no client certificate.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};

use crate::file_watch::read_bounded;
use crate::pem::{self, MAX_PEM_BYTES, PemError};
use crate::provider::{ALPN_H2, VERSIONS, provider};

/// Where the roots for the control plane's certificate come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootSource {
    /// A PEM file.
    Path(PathBuf),
    /// The operating system's roots.
    System,
    /// PEM text.
    Pem(String),
}

/// Why there is no TLS configuration for the control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The root file cannot be read.
    #[error("root certificate {path}: cannot be read; check XDS_ROOT_CA and CA_ROOT_CA")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The roots are no PEM of certificates.
    #[error("root certificate {origin}")]
    Roots {
        /// The file, or how else the roots were given.
        origin: String,
        /// What is wrong.
        source: PemError,
    },
    /// No root is usable.
    #[error("root certificate {origin}: no usable certificate")]
    NoRoot {
        /// The file, or how else the roots were given.
        origin: String,
    },
    /// The alternative host name is none.
    #[error("alternative host name {name:?} is not a host name")]
    HostName {
        /// What was configured.
        name: String,
        /// What is wrong.
        source: InvalidDnsNameError,
    },
    /// The verifier cannot be made of these roots.
    #[error("root certificates")]
    Verifier(#[from] VerifierBuilderError),
    /// The server's certificate is no PEM of certificates.
    #[error("server certificate")]
    Certificate(#[source] PemError),
    /// The server's key is no PEM of one key.
    #[error("server key")]
    Key(#[source] PemError),
    /// rustls refuses the combination, for example a key of another certificate.
    #[error("TLS configuration")]
    Config(#[from] rustls::Error),
}

// === impl RootSource ===

impl RootSource {
    /// Reads a value of `XDS_ROOT_CA` or `CA_ROOT_CA`: `SYSTEM`, PEM text, or else a path.
    pub fn parse(value: &str) -> Self {
        match value {
            "SYSTEM" => Self::System,
            pem if pem.contains("-----BEGIN") => Self::Pem(pem.to_owned()),
            path => Self::Path(PathBuf::from(path)),
        }
    }

    /// The PEM text as of now; `None` for the system's roots.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Option<Vec<u8>>, ControlError> {
        match self {
            Self::System => Ok(None),
            Self::Pem(pem) => Ok(Some(pem.clone().into_bytes())),
            Self::Path(path) => read_bounded(path, MAX_PEM_BYTES)
                .map(Some)
                .map_err(|source| ControlError::Read { path: path.clone(), source }),
        }
    }

    fn origin(&self) -> String {
        match self {
            Self::System => "of the system".to_owned(),
            Self::Pem(_) => "given as text".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    fn store(&self) -> Result<RootCertStore, ControlError> {
        let mut store = RootCertStore::empty();
        match self.read()? {
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Some(pem) => {
                let roots = pem::certificates(&pem)
                    .map_err(|source| ControlError::Roots { origin: self.origin(), source })?;
                store.add_parsable_certificates(roots);
            }
        }
        if store.is_empty() {
            return Err(ControlError::NoRoot { origin: self.origin() });
        }
        Ok(store)
    }
}

/// A client of the control plane. Reads the root file now; make a new one when it has changed.
///
/// With `alt_hostname` the server's certificate may have that name instead of the one that is dialled.
///
/// # Errors
/// Roots that cannot be read or used, or a name that is none.
pub fn control_client_config(
    root: &RootSource,
    alt_hostname: Option<&str>,
) -> Result<Arc<ClientConfig>, ControlError> {
    let store = Arc::new(root.store()?);
    let verifier = WebPkiServerVerifier::builder_with_provider(store, provider()).build()?;
    let verifier: Arc<dyn ServerCertVerifier> = match alt_hostname {
        None => verifier,
        Some(name) => {
            let invalid = |source| ControlError::HostName { name: name.to_owned(), source };
            let name = ServerName::try_from(name.to_owned()).map_err(invalid)?;
            Arc::new(AlternativeName { verifier, name })
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Arc::new(config))
}

/// A server of the control plane with the chain `certificate` and its `key`, both PEM.
///
/// # Errors
/// A certificate or key that cannot be used, or that do not belong together.
pub fn control_server_config(
    certificate: &str,
    key: &str,
) -> Result<Arc<ServerConfig>, ControlError> {
    let chain = pem::certificates(certificate.as_bytes()).map_err(ControlError::Certificate)?;
    let key = pem::private_key(key.as_bytes()).map_err(ControlError::Key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Arc::new(config))
}

/// Checks the certificate as usual, for the dialled name or another.
#[derive(Debug)]
struct AlternativeName {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for AlternativeName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |name| self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now);
        verify(dialled).or_else(|_| verify(&self.name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
