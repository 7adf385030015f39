//! The headers of a stream: who asks, and what proves it.

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use super::ConnectError;
use crate::{Config, Token};

/// The headers for one stream; the token is read now.
pub(super) fn metadata(config: &Config) -> Result<MetadataMap, ConnectError> {
    let mut map = MetadataMap::new();
    let mut insert = |name: &str, value: &str, sensitive: bool| {
        let invalid = || ConnectError::Header { name: name.to_owned() };
        let key: MetadataKey<Ascii> = name.parse().map_err(|_| invalid())?;
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| invalid())?;
        value.set_sensitive(sensitive);
        map.insert(key, value);
        Ok::<(), ConnectError>(())
    };
    for (name, value) in &config.headers {
        insert(&name.to_ascii_lowercase(), value, false)?;
    }
    insert("clusterid", &config.cluster_id, false)?;
    if let Some(token) = token(&config.token)? {
        insert("authorization", &format!("Bearer {token}"), true)?;
    }
    Ok(map)
}

fn token(token: &Token) -> Result<Option<String>, ConnectError> {
    match token {
        Token::None => Ok(None),
        Token::Literal(text) => Ok(Some(text.clone())),
        Token::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(source) => Err(ConnectError::Token { path: path.clone(), source }),
        },
    }
}
