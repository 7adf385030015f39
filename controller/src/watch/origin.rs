//! Where objects come from.

use super::{Directory, Key, Kubernetes, Location, Update};

/// A source of objects.
pub enum Origin {
    /// A directory of YAML.
    Directory(Box<Directory>),
    /// A cluster.
    Kubernetes(Kubernetes),
}

// === impl Origin ===

impl Origin {
    /// Waits until something has changed. Never ends: a source that is gone is waited for.
    pub async fn next(&mut self) -> Update {
        match self {
            Self::Directory(directory) => directory.next().await,
            Self::Kubernetes(kubernetes) => kubernetes.next().await,
        }
    }

    /// The file and line of an object, if it comes from a file.
    pub fn location(&self, key: &Key) -> Option<&Location> {
        match self {
            Self::Directory(directory) => directory.files().location(key),
            Self::Kubernetes(_) => None,
        }
    }
}
