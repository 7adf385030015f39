//! A file with one token for each node, and for each account that asks for itself alone.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambit_tls::FileWatch;
use parking_lot::RwLock;
use serde::Deserialize;

use super::Caller;

/// No file of tokens may be larger.
const MAX_FILE: usize = 16 * 1024 * 1024;
/// What is worth guessing is no token.
const MIN_TOKEN: usize = 8;

/// The tokens as the file has them now.
#[derive(Clone, Default)]
pub struct FileTokens(Arc<RwLock<Arc<HashMap<String, Caller>>>>);

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("--node-tokens {}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("--node-tokens {}: mode {mode:03o} lets others read it; run chmod 600", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line is no token.
    #[error("--node-tokens {}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    token: String,
    /// The node, for a node proxy.
    node: Option<String>,
    service_account: String,
}

// === impl FileTokens ===

impl FileTokens {
    /// Reads the file at `path` and follows it: a new content is used as a whole, or not at all. Needs a tokio runtime.
    ///
    /// # Errors
    /// The file cannot be read, is open to others, or has a line that is no token.
    pub fn follow(path: &Path) -> Result<Self, TokensError> {
        let read = |source| TokensError::Read { path: path.to_owned(), source };
        let (watch, content) = FileWatch::open(path, MAX_FILE).map_err(read)?;
        let tokens = Self::default();
        tokens.replace(load(path, &content)?);
        tokio::spawn(keep(tokens.clone(), path.to_owned(), watch));
        Ok(tokens)
    }

    /// Who the bearer of this token is.
    pub fn find(&self, token: &str) -> Option<Caller> {
        self.0.read().get(token).cloned()
    }

    fn replace(&self, tokens: HashMap<String, Caller>) {
        *self.0.write() = Arc::new(tokens);
    }
}

impl fmt::Debug for FileTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileTokens({})", self.0.read().len())
    }
}

async fn keep(tokens: FileTokens, path: PathBuf, mut watch: FileWatch) {
    loop {
        let content = watch.changed().await;
        let read = |source| TokensError::Read { path: path.clone(), source };
        match content.map_err(read).and_then(|content| load(&path, &content)) {
            Ok(new) => {
                tracing::info!(path = %path.display(), tokens = new.len(), "node tokens reloaded");
                tokens.replace(new);
            }
            Err(error) => tracing::error!(%error, "the last good node tokens stay in force"),
        }
    }
}

fn load(path: &Path, content: &[u8]) -> Result<HashMap<String, Caller>, TokensError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| TokensError::Read { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokensError::Mode { path: path.to_owned(), mode });
    }
    parse(content).map_err(|(line, reason)| TokensError::Line {
        path: path.to_owned(),
        line,
        reason,
    })
}

fn parse(content: &[u8]) -> Result<HashMap<String, Caller>, (usize, String)> {
    let mut tokens = HashMap::new();
    for (i, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let refused = |reason: &str| (i + 1, reason.to_owned());
        if line.trim_ascii().is_empty() {
            continue;
        }
        // The library's message could quote the token.
        let Line { token, node, service_account } = serde_json::from_slice(line).map_err(|_| {
            refused(r#"expected {"token": "…", "node": "…", "serviceAccount": "namespace/name"}"#)
        })?;
        let account = service_account.split_once('/');
        let Some((namespace, name)) = account.filter(|(ns, sa)| !ns.is_empty() && !sa.is_empty())
        else {
            return Err(refused("serviceAccount is not of the form namespace/name"));
        };
        if token.len() < MIN_TOKEN || token.contains(char::is_whitespace) {
            return Err(refused("the token is shorter than 8 characters, or has spaces in it"));
        }
        if node.as_deref() == Some("") {
            return Err(refused("node is empty; leave it out for who is no node proxy"));
        }
        let caller = Caller {
            impersonates: node.is_some(),
            node: node.unwrap_or_default().into(),
            namespace: namespace.into(),
            service_account: name.into(),
        };
        if tokens.insert(token, caller).is_some() {
            return Err(refused("the token has been given to somebody else already"));
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
