//! Tokens of the cluster's pods, which the API server is asked about (`TokenReview`).
//!
//! An answer counts for a minute. The pod that a token is bound to is looked up anew at each use, so that a token
//! dies with its pod.

mod cache;
mod verdict;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit_model::Str;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Caller, Pods, Unknown};
use crate::serve::Metrics;
use crate::watch::api_error;

use cache::{Cache, Digest};
use verdict::Bearer;

/// No token of Kubernetes is nearly as long.
const MAX_TOKEN: usize = 16 * 1024;
/// Questions at a time; more wait.
const REVIEWS: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What tokens must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewSettings {
    /// The audiences of which a token must have one. Proxies of Istio use `istio-ca`.
    pub audiences: Vec<String>,
    /// The service accounts of node proxies.
    pub trusted: BTreeSet<Account>,
}

/// A service account, written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Its namespace.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
}

/// Asks the API server about tokens. Clones share what they have learnt.
#[derive(Clone)]
pub struct Reviews(Arc<Inner>);

struct Inner {
    api: Api<TokenReview>,
    settings: ReviewSettings,
    pods: Pods,
    cache: Mutex<Cache>,
    permits: Semaphore,
    metrics: Metrics,
}

// === impl Account ===

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(format!("{text:?} is not of the form namespace/name")),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Reviews ===

impl Reviews {
    /// Asks through `client`; `pods` are those that tokens may be bound to.
    pub fn new(client: Client, settings: ReviewSettings, pods: Pods, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            api: Api::all(client),
            settings,
            pods,
            cache: Mutex::default(),
            permits: Semaphore::new(REVIEWS),
            metrics,
        }))
    }

    /// Who the bearer of this token is.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Unknown> {
        let inner = &*self.0;
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Unknown::Invalid("its length is not a token's".to_owned()));
        }
        let digest = Digest::of(token);
        let known = inner.cache.lock().get(&digest, Instant::now());
        let bearer = match known {
            Some(bearer) => {
                inner.metrics.token_reviewed("cached");
                bearer
            }
            None => self.review(token, digest).await?,
        };
        let pod = inner.pods.find(&bearer.namespace, &bearer.pod);
        verdict::caller(&bearer, pod.as_deref(), &inner.settings.trusted).map_err(Unknown::Invalid)
    }

    async fn review(&self, token: &str, digest: Digest) -> Result<Arc<Bearer>, Unknown> {
        let inner = &*self.0;
        // How long others take does not count; the semaphore is never closed.
        let _permit = inner.permits.acquire().await;
        let answer = match tokio::time::timeout(TIMEOUT, self.ask(token)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                inner.metrics.token_reviewed("failed");
                return Err(Unknown::Unavailable(refused(&error)));
            }
            Err(_) => {
                inner.metrics.token_reviewed("failed");
                return Err(Unknown::Unavailable("the API server does not answer".to_owned()));
            }
        };
        match verdict::bearer(answer.status.unwrap_or_default(), &inner.settings.audiences) {
            Ok(bearer) => {
                inner.metrics.token_reviewed("accepted");
                let bearer = Arc::new(bearer);
                inner.cache.lock().insert(digest, bearer.clone(), Instant::now());
                Ok(bearer)
            }
            Err(reason) => {
                inner.metrics.token_reviewed("refused");
                Err(Unknown::Invalid(reason))
            }
        }
    }

    async fn ask(&self, token: &str) -> kube::Result<TokenReview> {
        let spec = TokenReviewSpec {
            audiences: Some(self.0.settings.audiences.clone()),
            token: token.to_owned(),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        self.0.api.create(&PostParams::default(), &review).await
    }
}

/// Why the API server did not answer, with the rule that it takes.
fn refused(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            "the controller may not ask; add to its ClusterRole: apiGroups: [\"authentication.k8s.io\"], resources: [\"tokenreviews\"], verbs: [\"create\"]".to_owned()
        }
        other => api_error(other),
    }
}

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
