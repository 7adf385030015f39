//! How a sandbox is made.

use std::path::PathBuf;

use crate::mesh::Settings;
use crate::pod::launch::Images;

/// How a sandbox is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name that tells sandboxes apart, 1 to 20 lower-case letters, digits or `-`; a new one if `None`.
    pub instance: Option<String>,
    /// Where the objects come from.
    pub source: Source,
    /// The names of the nodes, where the objects have no `Node`s.
    pub nodes: Vec<String>,
    /// The mesh's programs and how to run them; `None` for nodes and pods without a mesh.
    pub mesh: Option<Settings>,
    /// Programs of this machine that stand for images: image → program and first arguments.
    pub images: Images,
    /// IPv6 addresses for nodes and pods beside the IPv4 ones, where the kernel has IPv6.
    pub ipv6: bool,
    /// The TCP congestion control of every namespace; the machine's own if `None`.
    pub congestion_control: Option<String>,
}

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A directory of YAML; edits take effect while the sandbox runs.
    Directory(PathBuf),
    /// This YAML.
    Text(String),
}

// === impl Options ===

impl Options {
    /// Two nodes, `node-1` and `node-2`, with both address families; no mesh yet.
    pub fn new(source: Source) -> Self {
        Self {
            instance: None,
            source,
            nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
            mesh: None,
            images: Images::new(),
            ipv6: true,
            congestion_control: None,
        }
    }

    /// The same with a mesh.
    pub fn with_mesh(self, mesh: impl Into<Settings>) -> Self {
        Self { mesh: Some(mesh.into()), ..self }
    }
}
