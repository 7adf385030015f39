//! Asks a certificate authority by gRPC: `istio.v1.auth.IstioCertificateService` over TLS.

mod channel;
mod config;
mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use ambit_model::Identity;
use ambit_proto::certificate::IstioCertificateRequest;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};

use crate::request::SigningRequest;
use crate::source::{CertificateSource, FetchError, Fetching};
use channel::Channels;

pub use config::{CaClientConfig, CaClientError};
pub use token::TokenSource;

/// The metadata field in which a node proxy names the workload that it asks for.
const IMPERSONATED: &str = "ImpersonatedIdentity";

/// The client. Connects when first asked, and again when needed.
pub struct CaClient {
    channels: Channels,
    token: TokenSource,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
    ttl: Duration,
    impersonate: bool,
    timeout: Duration,
}

// === impl CaClient ===

impl CaClient {
    /// Prepares the client; nothing is sent yet. Must be called on the tokio runtime that is to do the work.
    ///
    /// # Errors
    /// A configuration that can never work, or a root file that cannot be used now.
    pub fn new(config: CaClientConfig) -> Result<Self, CaClientError> {
        let mut headers = vec![header("clusterid", &config.cluster_id)?];
        for (name, value) in &config.headers {
            headers.push(header(name, value)?);
        }
        let channels = Channels::new(&config)?;
        Ok(Self {
            channels,
            token: config.token,
            headers,
            ttl: config.ttl,
            impersonate: config.impersonate,
            timeout: config.timeout,
        })
    }

    async fn ask(&self, identity: &Identity, csr: String) -> Result<Vec<String>, FetchError> {
        let metadata = self.impersonate.then(|| impersonate(identity));
        let validity_duration = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let message = IstioCertificateRequest { csr, validity_duration, metadata };
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.timeout);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        if let Some(token) = self.token.bearer()? {
            request.metadata_mut().insert("authorization", token);
        }
        let mut client = self.channels.current();
        let answer = tokio::time::timeout(self.timeout, client.create_certificate(request)).await;
        let late = |_| tonic::Status::deadline_exceeded("no answer in time");
        answer
            .map_err(late)
            .flatten()
            .map(|response| response.into_inner().cert_chain)
            .map_err(|status| FetchError::from_status(self.channels.address(), status))
    }
}

impl CertificateSource for CaClient {
    fn fetch<'a>(&'a self, identity: &'a Identity) -> Fetching<'a> {
        Box::pin(async move {
            let mut request = SigningRequest::generate(identity).map_err(FetchError::Request)?;
            let csr = std::mem::take(&mut request.csr);
            let chain = self.ask(identity, csr).await?;
            Ok(request.answered(chain)?)
        })
    }
}

impl std::fmt::Debug for CaClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaClient")
            .field("address", &self.channels.address())
            .finish_non_exhaustive()
    }
}

fn header(
    name: &str,
    value: &str,
) -> Result<(AsciiMetadataKey, AsciiMetadataValue), CaClientError> {
    let invalid = || CaClientError::Header { name: name.to_owned() };
    let key = name.to_ascii_lowercase().parse().map_err(|_| invalid())?;
    Ok((key, value.parse().map_err(|_| invalid())?))
}

fn impersonate(identity: &Identity) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(identity.to_string())) };
    Struct { fields: BTreeMap::from([(IMPERSONATED.to_owned(), value)]) }
}
