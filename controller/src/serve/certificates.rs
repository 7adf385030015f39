//! `IstioCertificateService`: certificates for the pods of the caller's node.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::SignError;
use ambit_model::Identity;
use ambit_proto::certificate::istio_certificate_service_server::IstioCertificateService;
use ambit_proto::certificate::{IstioCertificateRequest, IstioCertificateResponse};
use prost_types::value::Kind;
use tonic::{Request, Response, Status};

use super::{Authority, Caller, Metrics, Subscription, Tokens, Unknown};
use crate::index::NodeIdentities;
use crate::watch::one_line;

/// The longest lifetime that may be asked for, as in Istio.
const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// The service.
#[derive(Clone)]
pub struct Certificates {
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Who may ask.
    pub tokens: Tokens,
    /// What is known of the nodes' pods.
    pub published: Subscription,
    /// The trust domain of every identity.
    pub trust_domain: Arc<str>,
    /// The lifetime of those who ask for none.
    pub default_ttl: Duration,
    /// Counts what comes of it.
    pub metrics: Metrics,
}

/// Why a certificate is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Token(#[from] Unknown),
    #[error("the identity is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<account>")]
    Identity,
    #[error("the identity is of another trust domain")]
    TrustDomain,
    #[error(
        "the caller asks for an identity that is not its own; if it is a node proxy, add its account to --trusted-node-account"
    )]
    NotTrusted,
    #[error("no pod of that namespace and service account is on the caller's node")]
    NotOnNode,
    #[error("a lifetime of more than 90 days")]
    Lifetime,
    #[error("{0}")]
    Request(SignError),
    #[error("{0}")]
    Authority(SignError),
}

// === impl Certificates ===

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = self.tokens.caller(request.metadata().as_ref()).await;
        let request = request.into_inner();
        let wanted = impersonated(&request);
        let issued = match &caller {
            Ok(caller) => self.issue(caller, &wanted, &request),
            Err(unknown) => Err(unknown.clone().into()),
        };
        match issued {
            Ok(cert_chain) => {
                self.metrics.certificate_issued();
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(refusal) => {
                self.metrics.certificate_refused(refusal.reason());
                let caller = caller.ok();
                tracing::warn!(?caller, identity = wanted.as_deref(), %refusal, "refused a certificate");
                Err(refusal.status())
            }
        }
    }
}

impl Certificates {
    fn issue(
        &self,
        caller: &Caller,
        wanted: &Option<String>,
        request: &IstioCertificateRequest,
    ) -> Result<Vec<String>, Refusal> {
        let published = self.published.borrow().clone();
        let nodes = &published.snapshot.identities;
        let identity = decide(caller, wanted.as_deref(), &self.trust_domain, nodes)?;
        let ttl = lifetime(request.validity_duration, self.default_ttl)?;
        let chain = self.authority.sign(&request.csr, &identity, ttl, SystemTime::now());
        chain.map_err(|error| match error {
            SignError::Expired | SignError::Encode(_) => Refusal::Authority(error),
            _ => Refusal::Request(error),
        })
    }
}

/// The identity in the request's metadata, if it asks for another one than its own.
fn impersonated(request: &IstioCertificateRequest) -> Option<String> {
    let value = request.metadata.as_ref()?.fields.get("ImpersonatedIdentity")?;
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(one_line(text)),
        _ => Some(String::new()),
    }
}

/// Whose certificate the caller gets: that of a pod on its node. Without a wish it is its own service account's, and
/// only node proxies may wish. (protocol.md 4, "Impersonation"; istiod's `node_auth.go`.)
fn decide(
    caller: &Caller,
    wanted: Option<&str>,
    trust_domain: &Arc<str>,
    nodes: &NodeIdentities,
) -> Result<Identity, Refusal> {
    let own = Identity {
        trust_domain: trust_domain.clone(),
        namespace: caller.namespace.clone(),
        service_account: caller.service_account.clone(),
    };
    let identity = match wanted {
        Some(text) => text.parse::<Identity>().map_err(|_| Refusal::Identity)?,
        None => own.clone(),
    };
    if identity.trust_domain != *trust_domain {
        return Err(Refusal::TrustDomain);
    }
    if !caller.impersonates && identity != own {
        return Err(Refusal::NotTrusted);
    }
    let placed = caller.impersonates || !caller.node.is_empty();
    if placed && !nodes.contains(&caller.node, &identity.namespace, &identity.service_account) {
        return Err(Refusal::NotOnNode);
    }
    Ok(identity)
}

/// The lifetime for a request of so many seconds; none or fewer than one is the default.
fn lifetime(seconds: i64, default: Duration) -> Result<Duration, Refusal> {
    match u64::try_from(seconds) {
        Err(_) | Ok(0) => Ok(default),
        Ok(seconds) if seconds <= MAX_TTL.as_secs() => Ok(Duration::from_secs(seconds)),
        Ok(_) => Err(Refusal::Lifetime),
    }
}

// === impl Refusal ===

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Identity => "identity",
            Self::TrustDomain => "trust_domain",
            Self::NotTrusted => "not_trusted",
            Self::NotOnNode => "not_on_node",
            Self::Lifetime => "lifetime",
            Self::Request(_) => "request",
            Self::Authority(_) => "authority",
        }
    }

    /// Callers learn what they have to correct, and nothing about the pods of others.
    fn status(&self) -> Status {
        match self {
            Self::Token(unknown) => unknown.status(),
            Self::Identity | Self::TrustDomain | Self::NotTrusted | Self::NotOnNode => {
                Status::unauthenticated("request impersonation authentication failure")
            }
            Self::Lifetime | Self::Request(_) => Status::invalid_argument(self.to_string()),
            Self::Authority(_) => Status::unavailable("the certificate authority cannot sign"),
        }
    }
}

#[cfg(test)]
mod tests;
