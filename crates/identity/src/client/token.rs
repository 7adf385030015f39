//! The bearer token, which Kubernetes replaces in its file every few hours.

use std::path::PathBuf;

use ambit_tls::read_bounded;
use tonic::metadata::AsciiMetadataValue;

use crate::source::FetchError;

const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// None is sent.
    None,
    /// A file, read for each request.
    File(PathBuf),
    /// The token itself.
    Literal(String),
}

impl TokenSource {
    /// The value of `authorization`, marked so that no log shows it.
    pub(super) fn bearer(&self) -> Result<Option<AsciiMetadataValue>, FetchError> {
        let token = match self {
            Self::None => return Ok(None),
            Self::Literal(token) => token.clone(),
            Self::File(path) => {
                let content = read_bounded(path, MAX_TOKEN_BYTES)
                    .map_err(|source| FetchError::Token { path: path.clone(), source })?;
                String::from_utf8(content).map_err(|_| FetchError::MalformedToken)?
            }
        };
        let bearer = format!("Bearer {}", token.trim());
        let mut value: AsciiMetadataValue =
            bearer.parse().map_err(|_| FetchError::MalformedToken)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Literal(_) => f.write_str("Literal"),
        }
    }
}
