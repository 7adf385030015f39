//! Where the control plane is and how the client presents itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ResourceType;

/// Settings of the client. Nothing here is read from the environment; the binary fills it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `https://host:port`. `http://host:port` is plaintext, which is refused where there is a token and the host is
    /// not this machine.
    pub address: String,
    /// The name the control plane's certificate may carry besides the host of `address`.
    pub alternative_hostname: Option<String>,
    /// Whom to trust for the control plane's certificate.
    pub roots: Roots,
    /// The bearer token, read again for each stream.
    pub token: Token,
    /// Sent as the `clusterid` header.
    pub cluster_id: String,
    /// Further headers of each stream: lower-case name and value.
    pub headers: Vec<(String, String)>,
    /// Who the client says it is.
    pub node: Node,
    /// What it subscribes to, in this order.
    pub types: &'static [ResourceType],
}

/// Root certificates for the connection to the control plane. A file is read again for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// A PEM file.
    File(PathBuf),
    /// PEM text.
    Pem(String),
    /// The operating system's roots.
    System,
}

/// Where the bearer token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// There is none.
    None,
    /// This one.
    Literal(String),
    /// The file's content without surrounding white space.
    File(PathBuf),
}

/// The xDS node, sent with the first request for each type of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `ztunnel~<ip>~<pod>.<namespace>~<namespace>.svc.cluster.local`, see [`Node::ztunnel`].
    pub id: String,
    /// Metadata: `NAME`, `NAMESPACE`, `INSTANCE_IPS`, `NODE_NAME`, `CLUSTER_ID` and whatever the installer adds.
    pub metadata: BTreeMap<String, String>,
}

// === impl Config ===

impl Config {
    /// A configuration for the control plane at `address` with the system's roots, no token and no headers.
    pub fn new(address: impl Into<String>, node: Node) -> Self {
        Self {
            address: address.into(),
            alternative_hostname: None,
            roots: Roots::System,
            token: Token::None,
            cluster_id: "Kubernetes".to_owned(),
            headers: Vec::new(),
            node,
            types: ResourceType::ZTUNNEL,
        }
    }
}

// === impl Token ===

impl std::fmt::Debug for Token {
    /// Keeps a literal token out of logs and dumps.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

// === impl Node ===

impl Node {
    /// The node of a waypoint or gateway pod; the controller sends it what belongs to the Gateway `gateway` of its
    /// namespace.
    pub fn waypoint(ip: &str, pod: &str, namespace: &str, gateway: &str) -> Self {
        let metadata =
            [("NAME", pod), ("NAMESPACE", namespace), ("INSTANCE_IPS", ip), ("GATEWAY", gateway)];
        Self {
            id: format!("waypoint~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            metadata: metadata.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    /// The node of a ztunnel pod with the id and the metadata that istiod expects; `ip` is `1.1.1.1` where unknown.
    pub fn ztunnel(ip: &str, pod: &str, namespace: &str, node: &str) -> Self {
        let metadata =
            [("NAME", pod), ("NAMESPACE", namespace), ("INSTANCE_IPS", ip), ("NODE_NAME", node)];
        Self {
            // The domain is literal on the wire, whatever the cluster's own is.
            id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            metadata: metadata.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }
}
