//! How a control plane is reached.

use std::path::{Path, PathBuf};

use ambit_tls::RootSource;
use ambit_xds::ResourceType;

use crate::{Env, Node};

const TOKEN_PATH: &str = "./var/run/secrets/tokens/istio-token";
const ROOT_PATH: &str = "./var/run/secrets/istio/root-cert.pem";

/// How a control plane is reached, for xDS or for certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// `https://host:port`.
    pub address: String,
    /// A path, `SYSTEM`, or PEM.
    pub root: String,
    /// A second name that its certificate may have.
    pub alt_hostname: Option<String>,
    /// A path or a literal token.
    pub token: Option<String>,
    /// Extra gRPC metadata.
    pub headers: Vec<(String, String)>,
}

/// A bearer token, as the environment gives it.
pub(crate) enum Token {
    File(PathBuf),
    Literal(String),
}

// === impl ControlPlane ===

impl ControlPlane {
    /// The one that the variables `<prefix>_ADDRESS`, `<prefix>_ROOT_CA` and so on describe; `prefix` is `XDS` or `CA`.
    /// An address that is not set means the default one, an empty address means none.
    pub fn from_env(env: &Env, prefix: &str) -> Option<Self> {
        let default = match env.text("KUBERNETES_SERVICE_HOST") {
            Some(_) => "istiod.istio-system.svc:15012",
            None => "localhost:15012",
        };
        let address = env.text(&format!("{prefix}_ADDRESS")).unwrap_or_else(|| default.into());
        if address.is_empty() {
            return None;
        }
        let address = if address.contains("://") { address } else { format!("https://{address}") };
        let token = env
            .text("AUTH_TOKEN")
            .or_else(|| Path::new(TOKEN_PATH).exists().then(|| TOKEN_PATH.to_owned()));
        Some(Self {
            address,
            root: env.text(&format!("{prefix}_ROOT_CA")).unwrap_or_else(|| ROOT_PATH.into()),
            alt_hostname: env.text(&format!("ALT_{prefix}_HOSTNAME")),
            token,
            headers: env.prefixed(&format!("{prefix}_HEADER_")),
        })
    }

    /// The token is a path if it looks like one, else the token itself.
    pub(crate) fn token(&self) -> Option<Token> {
        let text = self.token.as_ref()?;
        let is_path = text.starts_with('/') || text.starts_with("./") || Path::new(text).exists();
        Some(if is_path { Token::File(text.into()) } else { Token::Literal(text.clone()) })
    }
}

/// The control plane as the xDS client wants to know it. `identity` is who the client says it is; the node's metadata
/// are added.
pub fn xds(
    node: &Node,
    service: &ControlPlane,
    mut identity: ambit_xds::Node,
    types: &'static [ResourceType],
) -> ambit_xds::Config {
    identity.metadata.extend(node.metadata.iter().cloned());
    identity.metadata.insert("CLUSTER_ID".into(), node.cluster.to_string());
    ambit_xds::Config {
        address: service.address.clone(),
        alternative_hostname: service.alt_hostname.clone(),
        roots: match RootSource::parse(&service.root) {
            RootSource::System => ambit_xds::Roots::System,
            _ if service.root.contains("-----BEGIN") => ambit_xds::Roots::Pem(service.root.clone()),
            _ => ambit_xds::Roots::File(service.root.clone().into()),
        },
        token: match service.token() {
            None => ambit_xds::Token::None,
            Some(Token::File(path)) => ambit_xds::Token::File(path),
            Some(Token::Literal(token)) => ambit_xds::Token::Literal(token),
        },
        cluster_id: node.cluster.to_string(),
        headers: service.headers.clone(),
        node: identity,
        types,
    }
}
