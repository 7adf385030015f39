//! `Secret`: certificates and keys, and authorities that certificates are checked against.

use std::fmt;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret as K8sSecret;
use serde_json::Value;

use super::{Meta, Problem, typed};

/// The type of Secrets that listeners may name.
const TLS: &str = "kubernetes.io/tls";
/// Types that have nothing to do with this, of which there are many.
pub(crate) const SELECTED: &str = "type!=bootstrap.kubernetes.io/token,type!=helm.sh/release.v1,type!=kubernetes.io/basic-auth,type!=kubernetes.io/dockercfg,type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/service-account-token,type!=kubernetes.io/ssh-auth";

/// Certificates, not yet looked at; empty where there are none. All is PEM.
#[derive(Clone, PartialEq)]
pub struct Secret {
    /// Its metadata.
    pub meta: Meta,
    /// Whether it is of type `kubernetes.io/tls`.
    pub tls: bool,
    /// The certificate and those that lead to its authority.
    pub chain: Bytes,
    /// Its private key.
    pub key: Bytes,
    /// Authorities.
    pub authorities: Bytes,
}

/// Reads a Secret; `None` for one that has nothing of all that.
pub(super) fn trim(meta: Meta, value: Value) -> Result<Option<Secret>, Problem> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("Opaque");
    if SELECTED.split(',').any(|part| part.strip_prefix("type!=") == Some(kind)) {
        return Ok(None);
    }
    let tls = kind == TLS;
    let secret: K8sSecret = typed(value)?;
    let mut data = secret.data.unwrap_or_default();
    let mut text = secret.string_data.unwrap_or_default();
    // What Kubernetes calls it, or else Istio.
    let mut field = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| {
            let plain = text.remove(*name).map(String::into_bytes);
            plain.or_else(|| data.remove(*name).map(|bytes| bytes.0))
        });
        found.map(Bytes::from).unwrap_or_default()
    };
    let secret = Secret {
        chain: field(["tls.crt", "cert"]),
        key: field(["tls.key", "key"]),
        authorities: field(["ca.crt", "cacert"]),
        tls,
        meta,
    };
    for (name, part) in [("tls.crt", &secret.chain), ("tls.key", &secret.key)] {
        if tls && part.is_empty() {
            return Err(Problem::new(format!("data[{name}]"), "is missing"));
        }
    }
    let nothing = secret.chain.is_empty() && secret.authorities.is_empty();
    Ok((!nothing).then_some(secret))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}/{})", self.meta.namespace, self.meta.name)
    }
}
