//! The agent's last written list of namespaces with pods in the mesh: what decides when nobody can be asked.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct List {
    namespaces: Vec<String>,
}

/// The list's text.
pub(crate) fn render(namespaces: &[String]) -> String {
    let list = List { namespaces: namespaces.to_vec() };
    // Strings alone cannot fail.
    serde_json::to_string(&list).unwrap_or_default() + "\n"
}

/// Reads the list.
pub(crate) fn read(path: &Path) -> io::Result<Vec<String>> {
    let list: List = serde_json::from_slice(&fs::read(path)?)?;
    Ok(list.namespaces)
}
