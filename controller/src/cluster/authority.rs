//! The certificate authority in a Secret: plugged in by the cluster's owner, or else made by the controller.

mod choice;

use std::sync::Arc;
use std::time::SystemTime;

use ambit_identity::{CA_CERT, CA_KEY, CaFiles, LocalCa, LocalCaError, ROOT_CERT};
use futures_util::stream::select;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::time::Instant;

use super::{FIELD_MANAGER, follow};
use crate::serve::{Authority, AuthorityError, Metrics, RENEWAL, RETRY};
use crate::watch::{Backoff, Pace, api_error};

use choice::Choice;

/// The Secret that an owner of the cluster, or cert-manager, puts an authority in.
const PLUGGED_IN: &str = "cacerts";
/// The Secret that a self-made authority is kept in, as istiod does. (protocol.md 4, "Self-signed root storage".)
const SELF_MADE: &str = "istio-ca-secret";

/// Where the authority is kept.
#[derive(Clone)]
pub struct SecretAuthority {
    secrets: Api<Secret>,
    namespace: String,
    pace: Pace,
}

/// Why there is no authority, or no new one.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("Secret {namespace}/{name}: cannot be {verb}: {reason}")]
    Api { namespace: String, name: &'static str, verb: &'static str, reason: String },
    #[error("Secret {namespace}/{name}: {reason}")]
    Content { namespace: String, name: &'static str, reason: String },
    #[error("{}", ambit_telemetry::Chain(.0))]
    Ca(#[from] LocalCaError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(
        "Secrets {PLUGGED_IN} and {SELF_MADE} of namespace {0} are gone; put back the one that was in use"
    )]
    Gone(String),
}

// === impl SecretAuthority ===

impl SecretAuthority {
    /// An authority in Secrets of `namespace`.
    pub fn new(client: Client, namespace: &str, pace: Pace) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned(), pace }
    }

    /// Opens the authority; makes one where there is none. Waits as long as that is not possible, and says why.
    pub async fn open(&self, names: Vec<String>) -> Authority {
        let mut backoff = Backoff::new(self.pace);
        let mut complaint = String::new();
        loop {
            let opened = match self.found_or_made().await {
                Ok(ca) => Authority::new(ca, names.clone(), SystemTime::now()).map_err(Into::into),
                Err(error) => Err(error),
            };
            match opened {
                Ok(authority) => return authority,
                Err(error) => {
                    complain(&mut complaint, &error, "there is no certificate authority yet")
                }
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    /// Follows the Secrets and renews the server's certificate, for ever. Whatever fails is logged, and what was last
    /// good serves on.
    pub async fn keep(self, authority: Arc<Authority>, metrics: Metrics) {
        let mut complaint = String::new();
        let mut changes = std::pin::pin!(self.changes());
        loop {
            let again = match self.reload(&authority).await {
                Ok(()) => {
                    complaint.clear();
                    RENEWAL
                }
                Err(error) => {
                    metrics.authority_failed();
                    let outcome =
                        "the certificate authority was not reloaded; the last good one serves on";
                    complain(&mut complaint, &error, outcome);
                    RETRY
                }
            };
            metrics.authority_expires(authority.not_after());
            tokio::select! {
                _ = changes.next() => {}
                () = tokio::time::sleep_until(Instant::now() + again) => {}
            }
        }
    }

    async fn reload(&self, authority: &Authority) -> Result<(), SecretError> {
        let ca = self.found().await?.ok_or_else(|| SecretError::Gone(self.namespace.clone()))?;
        Ok(authority.replace(ca, SystemTime::now())?)
    }

    /// Something for each time that one of the Secrets may have changed.
    fn changes(&self) -> impl Stream<Item = ()> + use<> {
        let changes =
            |name| follow(self.secrets.clone(), Some(name), self.pace).map(|_| ()).boxed();
        select(changes(PLUGGED_IN), changes(SELF_MADE))
    }

    async fn found_or_made(&self) -> Result<LocalCa, SecretError> {
        if let Some(ca) = self.found().await? {
            return Ok(ca);
        }
        let files = CaFiles::make(SystemTime::now())?;
        let secret = secret(&files);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        match self.secrets.create(&parameters, &secret).await {
            Ok(_) => {
                tracing::info!(
                    namespace = self.namespace,
                    secret = SELF_MADE,
                    "made a new certificate authority"
                );
                self.ca(SELF_MADE, files)
            }
            // Another replica was quicker; all have to sign with the same one.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.found().await?.ok_or_else(|| SecretError::Gone(self.namespace.clone()))
            }
            Err(error) => Err(self.failed(SELF_MADE, "created", &error)),
        }
    }

    async fn found(&self) -> Result<Option<LocalCa>, SecretError> {
        let (plugged_in, self_made) = (self.read(PLUGGED_IN).await?, self.read(SELF_MADE).await?);
        let content = |name| {
            let namespace = self.namespace.clone();
            move |reason| SecretError::Content { namespace, name, reason }
        };
        match choice::choose(plugged_in.as_ref(), self_made.as_ref()) {
            Choice::PluggedIn(files) => {
                self.ca(PLUGGED_IN, files.map_err(content(PLUGGED_IN))?).map(Some)
            }
            Choice::SelfMade(files) => {
                self.ca(SELF_MADE, files.map_err(content(SELF_MADE))?).map(Some)
            }
            Choice::None => Ok(None),
        }
    }

    fn ca(&self, name: &str, files: CaFiles) -> Result<LocalCa, SecretError> {
        let place = format!("Secret {}/{name}", self.namespace);
        Ok(LocalCa::from_files(files, &place, SystemTime::now())?)
    }

    async fn read(&self, name: &'static str) -> Result<Option<Secret>, SecretError> {
        self.secrets.get_opt(name).await.map_err(|error| self.failed(name, "read", &error))
    }

    fn failed(&self, name: &'static str, verb: &'static str, error: &kube::Error) -> SecretError {
        let reason = api_error(error);
        SecretError::Api { namespace: self.namespace.clone(), name, verb, reason }
    }
}

fn secret(files: &CaFiles) -> Secret {
    let data = [(CA_CERT, &files.signer), (CA_KEY, &files.key), (ROOT_CERT, &files.roots)];
    let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())));
    Secret {
        metadata: ObjectMeta { name: Some(SELF_MADE.to_owned()), ..ObjectMeta::default() },
        type_: Some("istio.io/ca-root".to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

/// Logs what is not the same as last time.
fn complain(last: &mut String, error: &SecretError, outcome: &str) {
    let text = error.to_string();
    if *last != text {
        tracing::error!("{outcome}: {text}");
        *last = text;
    }
}
