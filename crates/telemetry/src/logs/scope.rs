//! How the names of our modules appear in logs.

/// What our crates' names begin with; scopes are written and shown without it.
pub(super) const CRATE_PREFIX: &str = "ambit_";

/// The scope of a JSON line: the target without the project's prefix.
pub(super) fn full(target: &str) -> &str {
    target.strip_prefix(CRATE_PREFIX).unwrap_or(target)
}

/// The scope of a text line: the same, and without `ztunnel::`.
pub(super) fn short(target: &str) -> &str {
    let scope = full(target);
    scope.strip_prefix("ztunnel::").unwrap_or(scope)
}
