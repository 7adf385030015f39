//! What a check of the cluster found: the agent prints one on each line, the `ambit` command shows them.

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in one or two words.
    pub check: String,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; nothing where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How good what was found is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// The mesh works, but not at its best, or not everywhere.
    Warning,
    /// The mesh does not work.
    Bad,
}

// === impl Finding ===

impl Finding {
    /// All is well.
    pub fn good(check: &str, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Good, found: found.into(), next: None }
    }

    /// Something to know.
    pub fn warning(check: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        let next = Some(next.into());
        Self { check: check.to_owned(), level: Level::Warning, found: found.into(), next }
    }

    /// Something to mend first.
    pub fn bad(check: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Bad, ..Self::warning(check, found, next) }
    }
}
