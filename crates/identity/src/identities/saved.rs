//! A credential as it is kept while no process holds it.

use std::time::SystemTime;

use ambit_model::Identity;
use ambit_tls::{Credential, CredentialError, CredentialPem, Revocations};
use serde::{Deserialize, Serialize};

/// A credential with its private key, to be kept where nobody else can read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedCredential {
    /// Whose it is.
    pub identity: Identity,
    /// PEM of leaf and intermediates.
    pub chain: String,
    /// PEM of the private key.
    pub key: String,
    /// PEM of the roots.
    pub roots: String,
}

/// Why a saved credential is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error("it is damaged")]
    Damaged(#[from] CredentialError),
    #[error("it names {0}")]
    OtherIdentity(Identity),
    #[error("it has expired or does not count yet")]
    NotValidNow,
}

// === impl SavedCredential ===

impl SavedCredential {
    pub(super) fn of(credential: &Credential) -> Self {
        let CredentialPem { chain, key, roots } = credential.pem().clone();
        Self { identity: credential.identity().clone(), chain, key, roots }
    }

    pub(super) fn restore(
        self,
        revocations: &Revocations,
        now: SystemTime,
    ) -> Result<Credential, RestoreError> {
        let pem = CredentialPem { chain: self.chain, key: self.key, roots: self.roots };
        let credential = Credential::from_pem(pem, revocations)?;
        if *credential.identity() != self.identity {
            return Err(RestoreError::OtherIdentity(credential.identity().clone()));
        }
        if !credential.is_valid_at(now) {
            return Err(RestoreError::NotValidNow);
        }
        Ok(credential)
    }
}

impl std::fmt::Debug for SavedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedCredential").field("identity", &self.identity).finish_non_exhaustive()
    }
}
