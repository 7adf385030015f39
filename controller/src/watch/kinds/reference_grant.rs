//! `ReferenceGrant`: what objects of other namespaces may refer to.

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Problem, part};

/// A ReferenceGrant.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceGrant {
    /// Its metadata.
    pub meta: Meta,
    /// Who may refer.
    pub from: Vec<Grantee>,
    /// To what, in the grant's namespace.
    pub to: Vec<Granted>,
}

/// Objects of one kind in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Grantee {
    #[serde(default)]
    pub group: Str,
    pub kind: Str,
    pub namespace: Str,
}

/// Objects of one kind, or one of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Granted {
    #[serde(default)]
    pub group: Str,
    pub kind: Str,
    pub name: Option<Str>,
}

#[derive(Deserialize)]
struct RawSpec {
    #[serde(default)]
    from: Vec<Grantee>,
    #[serde(default)]
    to: Vec<Granted>,
}

pub(super) fn trim(meta: Meta, value: &Value) -> Result<ReferenceGrant, Problem> {
    let RawSpec { from, to } = part(value, "spec")?;
    Ok(ReferenceGrant { meta, from, to })
}
