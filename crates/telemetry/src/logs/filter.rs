//! Which events are logged: `RUST_LOG` syntax, kept as its reader wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::scope::CRATE_PREFIX;

/// Levels by scope, e.g. `info,ztunnel::proxy=debug`; scopes without one are at the first level, else at `error`.
///
/// A scope is a module path; `ztunnel::proxy` also means `ambit_ztunnel::proxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    default: Option<LevelFilter>,
    scopes: BTreeMap<String, LevelFilter>,
}

/// A directive that is not in `RUST_LOG` syntax.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "log filter {directive:?} is not understood: write a level (off, error, warn, info, debug, trace) or scope=level"
)]
pub struct ParseFilterError {
    /// The directive.
    pub directive: String,
}

// === impl Filter ===

impl Filter {
    /// `self` with every directive of `over` laid over it.
    pub(super) fn merged(&self, over: &Self) -> Self {
        let mut merged = self.clone();
        merged.default = over.default.or(self.default);
        merged.scopes.extend(over.scopes.iter().map(|(scope, level)| (scope.clone(), *level)));
        merged
    }

    pub(super) fn targets(&self) -> Targets {
        let both = self.scopes.iter().flat_map(|(scope, level)| {
            [(scope.clone(), *level), (format!("{CRATE_PREFIX}{scope}"), *level)]
        });
        Targets::new().with_targets(both).with_default(self.default.unwrap_or(LevelFilter::ERROR))
    }
}

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut filter = Self::default();
        for directive in directives(text) {
            let invalid = || ParseFilterError { directive: directive.to_owned() };
            match directive.split_once('=') {
                Some((scope, level)) => {
                    let level = level.trim().parse().map_err(|_| invalid())?;
                    let scope = Some(scope.trim()).filter(|s| is_scope(s)).ok_or_else(invalid)?;
                    filter.scopes.insert(scope.to_owned(), level);
                }
                None => match directive.parse() {
                    Ok(level) => filter.default = Some(level),
                    Err(_) if is_scope(directive) => {
                        filter.scopes.insert(directive.to_owned(), LevelFilter::TRACE);
                    }
                    Err(_) => return Err(invalid()),
                },
            }
        }
        Ok(filter)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default.unwrap_or(LevelFilter::ERROR))?;
        self.scopes.iter().try_for_each(|(scope, level)| write!(f, ",{scope}={level}"))
    }
}

/// The first directive that is a scope without a level. The environment may say so, the admin endpoint may not: there
/// it is far more often a misspelt level.
pub(super) fn bare_scope(text: &str) -> Option<&str> {
    directives(text).find(|d| !d.contains('=') && d.parse::<LevelFilter>().is_err())
}

fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|directive| !directive.is_empty())
}

fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-' | b'.'))
}
