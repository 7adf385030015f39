//! `Secret` of type `kubernetes.io/tls`: the certificates of listeners.

use std::fmt;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret as K8sSecret;
use serde_json::Value;

use super::{Meta, Problem, typed};

/// The type of Secrets that are read.
pub(crate) const TLS: &str = "kubernetes.io/tls";

/// A certificate and its key, not yet looked at.
#[derive(Clone, PartialEq)]
pub struct Secret {
    /// Its metadata.
    pub meta: Meta,
    /// PEM: the certificate and those that lead to its authority.
    pub chain: Bytes,
    /// PEM: its private key.
    pub key: Bytes,
}

/// Reads a Secret; `None` for one of another type.
pub(super) fn trim(meta: Meta, value: Value) -> Result<Option<Secret>, Problem> {
    if value.get("type").and_then(Value::as_str) != Some(TLS) {
        return Ok(None);
    }
    let secret: K8sSecret = typed(value)?;
    let mut data = secret.data.unwrap_or_default();
    let mut text = secret.string_data.unwrap_or_default();
    let mut field = |name: &str| {
        let plain = text.remove(name).map(String::into_bytes);
        let bytes = plain.or_else(|| data.remove(name).map(|bytes| bytes.0));
        let missing = || Problem::new(format!("data[{name}]"), "is missing");
        bytes.map(Bytes::from).ok_or_else(missing)
    };
    Ok(Some(Secret { chain: field("tls.crt")?, key: field("tls.key")?, meta }))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}/{})", self.meta.namespace, self.meta.name)
    }
}
