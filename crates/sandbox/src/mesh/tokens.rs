//! The tokens by which the controller knows the mesh's programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Places, programs};
use crate::error::{Error, IoContext};
use crate::topology::NodeNet;

/// One token for each node's ztunnel, and one for each service account of a waypoint or gateway.
#[derive(Debug)]
pub(crate) struct Tokens {
    places: Places,
    /// The lines of the nodes.
    nodes: String,
    /// The tokens of accounts, by `namespace/name`.
    accounts: BTreeMap<String, String>,
}

// === impl Tokens ===

impl Tokens {
    /// Makes the tokens of nodes.
    pub(crate) fn new(places: Places, nodes: &[Arc<NodeNet>]) -> Result<Self, Error> {
        let mut lines = String::new();
        let account = format!("{}/ztunnel", programs::SYSTEM_NAMESPACE);
        for node in nodes {
            let token = random();
            write_secret(&places.token(node.name()), &token)?;
            let line = json!({ "token": token, "node": node.name(), "serviceAccount": account });
            lines.push_str(&format!("{line}\n"));
        }
        let tokens = Self { places, nodes: lines, accounts: BTreeMap::new() };
        tokens.write()?;
        Ok(tokens)
    }

    /// Gives these accounts a token, and nobody else.
    pub(crate) fn grant(&mut self, accounts: &BTreeSet<String>) -> Result<(), Error> {
        if self.accounts.keys().eq(accounts) {
            return Ok(());
        }
        self.accounts.retain(|account, _| accounts.contains(account));
        for account in accounts {
            if !self.accounts.contains_key(account) {
                let token = random();
                let dir = self.places.account(account);
                fs::create_dir_all(&dir).doing("create", &dir)?;
                write_secret(&dir.join("token"), &token)?;
                self.accounts.insert(account.clone(), token);
            }
        }
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let mut lines = self.nodes.clone();
        for (account, token) in &self.accounts {
            let line = json!({ "token": token, "serviceAccount": account });
            lines.push_str(&format!("{line}\n"));
        }
        write_secret(&self.places.tokens(), &lines)
    }
}

fn random() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// Writes a file that only its owner can read, and that readers see as a whole.
fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .doing("create", &new)?;
    file.write_all(text.as_bytes()).doing("write", &new)?;
    fs::rename(&new, path).doing("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tokens: &Tokens) -> String {
        fs::read_to_string(tokens.places.tokens()).unwrap()
    }

    #[test]
    fn accounts_keep_their_token_until_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_owned();
        let places = Places { objects: place.join("objects"), dir: place, ipv6: false };
        let mut tokens = Tokens::new(places, &[]).unwrap();
        assert_eq!(lines(&tokens), "");
        let accounts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        tokens.grant(&accounts(&["shop/a", "shop/b"])).unwrap();
        let token = fs::read_to_string(tokens.places.account("shop/b").join("token")).unwrap();
        assert_eq!(lines(&tokens).lines().count(), 2);
        tokens.grant(&accounts(&["shop/b", "shop/c"])).unwrap();
        let text = lines(&tokens);
        assert!(!text.contains("shop/a") && text.contains("shop/c"), "{text}");
        assert!(text.contains(&token) && !text.contains("node"), "{text}");
    }
}
